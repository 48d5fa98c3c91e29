/* SPDX-License-Identifier: Apache-2.0
 *
 * test_wait.c - deadlines, the futex, and what a waiter learns about spinning. */
#include "support.h"

#include "wait.h"

#include "carom.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---------------------------------------------------------------- time */

static void the_clock_of_the_api_is_the_monotonic_one_and_runs_forward(void **state)
{
    (void)state;
    struct timespec now;
    int64_t before = carom_now_ns();
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t between = (int64_t)now.tv_sec * SECOND + now.tv_nsec;
    int64_t after = carom__now_ns();
    assert_true(before <= between && between <= after);
}

static void no_timeout_is_no_deadline(void **state)
{
    (void)state;
    assert_true(carom__deadline_ns(CAROM_FOREVER) == INT64_MAX);
    assert_true(carom__deadline_ns(INT64_MIN) == INT64_MAX);
}

static void a_timeout_too_long_for_the_clock_is_no_deadline(void **state)
{
    (void)state;
    assert_true(carom__deadline_ns(INT64_MAX) == INT64_MAX);
    assert_true(carom__deadline_ns(INT64_MAX - 1) == INT64_MAX);
}

static void a_deadline_is_never_early_and_at_most_a_tick_late(void **state)
{
    (void)state;
    const int64_t timeouts[] = {0, 1000, 199 * MILLISECOND, 200 * MILLISECOND, SECOND, PATIENCE};
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        int64_t late = timeouts[i] < 200 * MILLISECOND ? 0 : 10 * MILLISECOND;
        int64_t before = carom__now_ns();
        int64_t deadline = carom__deadline_ns(timeouts[i]);
        int64_t after = carom__now_ns();
        assert_true(deadline >= before + timeouts[i]);
        assert_true(deadline <= after + timeouts[i] + late);
    }
}

/* ---------------------------------------------------------------- futex */

static _Atomic uint32_t word;

static void a_word_that_has_changed_is_not_slept_on(void **state)
{
    (void)state;
    atomic_store(&word, 1);
    assert_int_equal(carom__futex_wait(&word, 0, -1), -EAGAIN);
    assert_int_equal(carom__futex_wait(&word, 0, SECOND), -EAGAIN);
}

static void a_sleep_ends_at_its_limit(void **state)
{
    (void)state;
    atomic_store(&word, 1);
    assert_int_equal(carom__futex_wait(&word, 1, 0), -ETIMEDOUT);
    int64_t before = carom__now_ns();
    assert_int_equal(carom__futex_wait(&word, 1, 3 * MILLISECOND), -ETIMEDOUT);
    assert_true(carom__now_ns() - before >= 3 * MILLISECOND);
}

static void waking_counts_whom_it_woke(void **state)
{
    (void)state;
    atomic_store(&word, 1);
    assert_int_equal(carom__futex_wake(&word, 1), 0);
}

static void *sleep_on_word(void *at)
{
    require(carom__futex_wait(at, 1, -1) == 0);
    return NULL;
}

static void a_sleeper_is_woken_by_the_word_not_by_the_address(void **state)
{
    (void)state;
    int fd = memfd_create("word", MFD_CLOEXEC);
    assert_true(fd >= 0 && ftruncate(fd, 4096) == 0);
    _Atomic uint32_t *one = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    _Atomic uint32_t *two = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    assert_true(one != MAP_FAILED && two != MAP_FAILED);
    atomic_store(one, 1);
    pthread_t first = thread_start(sleep_on_word, two); /* a read-only mapping will do */
    pthread_t second = thread_start(sleep_on_word, one);
    await_asleep(one, 1);
    await_asleep(two, 1);
    assert_int_equal(carom__futex_wake(one, 1), 1);
    assert_int_equal(carom__futex_wake(one, 5), 1);
    thread_join(first);
    thread_join(second);
    munmap(one, 4096);
    munmap(two, 4096);
}

static void on_signal(int number)
{
    (void)number;
}

static void *sleep_until_signal(void *unused)
{
    (void)unused;
    require(carom__futex_wait(&word, 1, PATIENCE) == -EINTR);
    add_to(&board->ready, 1);
    return NULL;
}

