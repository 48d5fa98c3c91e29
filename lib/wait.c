/* SPDX-License-Identifier: Apache-2.0
 *
 * wait.c - clock, futex and the learned spin budget. See wait.h for the policy. */
#include "wait.h"

#include "carom.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/** Longest tick of a Linux kernel (CONFIG_HZ=100). */
#define TICK_MOST_NS INT64_C(10000000)
/** Timeouts from here on may be longer than asked by one tick. */
#define COARSE_FROM_NS INT64_C(200000000)
#define SPIN_FLOOR_NS INT64_C(1000)
#define SKIP_FIRST 8u
#define SKIP_MOST 256u
#define WAKE_ROUNDS 15
#define WAKE_TYPICAL_NS INT64_C(30000)
#define WAKE_LEAST_NS INT64_C(5000)
#define WAKE_MOST_NS INT64_C(100000)

int64_t carom__now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t carom__coarse_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t carom_now_ns(void)
{
    return carom__now_ns();
}

int64_t carom__deadline_ns(int64_t timeout_ns)
{
    int64_t deadline_ns;
    if (timeout_ns < 0)
        return INT64_MAX;
    int64_t now_ns = timeout_ns < COARSE_FROM_NS ? carom__now_ns()
                                                 : carom__coarse_now_ns() + TICK_MOST_NS;
    return __builtin_add_overflow(now_ns, timeout_ns, &deadline_ns) ? INT64_MAX : deadline_ns;
}

int carom__futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    struct timespec relative = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    long rc = syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout_ns < 0 ? NULL : &relative,
                      NULL, 0);
    return rc == 0 ? 0 : -errno;
}

int carom__futex_wake(const _Atomic uint32_t *word, int count)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    return woken < 0 ? 0 : (int)woken;
}

void carom__spin_init(struct carom__spin *spin, int64_t cap_ns)
{
    spin->cap_ns = cap_ns;
    atomic_init(&spin->budget_ns, cap_ns);
    atomic_init(&spin->skip, 0);
    atomic_init(&spin->skip_next, SKIP_FIRST);
}

/* relaxed, here and below: what was learned is advice; a lost update costs one odd wait */
static int64_t probe_budget_ns(struct carom__spin *spin)
{
    uint32_t skip = atomic_load_explicit(&spin->skip, memory_order_relaxed);
    if (skip == 0)
        return spin->cap_ns;
    atomic_store_explicit(&spin->skip, skip - 1, memory_order_relaxed); /* relaxed: advice */
    return 0;
}

bool carom__spin_begin(struct carom__spin *spin, struct carom__spinning *wait, int64_t limit_ns)
{
    int64_t budget_ns = atomic_load_explicit(&spin->budget_ns, memory_order_relaxed); /* advice */
    if (budget_ns == 0 && spin->cap_ns > 0)
        budget_ns = probe_budget_ns(spin);
    *wait = (struct carom__spinning){.budget_ns = budget_ns < limit_ns ? budget_ns : limit_ns};
    return wait->budget_ns > 0;
}

bool carom__spin_clock(struct carom__spinning *wait)
{
    int64_t before_ns = carom__now_ns();
    if (wait->started_ns == 0)
        wait->started_ns = before_ns;
    if (before_ns - wait->started_ns >= wait->budget_ns) {
        wait->now_ns = before_ns;
        return false;
    }
    sched_yield();
    wait->now_ns = carom__now_ns();
    wait->started_ns += wait->now_ns - before_ns;
    return true;
}

void carom__spin_hit_slow(struct carom__spin *spin, const struct carom__spinning *wait)
{
    int64_t wanted_ns = 2 * (carom__now_ns() - wait->started_ns) + SPIN_FLOOR_NS;
    if (wanted_ns > spin->cap_ns)
        wanted_ns = spin->cap_ns;
    /* relaxed: advice, see above */
    if (wanted_ns > atomic_load_explicit(&spin->budget_ns, memory_order_relaxed))
        atomic_store_explicit(&spin->budget_ns, wanted_ns, memory_order_relaxed);
    atomic_store_explicit(&spin->skip_next, SKIP_FIRST, memory_order_relaxed);
}

void carom__spin_miss(struct carom__spin *spin, const struct carom__spinning *wait)
{
    if (wait->budget_ns == 0)
        return;
    /* relaxed: advice, see above */
    int64_t budget_ns = atomic_load_explicit(&spin->budget_ns, memory_order_relaxed) / 2;
    if (budget_ns >= SPIN_FLOOR_NS) {
        atomic_store_explicit(&spin->budget_ns, budget_ns, memory_order_relaxed); /* advice */
        return;
    }
    /* relaxed: advice, see above */
    uint32_t skip = atomic_load_explicit(&spin->skip_next, memory_order_relaxed);
    atomic_store_explicit(&spin->budget_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&spin->skip, skip, memory_order_relaxed);
    atomic_store_explicit(&spin->skip_next, skip < SKIP_MOST ? skip * 2 : SKIP_MOST,
                          memory_order_relaxed);
}

int carom__cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return (int)sysconf(_SC_NPROCESSORS_ONLN);
    return CPU_COUNT(&set);
}

/* ---- measuring a wake-up: two threads that sleep on one word each in turn */

struct ping {
    _Atomic uint32_t there, back;
};

static void ping_await(_Atomic uint32_t *word, uint32_t value)
{
    uint32_t seen;
    /* acquire: pairs with the release in ping_send */
    while ((seen = atomic_load_explicit(word, memory_order_acquire)) != value)
        carom__futex_wait(word, seen, CAROM__SLICE_NS);
}

static void ping_send(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release); /* pairs with ping_await */
    carom__futex_wake(word, 1);
}

static void *ping_main(void *argument)
{
    struct ping *ping = argument;
    for (uint32_t round = 1; round <= WAKE_ROUNDS; round++) {
        ping_await(&ping->there, round);
        ping_send(&ping->back, round);
    }
    return NULL;
}

int64_t carom__measure_wake_ns(void)
{
    struct ping ping = {0};
    pthread_t thread;
    if (pthread_create(&thread, NULL, ping_main, &ping) != 0)
        return WAKE_TYPICAL_NS;
    int64_t best_ns = WAKE_MOST_NS * 2;
    for (uint32_t round = 1; round <= WAKE_ROUNDS; round++) {
        int64_t started_ns = carom__now_ns();
        ping_send(&ping.there, round);
        ping_await(&ping.back, round);
        int64_t took_ns = carom__now_ns() - started_ns;
        if (took_ns < best_ns)
            best_ns = took_ns;
    }
    pthread_join(thread, NULL);
    int64_t wake_ns = best_ns / 2; /* a round trip is two wake-ups */
    return wake_ns < WAKE_LEAST_NS  ? WAKE_LEAST_NS
           : wake_ns > WAKE_MOST_NS ? WAKE_MOST_NS
                                    : wake_ns;
}
