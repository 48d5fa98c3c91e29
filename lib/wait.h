/* SPDX-License-Identifier: Apache-2.0
 *
 * wait.h - how every process of carom waits: the clock, the futex, and whether to spin or to sleep.
 *
 * A wake-up costs tens of microseconds, passing a cache line a tenth of one. So a waiter spins
 * first. How long is learned, per waiter: a wait that ended while spinning raises the budget to
 * twice what it took, one that did not halves it; below a microsecond it becomes zero, and then
 * only every 8th, 16th, ... 256th wait spins at all, to find out whether the world has changed. The
 * cap is what a wake-up costs on this machine (competitive: never more than twice the optimum).
 *
 * The first CAROM__HOT_POLLS looks read no clock: a hot exchange is over by then. After each
 * further so many the waiter lets others have its CPU, which costs a fraction of a microsecond when
 * nobody wants it. With more processes than CPUs the one that is waited for may need just that CPU:
 * four clients and one worker on two CPUs made 0.4 times the calls of one and one without, 1.0
 * with it. What others took is not counted as spinning.
 *
 * Futexes are shared ones (never FUTEX_PRIVATE_FLAG) and each word has one kind of waiter.
 */
#ifndef CAROM_WAIT_H
#define CAROM_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/** Looks before the clock is read for the first time, and between two readings. */
#define CAROM__HOT_POLLS 64u
/** A sleeping caller looks at its control socket this often, to see whether its host has died. */
#define CAROM__SLICE_NS INT64_C(50000000)
/** A parked worker is in no such hurry, and idleness should cost nothing. */
#define CAROM__PARK_SLICE_NS INT64_C(500000000)

/** What a waiter has learned. Shared by the threads of a client: relaxed atomics, because the
 *  value is advice and publishes nothing. */
struct carom__spin {
    int64_t cap_ns; /* 0 = never spin */
    _Atomic int64_t budget_ns;
    _Atomic uint32_t skip;      /* waits still to be made without spinning */
    _Atomic uint32_t skip_next; /* how many after the next fruitless probe */
};

/** One wait. */
struct carom__spinning {
    int64_t started_ns; /* 0 until the clock was read */
    int64_t now_ns;     /* latest reading, 0 before the first */
    int64_t budget_ns;
    uint32_t polls;
};

/** Asks for a cache line in order to write to it. gcc turns __builtin_prefetch(p, 1) into a
 *  prefetch for reading on plain x86-64; the line would have to be fetched a second time. */
static inline void carom__prefetch_write(const void *address)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" ::"m"(*(const char *)address));
#else
    __builtin_prefetch(address, 1);
#endif
}

int64_t carom__now_ns(void);

/** The same clock as it was at the kernel's last tick, up to 10 ms ago: half the price. */
int64_t carom__coarse_now_ns(void);

/** now + timeout, or INT64_MAX for a negative timeout (none) or an overflow. Timeouts of 200 ms and
 *  more are measured with the clock of the last tick: up to 10 ms later, never earlier. */
int64_t carom__deadline_ns(int64_t timeout_ns);

/** Sleeps while *word == expected, for at most timeout_ns (negative: no limit).
 *  Returns 0 (woken, or spuriously), -EAGAIN (other value), -ETIMEDOUT or -EINTR. */
int carom__futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns);

/** Wakes up to count sleepers. Returns how many. Async-signal-safe. */
int carom__futex_wake(const _Atomic uint32_t *word, int count);

void carom__spin_init(struct carom__spin *spin, int64_t cap_ns);

/** Begins a wait that may spin for at most limit_ns. False: do not spin, look once. */
bool carom__spin_begin(struct carom__spin *spin, struct carom__spinning *wait, int64_t limit_ns);

/** Slow half of carom__spin_again: reads the clock. */
bool carom__spin_clock(struct carom__spinning *wait);

/** To be called after a fruitless look: false when the budget is used up. */
static inline bool carom__spin_again(struct carom__spinning *wait)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
    return ++wait->polls % CAROM__HOT_POLLS != 0 || carom__spin_clock(wait);
}

/** The wait ended while spinning. */
void carom__spin_hit_slow(struct carom__spin *spin, const struct carom__spinning *wait);
static inline void carom__spin_hit(struct carom__spin *spin, const struct carom__spinning *wait)
{
    if (wait->started_ns != 0)
        carom__spin_hit_slow(spin, wait);
}

/** The budget ran out: the waiter is about to sleep. */
void carom__spin_miss(struct carom__spin *spin, const struct carom__spinning *wait);

/** CPUs this process may run on. */
int carom__cpu_count(void);

/** Measures what it takes to wake a sleeping thread, in nanoseconds; about 1 ms of work. Falls back
 *  to a typical value when no thread can be started. */
int64_t carom__measure_wake_ns(void);

#endif
