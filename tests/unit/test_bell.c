/* SPDX-License-Identifier: Apache-2.0
 *
 * test_bell.c - who may have work and who sleeps: bits, park words, and the protocol of bell.h with
 * threads that sleep without any limit, so that a lost wake would hang (and the watchdog speak). */
#include "support.h"

#include "bell.h"
#include "lanes.h"
#include "wait.h"

#include <stdlib.h>

static struct carom__bell bell_memory;
static struct carom__bell *const bell = &bell_memory;

static int clean(void **state)
{
    memset((void *)bell, 0, sizeof *bell);
    return before_test(state);
}

#define bell_sentence(test) cmocka_unit_test_setup_teardown(test, clean, after_test)

static uint64_t parked(uint32_t word)
{
    return atomic_load(&bell->parked[word]);
}

static uint32_t park_word(uint32_t worker)
{
    return carom__bell_park_word(bell, worker);
}

/* ---------------------------------------------------------------- bits */

static void each_lane_has_a_ready_bit_of_its_own(void **state)
{
    (void)state;
    for (uint32_t lane = 0; lane < CAROM__MAX_LANES; lane++) {
        carom__bell_ready(bell, lane);
        carom__bell_ready(bell, lane);
        assert_true(carom__bell_ready_word(bell, lane / 64) == UINT64_C(1) << (lane % 64));
        carom__bell_clear_ready(bell, lane);
        assert_true(carom__bell_ready_word(bell, lane / 64) == 0);
    }
}

static void clearing_one_lane_leaves_the_others(void **state)
{
    (void)state;
    carom__bell_ready(bell, 64);
    carom__bell_ready(bell, 65);
    carom__bell_ready(bell, 127);
    carom__bell_clear_ready(bell, 65);
    carom__bell_forget_lane(bell, 127);
    assert_true(carom__bell_ready_word(bell, 1) == 1);
}

static void each_worker_has_a_parked_bit_of_its_own(void **state)
{
    (void)state;
    assert_false(carom__bell_any_parked(bell));
    for (uint32_t worker = 0; worker < CAROM__MAX_WORKERS; worker++) {
        carom__bell_park(bell, worker);
        assert_true(carom__bell_any_parked(bell));
        assert_true(parked(worker / 64) == UINT64_C(1) << (worker % 64));
        carom__bell_unpark(bell, worker);
        carom__bell_unpark(bell, worker);
        assert_false(carom__bell_any_parked(bell));
    }
}

static void a_forgotten_worker_is_not_parked_and_the_others_are(void **state)
{
    (void)state;
    carom__bell_park(bell, 3);
    carom__bell_park(bell, 4);
    carom__bell_forget_worker(bell, 3);
    assert_true(parked(0) == 1u << 4);
}

/* ---------------------------------------------------------------- waking */

static void one_wake_takes_exactly_one_parked_bit_and_changes_that_workers_word(void **state)
{
    (void)state;
    carom__bell_park(bell, 5);
    carom__bell_park(bell, 200);
    assert_int_equal(carom__bell_wake(bell, 1), 1);
    assert_true(parked(0) == 0 && parked(3) == UINT64_C(1) << (200 % 64));
    assert_int_equal(park_word(5), 1);
    assert_int_equal(park_word(200), 0);
    assert_int_equal(carom__bell_wake(bell, 1), 1);
    assert_int_equal(park_word(5), 1);
    assert_int_equal(park_word(200), 1);
    assert_int_equal(carom__bell_wake(bell, 1), 0);
}

static void no_more_are_woken_than_asked_for_and_than_are_parked(void **state)
{
    (void)state;
    for (uint32_t worker = 62; worker < 67; worker++)
        carom__bell_park(bell, worker);
    assert_int_equal(carom__bell_wake(bell, 0), 0);
    assert_int_equal(carom__bell_wake(bell, 3), 3);
    assert_true(parked(0) == 0 && parked(1) == 6);
    assert_int_equal(carom__bell_wake(bell, 100), 2);
    assert_int_equal(carom__bell_wake(bell, 100), 0);
    for (uint32_t worker = 62; worker < 67; worker++)
        assert_int_equal(park_word(worker), 1);
}

static void waking_a_worker_by_name_changes_its_word_parked_or_not(void **state)
{
    (void)state;
    carom__bell_wake_worker(bell, 7);
    carom__bell_wake_worker(bell, 7);
    assert_int_equal(park_word(7), 2);
    assert_int_equal(park_word(6), 0);
}