static void a_signal_ends_a_sleep_with_a_limit(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigaction(SIGUSR1, &action, &before);
    atomic_store(&word, 1);
    pthread_t sleeper = thread_start(sleep_until_signal, NULL);
    await_asleep(&word, 1);
    pthread_kill(sleeper, SIGUSR1);
    thread_join(sleeper);
    sigaction(SIGUSR1, &before, NULL);
}

/* ---------------------------------------------------------------- spinning */

#define CAP INT64_C(32000)

static struct carom__spin spin;

static int64_t budget(void)
{
    return atomic_load(&spin.budget_ns);
}

/* A wait that spun this long already. */
static struct carom__spinning spun_for(int64_t duration_ns)
{
    int64_t now = carom__now_ns();
    return (struct carom__spinning){
        .started_ns = now - duration_ns, .now_ns = now, .budget_ns = budget(), .polls = 1000};
}

static void miss(void)
{
    struct carom__spinning wait;
    if (carom__spin_begin(&spin, &wait, INT64_MAX))
        carom__spin_miss(&spin, &wait);
}

/* How many waits begin without spinning, until one probes. */
static int waits_until_probe(void)
{
    struct carom__spinning wait;
    int count = 0;
    while (!carom__spin_begin(&spin, &wait, INT64_MAX))
        count++;
    assert_int_equal(wait.budget_ns, CAP);
    return count;
}

static void a_new_waiter_spins_up_to_the_cap(void **state)
{
    (void)state;
    struct carom__spinning wait;
    carom__spin_init(&spin, CAP);
    assert_true(carom__spin_begin(&spin, &wait, INT64_MAX));
    assert_int_equal(wait.budget_ns, CAP);
}

static void a_cap_of_zero_means_never(void **state)
{
    (void)state;
    struct carom__spinning wait;
    carom__spin_init(&spin, 0);
    for (int i = 0; i < 1000; i++)
        assert_false(carom__spin_begin(&spin, &wait, INT64_MAX));
}

static void a_wait_never_spins_beyond_its_own_limit(void **state)
{
    (void)state;
    struct carom__spinning wait;
    carom__spin_init(&spin, CAP);
    assert_true(carom__spin_begin(&spin, &wait, 700));
    assert_int_equal(wait.budget_ns, 700);
    assert_false(carom__spin_begin(&spin, &wait, 0));
    assert_false(carom__spin_begin(&spin, &wait, -5));
    assert_false(carom__spin_begin(&spin, &wait, INT64_MIN));
}

static void each_miss_halves_the_budget_until_it_is_zero(void **state)
{
    (void)state;
    carom__spin_init(&spin, CAP);
    for (int64_t expected = CAP / 2; expected >= 1000; expected /= 2) {
        miss();
        assert_int_equal(budget(), expected);
    }
    miss();
    assert_int_equal(budget(), 0);
}

static void unlearn(void)
{
    carom__spin_init(&spin, CAP);
    while (budget() > 0)
        miss();
}

static void who_does_not_spin_probes_ever_more_rarely(void **state)
{
    (void)state;
    unlearn();
    for (int expected = 8; expected < 256; expected *= 2) {
        assert_int_equal(waits_until_probe(), expected);
        struct carom__spinning probe = {.budget_ns = CAP};
        carom__spin_miss(&spin, &probe);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(waits_until_probe(), 256);
        struct carom__spinning probe = {.budget_ns = CAP};
        carom__spin_miss(&spin, &probe);
    }
}

static void a_probe_that_pays_brings_spinning_back(void **state)
{
    (void)state;
    unlearn();
    waits_until_probe();
    struct carom__spinning probe = spun_for(3000);
    carom__spin_hit(&spin, &probe);
    assert_true(budget() >= INT64_C(6000) && budget() <= CAP);
    while (budget() > 0)
        miss();
    assert_int_equal(waits_until_probe(), 8); /* the back-off begins anew */
}

static void a_hit_raises_the_budget_but_not_beyond_the_cap(void **state)
{
    (void)state;
    carom__spin_init(&spin, CAP);
    miss();
    miss();
    miss();
    assert_int_equal(budget(), CAP / 8);
    struct carom__spinning wait = spun_for(CAP / 8);
    carom__spin_hit(&spin, &wait);
    assert_true(budget() >= CAP / 4);
    wait = spun_for(CAP * 4);
    carom__spin_hit(&spin, &wait);
    assert_int_equal(budget(), CAP);
}

