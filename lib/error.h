/* SPDX-License-Identifier: Apache-2.0
 *
 * error.h - one way to fail: a negative errno, and for the person a sentence that names what was
 * wrong (carom_error_detail). The sentence belongs to the thread that failed. */
#ifndef CAROM_ERROR_H
#define CAROM_ERROR_H

/** Longest sentence with its NUL; what is longer is cut. Most of it is for a traceback. */
#define CAROM__DETAIL_BYTES 8192

/** Keeps the sentence for carom_error_detail and returns `error`. */
__attribute__((format(printf, 2, 3))) int carom__fail(int error, const char *format, ...);

/** carom__fail with strerror: "<what>: <reason of -error>". */
int carom__fail_errno(int error, const char *what);

/** Forks since the library was loaded; objects remember theirs and refuse to work in a child. */
extern unsigned carom__forks;

/** Starts counting forks, once per process; called by every open function. 0 or -ENOMEM. */
int carom__count_forks(void);

/** -ECHILD with its sentence. */
int carom__fail_forked(void);

/** -ECHILD with its sentence when the object was opened before a fork, else 0. */
static inline int carom__check_fork(unsigned forks_at_open)
{
    return __builtin_expect(forks_at_open == carom__forks, 1) ? 0 : carom__fail_forked();
}

#endif
