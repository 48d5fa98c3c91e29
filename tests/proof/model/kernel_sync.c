/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_sync.c - the modelled kernel: futexes, the clock, mutexes of one process, and small
 * things.
 *
 * A futex compares and falls asleep in one step, as the real one does. The clock stands still but
 * for jumps to a time that somebody waits for. */
#include "accesses.h"
#include "kernel_tables.h"
#include "weak.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

static int fail(int error)
{
    errno = error;
    return -1;
}

static long futex_wait(const uint32_t *word, uint32_t expected, const struct timespec *timeout)
{
    int64_t until_ns = INT64_MAX;
    if (timeout != NULL)
        until_ns = tasks_now_ns() + timeout->tv_sec * INT64_C(1000000000) + timeout->tv_nsec;
    if (*word != expected)
        return fail(EAGAIN);
    return task_sleep(word, until_ns) == 0 ? 0 : fail(ETIMEDOUT);
}

long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    if (number == SYS_pidfd_open) {
        va_end(arguments);
        return kernel_new_fd(kernel_new_file(FILE_PIDFD, task_process(), false));
    }
    if (number != SYS_futex)
        model_bug("system call %ld is not modelled", number);
    const uint32_t *word = va_arg(arguments, const uint32_t *);
    int what = va_arg(arguments, int);
    uint32_t value = va_arg(arguments, uint32_t);
    const struct timespec *timeout = va_arg(arguments, const struct timespec *);
    va_end(arguments);
    const struct arena_region *region = arena_find(word);
    if (region == NULL)
        model_fail("%s uses a futex outside of all memory: %p", task_name(task_self()),
                   (const void *)word);
    task_point(word, true, KERNEL_HERE);
    return what == FUTEX_WAIT ? futex_wait(word, value, timeout) : (long)task_wake(word, value);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    now->tv_sec = tasks_now_ns() / 1000000000;
    now->tv_nsec = tasks_now_ns() % 1000000000;
    return 0;
}

int __wrap_nanosleep(const struct timespec *duration, struct timespec *left);
int __wrap_nanosleep(const struct timespec *duration, struct timespec *left)
{
    (void)left;
    task_sleep(duration,
               tasks_now_ns() + duration->tv_sec * INT64_C(1000000000) + duration->tv_nsec);
    return 0;
}

int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
    return 0;
}

ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned flags);
ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned flags)
{
    (void)flags;
    arena_touch(to, bytes);
    memset(to, 0x5a, bytes);
    return (ssize_t)bytes;
}

/* ---------------------------------------------------------------- threads of one process */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument)
{
    (void)thread;
    (void)attributes;
    (void)run;
    (void)argument;
    return EAGAIN; /* the host measures a wake-up with one, and has a value without */
}

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    arena_touch(mutex, sizeof *mutex);
    memset(mutex, 0, sizeof *mutex);
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    (void)mutex;
    return 0;
}

/* The first word of a locked mutex in the arena is its task; mutexes elsewhere belong to set-up. */
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    uint32_t *holder = (void *)mutex;
    if (!arena_holds(mutex))
        return 0;
    for (;;) {
        task_point(mutex, accesses_contended(mutex, true), KERNEL_HERE);
        if (*holder == 0)
            break;
        task_sleep(mutex, INT64_MAX);
    }
    arena_touch(holder, sizeof *holder);
    *holder = task_self();
    weak_receive((const char *)mutex + 8);
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    uint32_t *holder = (void *)mutex;
    if (!arena_holds(mutex))
        return 0;
    if (*holder != task_self())
        model_fail("%s unlocks what it has not locked", task_name(task_self()));
    weak_send((const char *)mutex + 8);
    arena_touch(holder, sizeof *holder);
    *holder = 0;
    task_wake(mutex, 1);
    return 0;
}