static void a_hit_before_the_clock_was_read_teaches_nothing(void **state)
{
    (void)state;
    carom__spin_init(&spin, CAP);
    miss();
    int64_t before = budget();
    struct carom__spinning wait;
    assert_true(carom__spin_begin(&spin, &wait, INT64_MAX));
    carom__spin_again(&wait);
    carom__spin_hit(&spin, &wait);
    assert_int_equal(budget(), before);
}

static void the_first_looks_read_no_clock(void **state)
{
    (void)state;
    struct carom__spinning wait = {.budget_ns = CAP};
    for (uint32_t look = 1; look < CAROM__HOT_POLLS; look++) {
        assert_true(carom__spin_again(&wait));
        assert_int_equal(wait.started_ns, 0);
    }
    carom__spin_again(&wait);
    assert_int_not_equal(wait.started_ns, 0);
    assert_int_equal(wait.now_ns, wait.started_ns);
}

static void spinning_ends_when_the_budget_is_used_up(void **state)
{
    (void)state;
    struct carom__spinning wait = {.budget_ns = 20000};
    while (carom__spin_again(&wait)) {
    }
    assert_true(wait.now_ns - wait.started_ns >= 20000);
    assert_int_equal(wait.polls % CAROM__HOT_POLLS, 0);
}

static void *learn(void *rounds)
{
    for (int i = 0; i < *(int *)rounds; i++) {
        struct carom__spinning wait;
        if (!carom__spin_begin(&spin, &wait, INT64_MAX))
            continue;
        require(wait.budget_ns > 0 && wait.budget_ns <= CAP);
        if (i % 3 == 0)
            carom__spin_miss(&spin, &wait);
        wait.started_ns = carom__now_ns() - i % 5000;
        if (i % 7 == 0)
            carom__spin_hit(&spin, &wait);
    }
    return NULL;
}

static void threads_that_learn_together_keep_the_budget_within_its_bounds(void **state)
{
    (void)state;
    int rounds = ROUNDS(100000);
    carom__spin_init(&spin, CAP);
    run_together(3, learn, &rounds);
    assert_true(budget() >= 0 && budget() <= CAP);
}

/* ---------------------------------------------------------------- the machine */

static void a_wake_up_is_measured_between_5_and_100_microseconds(void **state)
{
    (void)state;
    int64_t wake_ns = carom__measure_wake_ns();
    assert_true(wake_ns >= 5000 && wake_ns <= 100000);
}

static void the_cpus_counted_are_those_this_process_may_use(void **state)
{
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_int_equal(carom__cpu_count(), CPU_COUNT(&all));
    int cpu = 0;
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    int count = carom__cpu_count();
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_int_equal(count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(the_clock_of_the_api_is_the_monotonic_one_and_runs_forward),
        sentence(no_timeout_is_no_deadline),
        sentence(a_timeout_too_long_for_the_clock_is_no_deadline),
        sentence(a_deadline_is_never_early_and_at_most_a_tick_late),
        sentence(a_word_that_has_changed_is_not_slept_on),
        sentence(a_sleep_ends_at_its_limit),
        sentence(waking_counts_whom_it_woke),
        sentence(a_sleeper_is_woken_by_the_word_not_by_the_address),
        sentence(a_signal_ends_a_sleep_with_a_limit),
        sentence(a_new_waiter_spins_up_to_the_cap),
        sentence(a_cap_of_zero_means_never),
        sentence(a_wait_never_spins_beyond_its_own_limit),
        sentence(each_miss_halves_the_budget_until_it_is_zero),
        sentence(who_does_not_spin_probes_ever_more_rarely),
        sentence(a_probe_that_pays_brings_spinning_back),
        sentence(a_hit_raises_the_budget_but_not_beyond_the_cap),
        sentence(a_hit_before_the_clock_was_read_teaches_nothing),
        sentence(the_first_looks_read_no_clock),
        sentence(spinning_ends_when_the_budget_is_used_up),
        sentence(threads_that_learn_together_keep_the_budget_within_its_bounds),
        sentence(a_wake_up_is_measured_between_5_and_100_microseconds),
        sentence(the_cpus_counted_are_those_this_process_may_use),
    };
    return RUN(tests);
}