static void waking_all_changes_every_word(void **state)
{
    (void)state;
    carom__bell_wake_all(bell);
    for (uint32_t worker = 0; worker < CAROM__MAX_WORKERS; worker++)
        assert_int_equal(park_word(worker), 1);
}

static void a_park_word_may_wrap(void **state)
{
    (void)state;
    atomic_store(&bell->parks[1].word, UINT32_MAX);
    uint32_t word = park_word(1);
    carom__bell_wake_worker(bell, 1);
    assert_int_equal(park_word(1), 0);
    assert_int_equal(carom__futex_wait(&bell->parks[1].word, word, -1), -EAGAIN);
}

static void a_wake_before_the_sleep_is_not_lost(void **state)
{
    (void)state;
    uint32_t word = park_word(9);
    carom__bell_park(bell, 9);
    carom__bell_wake(bell, 1);
    assert_int_equal(carom__futex_wait(&bell->parks[9].word, word, -1), -EAGAIN);
}

static void a_wake_by_name_before_parking_is_not_lost(void **state)
{
    (void)state;
    uint32_t word = park_word(9);
    carom__bell_wake_worker(bell, 9);
    carom__bell_park(bell, 9);
    assert_int_equal(carom__futex_wait(&bell->parks[9].word, word, -1), -EAGAIN);
}

static void *sleep_as_worker(void *unused)
{
    (void)unused;
    uint32_t worker = (uint32_t)atomic_fetch_add(&board->number[1], 1);
    uint32_t word = park_word(worker);
    carom__bell_park(bell, worker);
    add_to(&board->ready, 1);
    while (park_word(worker) == word)
        carom__futex_wait(&bell->parks[worker].word, word, -1);
    carom__bell_unpark(bell, worker);
    add_to(&board->number[0], 1);
    return NULL;
}

static void sleepers_are_woken_one_by_one(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        threads[i] = thread_start(sleep_as_worker, NULL);
    for (uint32_t i = 0; i < 3; i++)
        await_asleep(&bell->parks[i].word, 1);
    for (int woken = 1; woken <= 3; woken++) {
        assert_int_equal(carom__bell_wake(bell, 1), 1);
        await(value_of(&board->number[0]) == woken);
        assert_int_equal(__builtin_popcountll(parked(0)), 3 - woken);
    }
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
}

/* Many wakers at once: each parked bit is taken by one of them. */
static void *wake_many(void *unused)
{
    (void)unused;
    add_to(&board->number[0], (int)carom__bell_wake(bell, 40));
    return NULL;
}

static void wakers_that_compete_take_each_parked_bit_once(void **state)
{
    (void)state;
    const int rounds = ROUNDS(2000);
    for (int round = 1; round <= rounds; round++) {
        atomic_store(&board->number[0], 0);
        for (uint32_t worker = 30; worker < 130; worker++)
            carom__bell_park(bell, worker);
        run_together(3, wake_many, NULL);
        assert_int_equal(value_of(&board->number[0]), 100);
        for (uint32_t worker = 30; worker < 130; worker++)
            assert_int_equal(park_word(worker), round);
    }
}

/* ---------------------------------------------------------------- the protocol, with lanes */

#define LANES 2

static struct test_lane lanes[LANES];
static bool always_retire; /* workers clear the ready bit before each sleep */

static bool serve_lane(uint32_t lane, uint32_t owner)
{
    struct carom__claim claim;
    if (carom__lane_claim(&lanes[lane].lane, owner, &claim) != 1)
        return false;
    require(carom__lane_finish(&lanes[lane].lane, &claim, 0, claim.generation) == 0);
    return true;
}

static bool look(uint32_t owner)
{
    bool found = false;
    for (uint64_t ready = carom__bell_ready_word(bell, 0); ready != 0; ready &= ready - 1)
        found |= serve_lane((uint32_t)__builtin_ctzll(ready), owner);
    return found;
}

/* The look between parking and sleeping. */
static bool has_reason_to_stay(void)
{
    for (uint64_t ready = carom__bell_ready_word(bell, 0); ready != 0; ready &= ready - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(ready);
        if (carom__lane_has_work(&lanes[lane].lane))
            return true;
        if (!always_retire)
            continue;
        carom__bell_clear_ready(bell, lane);
        if (carom__lane_has_work(&lanes[lane].lane)) {
            carom__bell_ready(bell, lane);
            return true;
        }
    }
    return value_of(&board->finish) != 0;
}

