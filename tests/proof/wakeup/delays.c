/* SPDX-License-Identifier: Apache-2.0
 *
 * delays.c - random delays, and the library's futex waits without their timeouts.
 *
 * Delays that fall evenly on all accesses rarely stretch two neighbouring windows at the same time.
 * So a thread has moods: for some hundred accesses it is slow at a few places of the code, and
 * quick at all others; then at other places. */
#include "wakeup.h"

#include "proof.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PLACES 64u /* accesses fall into so many groups, by their address in the code */

static _Thread_local struct {
    struct seat *seat;
    uint64_t random;
    uint32_t left;  /* accesses until the mood changes */
    uint32_t place; /* where it is slow; PLACES: nowhere */
} self;

void delays_begin(struct seat *seat, uint64_t seed)
{
    self.seat = seat;
    self.random = seed;
    self.left = 1;
    if (seat != NULL)
        seat->pid = getpid();
}

uint64_t delays_random(void)
{
    return proof_random(&self.random);
}

/* ---------------------------------------------------------------- delays */

static void pause_for(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#else
        __asm__ volatile("" ::: "memory");
#endif
    }
}

static void sleep_for(long time_ns)
{
    const int before = errno;
    nanosleep(&(struct timespec){0, time_ns}, NULL);
    errno = before;
}

static void be_slow(uint64_t random)
{
    switch (random >> 60 & 3) {
    case 0:
        sleep_for(1000 + (long)(random >> 40 & 0x7fff));
        break;
    case 1:
        sched_yield();
        break;
    default:
        pause_for(random >> 40 & 0xff);
        break;
    }
}

void delay(const void *pc)
{
    const uint64_t random = delays_random();
    if (--self.left == 0) {
        self.left = 256 + (uint32_t)(random >> 20 & 0x3ff);
        self.place = (uint32_t)(random >> 32) % (PLACES + PLACES / 4);
    }
    const uint64_t hash = (uintptr_t)pc * UINT64_C(0x9e3779b97f4a7c15);
    if ((hash >> 32) % PLACES == self.place && (random & 7) == 0)
        be_slow(random);
    else if ((random >> 8 & 0x3f) == 0)
        pause_for(random >> 40 & 0xf);
    else if ((random >> 14 & 0x7ff) == 0)
        sched_yield();
    else if ((random >> 25 & 0x3fff) == 0)
        sleep_for(1000 + (long)(random >> 40 & 0x3fff));
}

/* ---------------------------------------------------------------- futexes */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static void count(_Atomic uint64_t *number)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static long wait_for_ever(uintptr_t word, uint32_t value)
{
    struct seat *seat = self.seat;
    atomic_store_explicit(&seat->word, word, memory_order_relaxed);
    atomic_store_explicit(&seat->value, value, memory_order_relaxed);
    atomic_store_explicit(&seat->asleep, 1, memory_order_relaxed);
    long rc = __real_syscall(SYS_futex, word, FUTEX_WAIT, (unsigned long)value, 0L, 0L, 0L);
    const int error = errno;
    atomic_store_explicit(&seat->asleep, 0, memory_order_relaxed);
    count(rc == 0 ? &seat->sleeps : &seat->refused);
    errno = error;
    return rc;
}

/* The linker leads the library's syscall() here. */
long __wrap_syscall(long number, ...)
{
    long argument[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        argument[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_futex)
        delay((const void *)argument[1]);
    if (number == SYS_futex && (int)argument[1] == FUTEX_WAIT && self.seat != NULL)
        return wait_for_ever((uintptr_t)argument[0], (uint32_t)argument[2]);
    return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                          argument[5]);
}
