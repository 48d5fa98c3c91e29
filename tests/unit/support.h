/* SPDX-License-Identifier: Apache-2.0
 *
 * support.h - what every unit test stands on: waiting for conditions, threads, child processes, and
 * a house-keeper that proves of each test that it left nothing behind.
 *
 * Each test runs in an empty private folder ($CAROM_DIR) and is followed by a check that the
 * process has as many descriptors, threads and mappings of carom's as before, no child, and that
 * the folder is empty. Nothing waits for time: `await` waits for a condition, and a watchdog ends a
 * program whose condition never comes.
 *
 * Threads and children use require(), which aborts: cmocka's assertions belong to the main thread.
 * Children are forked before the test starts threads, as the sanitizers want it. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

/** Rounds of a test with threads: fewer where a sanitizer makes each dearer. */
#if defined(__SANITIZE_THREAD__)
#define ROUNDS(count) ((count) / 10)
#elif defined(__SANITIZE_ADDRESS__)
#define ROUNDS(count) ((count) / 4)
#else
#define ROUNDS(count) (count)
#endif

#define MILLISECOND INT64_C(1000000)
#define SECOND INT64_C(1000000000)
/** For what must happen: long enough for any machine, shorter than the watchdog. */
#define PATIENCE (30 * SECOND)

/** A test that is checked for what it leaves behind. */
#define sentence(test) cmocka_unit_test_setup_teardown(test, before_test, after_test)

/** Main function of a test program. */
#define RUN(tests) (begin_program(), cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL))

/** Assertion for any thread and any process. */
#define require(condition) ((condition) ? (void)0 : failed(#condition, __FILE__, __LINE__))

/** Waits for a condition that another thread or process makes true. */
#define await(condition)                                                                           \
    do {                                                                                           \
        while (!(condition))                                                                       \
            pause_briefly();                                                                       \
    } while (0)

_Noreturn void failed(const char *condition, const char *file, int line);
void pause_briefly(void);
void begin_program(void);
int before_test(void **state);
int after_test(void **state);

/** Has the test tidied up by another file first, in after_test. */
void at_end_of_test(void (*tidy)(void));

/** The test's folder. */
const char *test_folder(void);

/** What a process has open. */
int open_fds(void);
int carom_mappings(void);

/* ---- a page that threads and children share */

struct board {
    _Atomic int held;      /* handlers that wait for `release` */
    _Atomic int release;   /* lets them go */
    _Atomic int ran;       /* handlers that have begun */
    _Atomic int ready;     /* children that are where the test wants them */
    _Atomic int finish;    /* children may end */
    _Atomic int number[8]; /* whatever the test wants */
};
extern struct board *board;

static inline int value_of(_Atomic int *number)
{
    return atomic_load_explicit(number, memory_order_seq_cst); /* tests take the strongest order */
}

static inline void add_to(_Atomic int *number, int more)
{
    atomic_fetch_add_explicit(number, more, memory_order_seq_cst); /* as above */
}

/* ---- threads */

pthread_t thread_start(void *(*main)(void *), void *argument);
void thread_join(pthread_t thread);

/** Runs `main(argument)` on `count` threads, begun together, and waits for all of them. */
void run_together(int count, void *(*main)(void *), void *argument);

/** Waits until `count` threads of this process sleep in the kernel on a futex word. */
void await_asleep(const void *word, int count);

/* ---- children */

/** Forks a child that runs main and dies with this process. */
pid_t child_start(int (*main)(void *), void *argument);

/** Waits for a child. Its exit status, or -signal. */
int child_join(pid_t child);

/** SIGKILL, and waits. */
void child_kill(pid_t child);

/** Runs main in a child; its exit status, or -signal. */
int in_child(int (*main)(void *), void *argument);

#endif