static void *worker_main(void *unused)
{
    (void)unused;
    uint32_t worker = (uint32_t)atomic_fetch_add(&board->number[1], 1);
    while (value_of(&board->finish) == 0) {
        if (look(carom__owner(worker, 1)))
            continue;
        uint32_t word = park_word(worker);
        carom__bell_park(bell, worker);
        if (!has_reason_to_stay())
            carom__futex_wait(&bell->parks[worker].word, word, -1);
        carom__bell_unpark(bell, worker);
    }
    return NULL;
}

static void await_reply(struct carom__lane *lane, uint32_t slot, uint32_t generation)
{
    for (;;) {
        uint64_t seen = carom__lane_flag(lane, slot, generation, CAROM__WAITER);
        if (carom__state_phase(seen) == CAROM__DONE)
            return;
        carom__lane_sleep(lane, slot, seen, -1);
    }
}

/* Calls in bursts of one to three, each of which waits for all of its replies. */
static void *client_main(void *rounds)
{
    uint32_t number = (uint32_t)atomic_fetch_add(&board->number[2], 1);
    struct test_lane *mine = &lanes[number];
    for (uint32_t generation = 0; generation < *(uint32_t *)rounds; generation++) {
        uint32_t burst = generation % 3 + 1;
        for (uint32_t slot = 0; slot < burst; slot++) {
            int workers = test_lane_submit(mine, slot, generation, 0);
            require(workers > 0);
            carom__bell_ready(bell, number);
            if (carom__bell_any_parked(bell))
                carom__bell_wake(bell, (uint32_t)workers);
        }
        for (uint32_t slot = 0; slot < burst; slot++)
            await_reply(&mine->lane, slot, generation);
    }
    return NULL;
}

static void run_protocol(int clients, int workers, uint32_t rounds, bool retire)
{
    pthread_t threads[4];
    always_retire = retire;
    for (int i = 0; i < LANES; i++)
        test_lane_make(&lanes[i], 4);
    for (int i = 0; i < workers; i++)
        threads[i] = thread_start(worker_main, NULL);
    run_together(clients, client_main, &rounds);
    add_to(&board->finish, 1);
    carom__bell_wake_all(bell);
    for (int i = 0; i < workers; i++)
        thread_join(threads[i]);
    for (int i = 0; i < LANES; i++)
        test_lane_drop(&lanes[i]);
}

static void one_client_and_one_worker_never_miss_each_other(void **state)
{
    (void)state;
    run_protocol(1, 1, ROUNDS(60000), false);
}

static void they_never_miss_each_other_when_the_ready_bit_is_cleared_before_each_sleep(void **state)
{
    (void)state;
    run_protocol(1, 1, ROUNDS(60000), true);
}

static void two_clients_and_two_workers_never_miss_each_other(void **state)
{
    (void)state;
    run_protocol(2, 2, ROUNDS(30000), false);
}

static void two_clients_and_three_workers_that_clear_ready_bits_never_miss_each_other(void **state)
{
    (void)state;
    run_protocol(2, 3, ROUNDS(30000), true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        bell_sentence(each_lane_has_a_ready_bit_of_its_own),
        bell_sentence(clearing_one_lane_leaves_the_others),
        bell_sentence(each_worker_has_a_parked_bit_of_its_own),
        bell_sentence(a_forgotten_worker_is_not_parked_and_the_others_are),
        bell_sentence(one_wake_takes_exactly_one_parked_bit_and_changes_that_workers_word),
        bell_sentence(no_more_are_woken_than_asked_for_and_than_are_parked),
        bell_sentence(waking_a_worker_by_name_changes_its_word_parked_or_not),
        bell_sentence(waking_all_changes_every_word),
        bell_sentence(a_park_word_may_wrap),
        bell_sentence(a_wake_before_the_sleep_is_not_lost),
        bell_sentence(a_wake_by_name_before_parking_is_not_lost),
        bell_sentence(sleepers_are_woken_one_by_one),
        bell_sentence(wakers_that_compete_take_each_parked_bit_once),
        bell_sentence(one_client_and_one_worker_never_miss_each_other),
        bell_sentence(they_never_miss_each_other_when_the_ready_bit_is_cleared_before_each_sleep),
        bell_sentence(two_clients_and_two_workers_never_miss_each_other),
        bell_sentence(two_clients_and_three_workers_that_clear_ready_bits_never_miss_each_other),
    };
    return RUN(tests);
}
