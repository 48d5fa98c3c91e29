/* SPDX-License-Identifier: Apache-2.0
 *
 * test_lane.c - the life of a call in shared memory: every transition and every illegal one, the
 * races between client, worker and host, and what a hostile client can write. Both sides work on
 * one mapping that is surrounded by pages nobody may touch (lanes.h). */
#include "support.h"

#include "lanes.h"
#include "wait.h"

#include "carom.h"

#define SLOTS 8u
#define OWNER UINT32_C(0x00010003) /* worker 3, epoch 1 */
#define OTHER UINT32_C(0x00010004)

static struct test_lane made;
static struct carom__lane *const lane = &made.lane;

static int make(void **state)
{
    int rc = before_test(state);
    test_lane_make(&made, SLOTS);
    return rc;
}

static int drop(void **state)
{
    test_lane_drop(&made);
    return after_test(state);
}

#define lane_sentence(test) cmocka_unit_test_setup_teardown(test, make, drop)

static struct carom__claim claim_one(uint32_t owner)
{
    struct carom__claim claim;
    assert_int_equal(carom__lane_claim(lane, owner, &claim), 1);
    return claim;
}

/* A cell without a submission behind it. */
static void publish_raw(uint32_t generation, uint32_t slot)
{
    require(carom__ring_append(&lane->ring, &made.producer, generation, slot));
}

/* What the host does after a worker's death, with a record of 99 bytes. How many calls it ended. */
static int recover(uint32_t owner)
{
    int failed = 0;
    for (uint32_t slot = 0; carom__lane_find_running(lane, owner, &slot); slot++)
        failed += carom__lane_fail(lane, slot, owner, CAROM_UNAVAILABLE, 99);
    carom__lane_repeat_wakes(lane);
    return failed;
}

static void assert_nothing_to_claim(void)
{
    struct carom__claim claim;
    assert_int_equal(carom__lane_claim(lane, OWNER, &claim), 0);
}

static void assert_state(uint32_t slot, uint64_t expected)
{
    assert_true(state_of(&made, slot) == expected);
}

/* ---------------------------------------------------------------- geometry */

static const struct carom__geometry good = {8, 32, 4096, 8192};

static void assert_refused(struct carom__geometry geometry)
{
    assert_int_equal(carom__geometry_check(&geometry), -EINVAL);
}

static void honest_geometries_are_accepted(void **state)
{
    (void)state;
    for (uint32_t slots = 1; slots <= CAROM__MAX_SLOTS; slots *= 2) {
        struct carom__geometry geometry = {slots, slots * CAROM__CELLS_PER_SLOT, 4096,
                                           UINT64_C(1) << 40};
        assert_int_equal(carom__geometry_check(&geometry), 0);
    }
}

static void geometries_that_would_overflow_or_overlap_are_refused(void **state)
{
    (void)state;
    struct carom__geometry geometry = good;
    const uint32_t slots[] = {0, 3, 12, CAROM__MAX_SLOTS * 2, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        geometry.slots = slots[i];
        geometry.ring_cells = slots[i] * CAROM__CELLS_PER_SLOT;
        assert_refused(geometry);
    }
    geometry = good;
    geometry.ring_cells = 31;
    assert_refused(geometry);
    const uint64_t blocks[] = {0, 1, 4095, 4097, (UINT64_C(1) << 40) + 4096, UINT64_MAX - 4095};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        geometry = good;
        geometry.request_block_bytes = blocks[i];
        assert_refused(geometry);
        geometry = good;
        geometry.reply_block_bytes = blocks[i];
        assert_refused(geometry);
    }
}

static void the_view_ends_where_lane_control_ends(void **state)
{
    (void)state;
    char *end = (char *)test_lane_base(&made) + test_lane_bytes(&made);
    assert_ptr_equal(&lane->slots[SLOTS], end);
    assert_true((void *)&lane->ring.cells[lane->geometry.ring_cells] <= (void *)lane->slots);
    assert_int_equal(lane->ring.mask, SLOTS * CAROM__CELLS_PER_SLOT - 1);
    assert_int_equal(UINT32_C(1) << lane->ring.lap_shift, SLOTS * CAROM__CELLS_PER_SLOT);
}

/* ---------------------------------------------------------------- the way of a call */

static void a_submitted_call_is_claimed_with_all_it_carries(void **state)
{
    (void)state;
    struct carom__submission submission = {
        .slot = 5, .generation = 77, .method = 9, .deadline_ns = 123, .request_bytes = 4096};
    assert_int_equal(carom__lane_submit(lane, &made.producer, &submission), 1);
    assert_state(5, carom__state(CAROM__SUBMITTED, 77, 0));
    struct carom__claim claim = claim_one(OWNER);
    assert_int_equal(claim.slot, 5);
    assert_int_equal(claim.generation, 77);
    assert_int_equal(claim.method, 9);
    assert_int_equal(claim.owner, OWNER);
    assert_int_equal(claim.deadline_ns, 123);
    assert_int_equal(claim.request_bytes, 4096);
    assert_state(5, carom__state(CAROM__RUNNING, 77, OWNER));
    assert_nothing_to_claim();
}

static void a_finished_call_is_done_with_its_status_and_length(void **state)
{
    (void)state;
    test_lane_submit(&made, 2, 1, 0);
    struct carom__claim claim = claim_one(OWNER);
    assert_int_equal(carom__lane_finish(lane, &claim, CAROM_ABORTED, 4000), 0);
    assert_state(2, carom__state(CAROM__DONE, 1, OWNER));
    assert_int_equal(atomic_load(&lane->slots[2].status), CAROM_ABORTED);
    assert_int_equal(atomic_load(&lane->slots[2].reply_bytes), 4000);
}

static void a_done_slot_is_submitted_again_in_its_next_life(void **state)
{
    (void)state;
    const uint64_t flags = CAROM__WAITER | CAROM__CANCEL | CAROM__ABANDONED | CAROM__NOTIFY;
    set_state(&made, 2, carom__state(CAROM__DONE, 7, OTHER) | flags);
    test_lane_submit(&made, 2, 8, 0);
    assert_state(2, carom__state(CAROM__SUBMITTED, 8, 0)); /* nothing of the last life is left */
    assert_int_equal(claim_one(OWNER).generation, 8);
}

static void calls_are_claimed_in_the_order_of_their_submission(void **state)
{
    (void)state;
    const uint32_t order[] = {3, 0, 7, 1};
    for (size_t i = 0; i < 4; i++)
        test_lane_submit(&made, order[i], 0, 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(claim_one(OWNER).slot, order[i]);
}

static void the_last_generation_is_followed_by_the_first(void **state)
{
    (void)state;
    test_lane_submit(&made, 0, 0xffffff, 0);
    struct carom__claim claim = claim_one(OWNER);
    assert_int_equal(carom__lane_finish(lane, &claim, 0, 0), 0);
    test_lane_submit(&made, 0, 0x1000000 & CAROM__GENERATION_MASK, 0);
    assert_int_equal(claim_one(OWNER).generation, 0);
}

static void flags_set_before_the_claim_survive_it(void **state)
{
    (void)state;
    test_lane_submit(&made, 0, 4, CAROM__NOTIFY);
    carom__lane_flag(lane, 0, 4, CAROM__WAITER | CAROM__CANCEL);
    claim_one(OWNER);
    assert_state(0, carom__state(CAROM__RUNNING, 4, OWNER) | CAROM__NOTIFY | CAROM__WAITER |
                        CAROM__CANCEL);
}

static void flags_set_while_running_survive_the_end(void **state)
{
    (void)state;
    const uint64_t flags = CAROM__WAITER | CAROM__CANCEL | CAROM__ABANDONED | CAROM__NOTIFY;
    test_lane_submit(&made, 0, 4, 0);
    struct carom__claim claim = claim_one(OWNER);
    uint64_t after = carom__lane_flag(lane, 0, 4, flags);
    assert_true(after == (carom__state(CAROM__RUNNING, 4, OWNER) | flags));
    assert_int_equal(carom__lane_finish(lane, &claim, 0, 0), 0);
    assert_state(0, carom__state(CAROM__DONE, 4, OWNER) | flags);
}

static void a_lane_has_work_while_a_cell_is_published(void **state)
{
    (void)state;
    assert_false(carom__lane_has_work(lane));
    test_lane_submit(&made, 0, 0, 0);
    assert_true(carom__lane_has_work(lane));
    claim_one(OWNER);
    assert_false(carom__lane_has_work(lane));
}

/* ---------------------------------------------------------------- illegal transitions */

static const enum carom__phase phases[] = {CAROM__FREE, CAROM__SUBMITTED, CAROM__RUNNING,
                                           CAROM__DONE};

static void only_a_submitted_call_of_the_cells_generation_is_claimed(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (uint32_t generation = 4; generation <= 6; generation++) {
            if (phases[i] == CAROM__SUBMITTED && generation == 5)
                continue;
            uint64_t word = carom__state(phases[i], generation, 0);
            set_state(&made, 1, word);
            publish_raw(5, 1);
            assert_nothing_to_claim();
            assert_state(1, word);
        }
    }
    assert_int_equal(head_of(&made), atomic_load(&made.producer.tail));
}

static void a_submitted_word_with_an_owner_is_nobodys_to_claim(void **state)
{
    (void)state;
    uint64_t word = carom__state(CAROM__SUBMITTED, 5, OTHER);
    set_state(&made, 1, word);
    publish_raw(5, 1);
    assert_nothing_to_claim();
    assert_state(1, word);
}

static void only_a_submitted_call_of_that_generation_is_withdrawn(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (uint32_t generation = 4; generation <= 6; generation++) {
            if (phases[i] == CAROM__SUBMITTED && generation == 5)
                continue;
            uint64_t word = carom__state(phases[i], generation, OWNER);
            set_state(&made, 1, word);
            assert_false(carom__lane_withdraw(lane, 1, 5));
            assert_state(1, word);
        }
    }
}

static void flags_are_added_only_to_a_pending_call_of_that_generation(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (uint32_t generation = 4; generation <= 6; generation++) {
            bool pending = phases[i] == CAROM__SUBMITTED || phases[i] == CAROM__RUNNING;
            uint64_t word = carom__state(phases[i], generation, OWNER);
            uint64_t after = word | (pending && generation == 5 ? CAROM__CANCEL : 0);
            set_state(&made, 1, word);
            assert_true(carom__lane_flag(lane, 1, 5, CAROM__CANCEL) == after);
            assert_state(1, after);
        }
    }
}

/* What a finish may never touch: a word that is not RUNNING(generation 5, OWNER). */
static void assert_finish_leaves(uint64_t word)
{
    struct carom__claim claim = {.slot = 1, .generation = 5, .owner = OWNER};
    set_state(&made, 1, word);
    assert_int_equal(carom__lane_finish(lane, &claim, 0, 99), -EPROTO);
    assert_state(1, word);
}

static void a_late_reply_leaves_a_call_alone_that_is_over(void **state)
{
    (void)state;
    assert_finish_leaves(carom__state(CAROM__DONE, 5, OWNER)); /* the host took it for dead */
}

static void a_late_reply_leaves_the_slots_next_life_alone(void **state)
{
    (void)state;
    assert_finish_leaves(carom__state(CAROM__FREE, 6, 0));
    assert_finish_leaves(carom__state(CAROM__SUBMITTED, 6, 0));
    assert_finish_leaves(carom__state(CAROM__RUNNING, 6, OTHER));
    assert_finish_leaves(carom__state(CAROM__RUNNING, 6, OWNER));
    assert_finish_leaves(carom__state(CAROM__DONE, 6, OTHER));
}

static void a_reply_to_a_call_that_another_worker_runs_is_refused(void **state)
{
    (void)state;
    assert_finish_leaves(carom__state(CAROM__RUNNING, 5, OTHER));
}

/* ---------------------------------------------------------------- withdrawing */

static void a_withdrawn_call_is_done_and_never_runs(void **state)
{
    (void)state;
    test_lane_submit(&made, 3, 9, CAROM__NOTIFY);
    carom__lane_flag(lane, 3, 9, CAROM__WAITER);
    assert_true(carom__lane_withdraw(lane, 3, 9));
    assert_state(3,
                 carom__state(CAROM__DONE, 9, CAROM__OWNER_CLIENT) | CAROM__WAITER | CAROM__NOTIFY);
    assert_int_equal(carom__lane_take_completed(lane, 0), 1u << 3);
    assert_false(carom__lane_withdraw(lane, 3, 9));
    assert_nothing_to_claim();
}

static void stale_cells_are_stepped_over_to_the_call_behind_them(void **state)
{
    (void)state;
    for (uint32_t generation = 0; generation < 6; generation++) {
        test_lane_submit(&made, 0, generation, 0);
        assert_true(carom__lane_withdraw(lane, 0, generation));
    }
    test_lane_submit(&made, 1, 0, 0);
    assert_int_equal(claim_one(OWNER).slot, 1);
    assert_int_equal(head_of(&made), 7);
}

static void withdrawn_calls_never_fill_the_ring(void **state)
{
    (void)state;
    for (uint32_t generation = 0; generation < 20 * lane->geometry.ring_cells; generation++) {
        assert_true(test_lane_submit(&made, 0, generation, 0) > 0);
        assert_true(carom__lane_withdraw(lane, 0, generation));
        assert_true(atomic_load(&made.producer.tail) - head_of(&made) <= lane->geometry.ring_cells);
    }
    assert_nothing_to_claim();
}

static void a_waiting_call_is_carried_over_when_stale_cells_are_cleared(void **state)
{
    (void)state;
    test_lane_submit(&made, 7, 1, 0);
    for (uint32_t generation = 0; generation < 20 * lane->geometry.ring_cells; generation++) {
        assert_true(test_lane_submit(&made, 0, generation, 0) > 0);
        assert_true(carom__lane_withdraw(lane, 0, generation));
    }
    assert_true(head_of(&made) > 0);
    assert_int_equal(claim_one(OWNER).slot, 7);
    assert_nothing_to_claim();
}

static void a_lane_of_one_slot_works_for_many_laps(void **state)
{
    (void)state;
    struct test_lane small;
    struct carom__claim claim;
    test_lane_make(&small, 1);
    for (uint32_t generation = 0; generation < 1000; generation++) {
        assert_int_equal(test_lane_submit(&small, 0, generation, 0), 1);
        if (generation % 3 == 0) {
            assert_true(carom__lane_withdraw(&small.lane, 0, generation));
            continue;
        }
        assert_int_equal(carom__lane_claim(&small.lane, OWNER, &claim), 1);
        assert_int_equal(claim.generation, generation);
        assert_int_equal(carom__lane_finish(&small.lane, &claim, 0, 0), 0);
    }
    test_lane_drop(&small);
}

static void a_head_that_is_nonsense_withdraws_the_submission(void **state)
{
    (void)state;
    uint32_t before = lane->geometry.ring_cells / 2;
    for (uint32_t generation = 0; generation < before; generation++)
        publish_raw(generation, 1); /* so that the producer looks at head */
    set_head(&made, 1000);
    assert_int_equal(test_lane_submit(&made, 0, 3, 0), -EPROTO);
    assert_state(0, carom__state(CAROM__DONE, 3, CAROM__OWNER_CLIENT));
    assert_int_equal(atomic_load(&made.producer.tail), before);
}

static void a_submission_that_fails_notifies_nobody(void **state)
{
    (void)state;
    for (uint32_t generation = 0; generation < lane->geometry.ring_cells / 2; generation++)
        publish_raw(generation, 1);
    set_head(&made, 1000);
    assert_int_equal(test_lane_submit(&made, 0, 3, CAROM__NOTIFY), -EPROTO);
    assert_state(0, carom__state(CAROM__DONE, 3, CAROM__OWNER_CLIENT));
    assert_int_equal(carom__lane_take_completed(lane, 0), 0);
}

/* ---------------------------------------------------------------- hostile clients */

static void a_cell_that_names_a_slot_out_of_range_poisons_the_lane(void **state)
{
    (void)state;
    const uint32_t slots[] = {SLOTS, SLOTS + 1, 0x7fff, 0xffff};
    struct carom__claim claim;
    for (size_t i = 0; i < 4; i++) {
        publish_raw(0, slots[i]);
        assert_int_equal(carom__lane_claim(lane, OWNER, &claim), -EPROTO);
        carom__ring_advance(&lane->ring, head_of(&made));
    }
}

static void a_request_longer_than_its_block_poisons_the_lane(void **state)
{
    (void)state;
    const uint64_t lengths[] = {TEST_BLOCK_BYTES + 1, UINT64_C(1) << 32, UINT64_MAX};
    struct carom__claim claim;
    for (uint32_t i = 0; i < 3; i++) {
        test_lane_submit(&made, 0, i, 0);
        atomic_store(&lane->slots[0].request_bytes, lengths[i]);
        assert_int_equal(carom__lane_claim(lane, OWNER, &claim), -EPROTO);
        carom__ring_advance(&lane->ring, head_of(&made));
    }
}

static void a_phase_that_does_not_exist_is_stepped_over(void **state)
{
    (void)state;
    for (uint64_t phase = 4; phase < 8; phase++) {
        uint64_t word = carom__state(CAROM__FREE, 5, 0) | phase;
        set_state(&made, 1, word);
        publish_raw(5, 1);
        assert_nothing_to_claim();
        assert_state(1, word);
    }
}

static void a_ring_of_garbage_is_looked_at_for_one_lap_at_most(void **state)
{
    (void)state;
    uint32_t cells = lane->geometry.ring_cells;
    for (uint32_t i = 0; i < cells; i++)
        publish_raw(77, i % SLOTS);
    assert_nothing_to_claim();
    assert_true(head_of(&made) <= cells);
}

static void a_head_anywhere_in_64_bits_keeps_the_look_inside_the_lane(void **state)
{
    (void)state;
    const uint64_t heads[] = {1, 31, 32, 33, UINT64_C(1) << 29, UINT64_MAX - 1, UINT64_MAX};
    struct carom__claim claim;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        set_head(&made, heads[i]);
        int rc = carom__lane_claim(lane, OWNER, &claim);
        assert_true(rc == 0 || rc == -EPROTO);
    }
}

static void random_bytes_never_move_a_worker_outside_the_lane(void **state)
{
    (void)state;
    uint64_t *words = test_lane_base(&made);
    uint64_t random = 88172645463325252u;
    struct carom__claim claim;
    for (int round = 0; round < ROUNDS(20000); round++) {
        for (size_t i = 0; i < test_lane_bytes(&made) / 8; i += 1 + (size_t)round % 5) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            words[i] = random % 3 == 0 ? random : random % 8 | random % 9 << 40;
        }
        set_head(&made, random % 64);
        int rc = carom__lane_claim(lane, OWNER, &claim);
        carom__lane_has_work(lane);
        assert_true(rc == 0 || rc == 1 || rc == -EPROTO);
        assert_true(rc != 1 || (claim.slot < SLOTS && claim.request_bytes <= TEST_BLOCK_BYTES));
        recover(OWNER);
    }
}

/* Changes flags of slot 0 without end, as no honest client does. */
static void *flip_flags(void *unused)
{
    (void)unused;
    while (value_of(&board->finish) == 0) {
        atomic_fetch_xor(&lane->slots[0].state, CAROM__WAITER);
        atomic_fetch_xor(&lane->slots[0].state, CAROM__CANCEL);
    }
    return NULL;
}

static void flags_that_never_rest_do_not_hold_a_worker(void **state)
{
    (void)state;
    struct carom__claim claim;
    pthread_t flipper = thread_start(flip_flags, NULL);
    for (uint32_t generation = 0; generation < (uint32_t)ROUNDS(20000); generation++) {
        test_lane_submit(&made, 0, generation, 0);
        int rc = carom__lane_claim(lane, OWNER, &claim);
        assert_true(rc == 0 || rc == 1 || rc == -EPROTO);
        carom__ring_advance(&lane->ring, head_of(&made));
        atomic_fetch_and(&lane->slots[0].state, ~CAROM__PHASE_MASK);
        set_tail(&made, head_of(&made));
    }
    add_to(&board->finish, 1);
    thread_join(flipper);
}

/* ---------------------------------------------------------------- completion events */

static void a_completion_bit_is_taken_once(void **state)
{
    (void)state;
    struct test_lane big;
    test_lane_make(&big, 128);
    carom__lane_notify(&big.lane, 0);
    carom__lane_notify(&big.lane, 63);
    carom__lane_notify(&big.lane, 63);
    carom__lane_notify(&big.lane, 64);
    carom__lane_notify(&big.lane, 127);
    assert_true(carom__lane_take_completed(&big.lane, 0) == (UINT64_C(1) | UINT64_C(1) << 63));
    assert_true(carom__lane_take_completed(&big.lane, 1) == (UINT64_C(1) | UINT64_C(1) << 63));
    assert_true(carom__lane_take_completed(&big.lane, 0) == 0);
    test_lane_drop(&big);
}

static void an_end_with_notify_or_abandoned_sets_the_completion_bit_and_others_do_not(void **state)
{
    (void)state;
    const uint64_t flags[] = {0, CAROM__NOTIFY, CAROM__ABANDONED, CAROM__WAITER};
    for (uint32_t slot = 0; slot < 4; slot++) {
        test_lane_submit(&made, slot, 0, flags[slot]);
        struct carom__claim claim = claim_one(OWNER);
        assert_int_equal(carom__lane_finish(lane, &claim, 0, 0), 0);
    }
    assert_int_equal(carom__lane_take_completed(lane, 0), 6);
}

static void an_event_between_announcing_and_sleeping_is_not_lost(void **state)
{
    (void)state;
    uint32_t armed = carom__lane_arm_event(lane);
    carom__lane_ring_event(lane);
    assert_int_equal(carom__futex_wait(&lane->control->event, armed, -1), -EAGAIN);
}

static void an_event_between_announcing_and_sleeping_is_not_lost_by_the_second_sleeper(void **state)
{
    (void)state;
    carom__lane_arm_event(lane);
    uint32_t armed = carom__lane_arm_event(lane);
    carom__lane_ring_event(lane);
    assert_int_equal(carom__futex_wait(&lane->control->event, armed, -1), -EAGAIN);
}

/* Sleeps on the event word, without a limit, until number[0] has grown. */
static void *sleep_for_event(void *unused)
{
    (void)unused;
    uint32_t armed = carom__lane_arm_event(lane);
    add_to(&board->ready, 1);
    while (value_of(&board->number[0]) == 0) {
        carom__futex_wait(&lane->control->event, armed, -1);
        armed = carom__lane_arm_event(lane);
    }
    return NULL;
}

static void one_event_wakes_all_who_sleep(void **state)
{
    (void)state;
    pthread_t first = thread_start(sleep_for_event, NULL);
    pthread_t second = thread_start(sleep_for_event, NULL);
    await(value_of(&board->ready) == 2);
    add_to(&board->number[0], 1);
    carom__lane_ring_event(lane);
    thread_join(first);
    thread_join(second);
}

/* ---------------------------------------------------------------- recovery */

static void recovery_ends_exactly_the_calls_of_that_life_of_that_worker(void **state)
{
    (void)state;
    const uint32_t later_life = carom__owner(3, 2);
    set_state(&made, 0, carom__state(CAROM__RUNNING, 1, OWNER) | CAROM__CANCEL);
    set_state(&made, 1, carom__state(CAROM__RUNNING, 1, OTHER));
    set_state(&made, 2, carom__state(CAROM__RUNNING, 1, later_life));
    set_state(&made, 3, carom__state(CAROM__SUBMITTED, 1, 0));
    set_state(&made, 4, carom__state(CAROM__DONE, 1, OWNER));
    set_state(&made, 5, carom__state(CAROM__FREE, 1, 0));
    set_state(&made, 6, carom__state(CAROM__RUNNING, 2, OWNER));
    atomic_store(&lane->slots[4].reply_bytes, 44);
    assert_int_equal(recover(OWNER), 2);
    assert_state(0, carom__state(CAROM__DONE, 1, OWNER) | CAROM__CANCEL);
    assert_state(1, carom__state(CAROM__RUNNING, 1, OTHER));
    assert_state(2, carom__state(CAROM__RUNNING, 1, later_life));
    assert_state(3, carom__state(CAROM__SUBMITTED, 1, 0));
    assert_state(4, carom__state(CAROM__DONE, 1, OWNER));
    assert_state(5, carom__state(CAROM__FREE, 1, 0));
    assert_state(6, carom__state(CAROM__DONE, 2, OWNER));
    assert_int_equal(atomic_load(&lane->slots[0].status), CAROM_UNAVAILABLE);
    assert_int_equal(atomic_load(&lane->slots[6].status), CAROM_UNAVAILABLE);
    assert_int_equal(atomic_load(&lane->slots[4].reply_bytes), 44);
}

static void recovery_may_be_run_again(void **state)
{
    (void)state;
    test_lane_submit(&made, 0, 1, CAROM__NOTIFY);
    claim_one(OWNER);
    assert_int_equal(recover(OWNER), 1);
    uint64_t after = state_of(&made, 0);
    assert_int_equal(recover(OWNER), 0);
    assert_int_equal(recover(OWNER), 0);
    assert_state(0, after);
}

static void a_reply_left_half_written_is_not_handed_out(void **state)
{
    (void)state;
    test_lane_submit(&made, 0, 1, 0);
    claim_one(OWNER);
    atomic_store(&lane->slots[0].reply_bytes, 1234); /* then it died */
    atomic_store(&lane->slots[0].status, CAROM_OK);
    recover(OWNER);
    assert_int_equal(atomic_load(&lane->slots[0].reply_bytes), 99); /* the host's record */
    assert_int_equal(atomic_load(&lane->slots[0].status), CAROM_UNAVAILABLE);
}

static void only_a_running_call_of_that_owner_can_be_failed(void **state)
{
    (void)state;
    const uint64_t words[] = {
        carom__state(CAROM__FREE, 1, 0),          carom__state(CAROM__SUBMITTED, 1, 0),
        carom__state(CAROM__RUNNING, 1, OTHER),   carom__state(CAROM__DONE, 1, OWNER),
        carom__state(CAROM__SUBMITTED, 1, OWNER), UINT64_MAX,
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        uint32_t found = 0;
        set_state(&made, 0, words[i]);
        assert_false(carom__lane_find_running(lane, OWNER, &found));
        assert_int_equal(found, SLOTS);
        assert_false(carom__lane_fail(lane, 0, OWNER, CAROM_ABORTED, 7));
        assert_state(0, words[i]);
        assert_int_equal(atomic_load(&lane->slots[0].reply_bytes), 0);
    }
    set_state(&made, 5, carom__state(CAROM__RUNNING, 1, OWNER) | CAROM__WAITER);
    uint32_t found = 0;
    assert_true(carom__lane_find_running(lane, OWNER, &found));
    assert_int_equal(found, 5);
    assert_true(carom__lane_fail(lane, 5, OWNER, CAROM_ABORTED, 7));
    assert_state(5, carom__state(CAROM__DONE, 1, OWNER) | CAROM__WAITER);
    assert_int_equal(atomic_load(&lane->slots[5].status), CAROM_ABORTED);
    assert_int_equal(atomic_load(&lane->slots[5].reply_bytes), 7);
}

static void deaths_are_counted_and_stay_at_the_most(void **state)
{
    (void)state;
    assert_int_equal(carom__lane_count_death(lane, 2), 1);
    assert_int_equal(carom__lane_count_death(lane, 2), 2);
    assert_int_equal(atomic_load(&lane->slots[2].deaths), 2);
    assert_int_equal(atomic_load(&lane->slots[1].deaths), 0);
    atomic_store(&lane->slots[2].deaths, UINT32_MAX); /* a hostile client */
    assert_true(carom__lane_count_death(lane, 2) == UINT32_MAX);
}

/* ---------------------------------------------------------------- what waits */

static void what_waits_is_counted_and_its_first_is_found(void **state)
{
    (void)state;
    assert_int_equal(carom__lane_count_waiting(lane), 0);
    assert_true(carom__lane_first_waiting(lane) == 0);
    for (uint32_t slot = 0; slot < 4; slot++)
        test_lane_submit(&made, slot, 9, 0);
    assert_int_equal(carom__lane_count_waiting(lane), 4);
    assert_int_equal(carom__cell_slot(carom__lane_first_waiting(lane)), 0);
    claim_one(OWNER);
    assert_true(carom__lane_withdraw(lane, 1, 9)); /* its cell stands under head */
    assert_int_equal(carom__lane_count_waiting(lane), 2);
    assert_int_equal(carom__cell_slot(carom__lane_first_waiting(lane)), 2);
    claim_one(OWNER);
    claim_one(OWNER);
    assert_int_equal(carom__lane_count_waiting(lane), 0);
    assert_true(carom__lane_first_waiting(lane) == 0);
}

static void nonsense_in_the_ring_waits_for_nothing(void **state)
{
    (void)state;
    const uint64_t heads[] = {1, SLOTS, UINT64_MAX, UINT64_MAX - 3, UINT64_C(1) << 63};
    publish_raw(1, 0xffff); /* a slot that is none */
    publish_raw(CAROM__GENERATION_MASK, 3);
    assert_true(carom__lane_first_waiting(lane) == 0);
    test_lane_submit(&made, 3, 4, 0);
    assert_int_equal(carom__cell_slot(carom__lane_first_waiting(lane)), 3);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        set_head(&made, heads[i]);
        carom__lane_first_waiting(lane); /* ends, and stays inside the lane */
    }
}

static void recovery_repeats_completion_bits_that_the_dead_did_not_set(void **state)
{
    (void)state;
    set_state(&made, 0, carom__state(CAROM__DONE, 1, OWNER) | CAROM__NOTIFY);
    set_state(&made, 1, carom__state(CAROM__DONE, 1, OWNER) | CAROM__ABANDONED);
    set_state(&made, 2, carom__state(CAROM__DONE, 1, OWNER));
    set_state(&made, 3, carom__state(CAROM__RUNNING, 1, OTHER) | CAROM__NOTIFY);
    uint32_t armed = carom__lane_arm_event(lane);
    recover(OWNER);
    assert_int_equal(carom__lane_take_completed(lane, 0), 3);
    assert_int_equal(carom__futex_wait(&lane->control->event, armed, -1), -EAGAIN);
}

/* Sleeps on slot 0 once, without a limit, and counts that it was woken. */
static void *sleep_on_slot(void *unused)
{
    (void)unused;
    uint64_t seen = carom__lane_flag(lane, 0, 1, CAROM__WAITER);
    add_to(&board->ready, 1);
    require(carom__lane_sleep(lane, 0, seen, -1) == 0);
    add_to(&board->number[0], 1);
    return NULL;
}

static void recovery_wakes_a_client_whose_wake_the_dead_took_along(void **state)
{
    (void)state;
    test_lane_submit(&made, 0, 1, 0);
    claim_one(OWNER);
    pthread_t client = thread_start(sleep_on_slot, NULL);
    await_asleep(&lane->slots[0].state, 1);
    atomic_fetch_xor(&lane->slots[0].state, CAROM__RUNNING ^ CAROM__DONE); /* then it died */
    recover(OWNER);
    thread_join(client);
}

static void recovery_wakes_who_waits_for_an_event_that_the_dead_only_counted(void **state)
{
    (void)state;
    pthread_t client = thread_start(sleep_for_event, NULL);
    await_asleep(&lane->control->event, 1);
    add_to(&board->number[0], 1);
    atomic_fetch_add(&lane->control->event, 2); /* counted, then it died */
    recover(OWNER);
    thread_join(client);
}

static void
recovery_wakes_who_waits_for_an_event_when_the_dead_had_taken_the_sleepers_bit(void **state)
{
    (void)state;
    pthread_t client = thread_start(sleep_for_event, NULL);
    await_asleep(&lane->control->event, 1);
    add_to(&board->number[0], 1);
    atomic_fetch_add(&lane->control->event, 2);
    atomic_fetch_and(&lane->control->event, ~UINT32_C(1)); /* took the bit, then it died */
    recover(OWNER);
    bool woken = carom__futex_wake(&lane->control->event, 1) == 0; /* or wake it now */
    thread_join(client);
    assert_true(woken);
}

/* ---------------------------------------------------------------- the client dies */

static void when_the_client_dies_what_waits_never_runs_and_what_runs_is_told(void **state)
{
    (void)state;
    for (uint32_t slot = 0; slot < 3; slot++)
        test_lane_submit(&made, slot, 5, 0);
    struct carom__claim claim = claim_one(OWNER);
    set_state(&made, 3, carom__state(CAROM__DONE, 1, OTHER));
    carom__lane_disown(lane);
    carom__lane_disown(lane);
    assert_int_equal(claim.slot, 0);
    assert_state(0, carom__state(CAROM__RUNNING, 5, OWNER) | CAROM__ABANDONED | CAROM__CANCEL);
    assert_state(1, carom__state(CAROM__DONE, 5, CAROM__OWNER_CLIENT));
    assert_state(2, carom__state(CAROM__DONE, 5, CAROM__OWNER_CLIENT));
    assert_state(3, carom__state(CAROM__DONE, 1, OTHER));
    assert_state(4, 0);
    assert_nothing_to_claim();
    assert_int_equal(carom__lane_finish(lane, &claim, 0, 0), 0);
}

/* ---------------------------------------------------------------- threads */

static void withdrawing_wakes_who_waits(void **state)
{
    (void)state;
    test_lane_submit(&made, 0, 1, 0);
    pthread_t client = thread_start(sleep_on_slot, NULL);
    await_asleep(&lane->slots[0].state, 1);
    assert_true(carom__lane_withdraw(lane, 0, 1));
    thread_join(client);
}

static void finishing_wakes_who_waits(void **state)
{
    (void)state;
    test_lane_submit(&made, 0, 1, 0);
    struct carom__claim claim = claim_one(OWNER);
    pthread_t client = thread_start(sleep_on_slot, NULL);
    await_asleep(&lane->slots[0].state, 1);
    assert_int_equal(carom__lane_finish(lane, &claim, 0, 0), 0);
    thread_join(client);
}

/* One worker of many: claims, counts, finishes, until the test says that all is done. */
static _Atomic uint32_t claims[SLOTS]; /* of the present life of each slot */
static _Atomic uint32_t next_owner, total_claims;

static void *work(void *unused)
{
    (void)unused;
    uint32_t owner = carom__owner(atomic_fetch_add(&next_owner, 1), 1);
    struct carom__claim claim;
    while (value_of(&board->finish) == 0) {
        int rc = carom__lane_claim(lane, owner, &claim);
        require(rc >= 0);
        if (rc == 0) {
            sched_yield();
            continue;
        }
        require(atomic_fetch_add(&claims[claim.slot], 1) == 0);
        atomic_fetch_add(&total_claims, 1);
        require(carom__lane_finish(lane, &claim, 0, claim.generation) == 0);
    }
    return NULL;
}

static void await_done(uint32_t slot)
{
    while (carom__state_phase(carom__lane_state(lane, slot)) != CAROM__DONE)
        sched_yield();
}

/* One thread of the client, on two slots of its own in turn. */
static void *call(void *rounds)
{
    uint32_t first = 2 * (uint32_t)atomic_fetch_add(&board->number[1], 1);
    for (uint32_t generation = 0; generation < *(uint32_t *)rounds; generation++) {
        for (uint32_t slot = first; slot < first + 2; slot++) {
            atomic_store(&claims[slot], 0);
            require(test_lane_submit(&made, slot, generation, 0) > 0);
        }
        for (uint32_t slot = first; slot < first + 2; slot++) {
            await_done(slot);
            require(atomic_load(&lane->slots[slot].reply_bytes) == generation);
            require(atomic_load(&claims[slot]) == 1);
        }
    }
    return NULL;
}

static void every_call_of_many_threads_runs_exactly_once_on_one_of_many_workers(void **state)
{
    (void)state;
    uint32_t rounds = ROUNDS(40000);
    pthread_t workers[3];
    atomic_store(&total_claims, 0);
    for (int i = 0; i < 3; i++)
        workers[i] = thread_start(work, NULL);
    run_together(3, call, &rounds);
    add_to(&board->finish, 1);
    for (int i = 0; i < 3; i++)
        thread_join(workers[i]);
    assert_int_equal(atomic_load(&total_claims), 3 * 2 * rounds);
    assert_nothing_to_claim();
}

/* Submits and at once withdraws, while workers claim: exactly one side has each call. */
static void *call_and_withdraw(void *rounds)
{
    uint32_t slot = (uint32_t)atomic_fetch_add(&board->number[1], 1);
    for (uint32_t generation = 0; generation < *(uint32_t *)rounds; generation++) {
        atomic_store(&claims[slot], 0);
        if (test_lane_submit(&made, slot, generation, 0) < 0) {
            add_to(&board->number[4], 1);
            continue;
        }
        for (uint32_t i = 0; i < generation % 64; i++)
            carom__lane_state(lane, slot);
        bool withdrawn = carom__lane_withdraw(lane, slot, generation);
        await_done(slot);
        uint32_t owner = carom__state_owner(carom__lane_state(lane, slot));
        require(withdrawn == (owner == CAROM__OWNER_CLIENT));
        require(atomic_load(&claims[slot]) == (withdrawn ? 0 : 1));
        add_to(&board->number[withdrawn ? 2 : 3], 1);
    }
    return NULL;
}

static void a_call_is_either_withdrawn_or_claimed(void **state)
{
    (void)state;
    uint32_t rounds = ROUNDS(100000);
    atomic_store(&total_claims, 0);
    pthread_t first = thread_start(work, NULL), second = thread_start(work, NULL);
    run_together(2, call_and_withdraw, &rounds);
    add_to(&board->finish, 1);
    thread_join(first);
    thread_join(second);
    assert_int_equal(value_of(&board->number[4]), 0); /* no honest client is told "nonsense" */
    assert_int_equal(value_of(&board->number[2]) + value_of(&board->number[3]), 2 * rounds);
    assert_int_equal(atomic_load(&total_claims), value_of(&board->number[3]));
}

/* Each thread withdraws what it submitted, so the ring is soon full of stale cells. */
static void *submit_and_withdraw(void *rounds)
{
    uint32_t slot = (uint32_t)atomic_fetch_add(&board->number[1], 1);
    for (uint32_t generation = 0; generation < *(uint32_t *)rounds; generation++) {
        if (test_lane_submit(&made, slot, generation, 0) < 0) {
            add_to(&board->number[2], 1);
            return NULL;
        }
        require(carom__lane_withdraw(lane, slot, generation));
    }
    return NULL;
}

static int live_cells(void)
{
    int count = 0;
    uint64_t cell, tail = atomic_load(&made.producer.tail);
    for (uint64_t position = head_of(&made); position < tail; position++) {
        if (!carom__ring_read(&lane->ring, position, &cell))
            continue;
        uint64_t word = state_of(&made, carom__cell_slot(cell));
        count += carom__state_phase(word) == CAROM__SUBMITTED &&
                 carom__state_generation(word) == carom__cell_generation(cell);
    }
    return count;
}

static void threads_that_clear_the_ring_together_do_not_multiply_the_waiting_calls(void **state)
{
    (void)state;
    uint32_t rounds = ROUNDS(20000);
    for (uint32_t slot = 4; slot < SLOTS; slot++)
        test_lane_submit(&made, slot, 0, 0); /* waiting; every worker is busy */
    run_together(4, submit_and_withdraw, &rounds);
    assert_int_equal(value_of(&board->number[2]), 0);
    assert_int_equal(live_cells(), 4);
    for (int i = 0; i < 4; i++)
        claim_one(OWNER);
    assert_nothing_to_claim();
}

/* Client and worker that sleep each time, without limits: a lost wake would hang. */
static void *sleepy_client(void *rounds)
{
    for (uint32_t generation = 0; generation < *(uint32_t *)rounds; generation++) {
        require(test_lane_submit(&made, 0, generation, 0) > 0);
        for (;;) {
            uint64_t seen = carom__lane_flag(lane, 0, generation, CAROM__WAITER);
            if (carom__state_phase(seen) == CAROM__DONE)
                break;
            carom__lane_sleep(lane, 0, seen, -1);
        }
        require(atomic_load(&lane->slots[0].reply_bytes) == generation);
    }
    add_to(&board->finish, 1);
    return NULL;
}

static void no_wake_is_lost_between_finishing_and_going_to_sleep(void **state)
{
    (void)state;
    uint32_t rounds = ROUNDS(100000);
    pthread_t client = thread_start(sleepy_client, &rounds);
    struct carom__claim claim;
    for (uint32_t done = 0; done < rounds;) {
        if (carom__lane_claim(lane, OWNER, &claim) == 0)
            continue;
        for (uint32_t i = 0; i < done % 512; i++) /* at another moment each time */
            carom__lane_flags(lane, 0);
        assert_int_equal(carom__lane_finish(lane, &claim, 0, done), 0);
        done++;
    }
    thread_join(client);
}

/* Two threads sleep on the event word in turn with bits that a third sets. */
static void *await_bits(void *rounds)
{
    for (;;) {
        uint32_t armed = carom__lane_arm_event(lane);
        uint64_t bits = carom__lane_take_completed(lane, 0);
        for (; bits != 0; bits &= bits - 1)
            add_to(&board->number[0], 1);
        if (value_of(&board->number[0]) == *(int *)rounds) {
            carom__lane_ring_event(lane);
            return NULL;
        }
        carom__futex_wait(&lane->control->event, armed, -1);
    }
}

static void no_completion_is_lost_between_setting_its_bit_and_going_to_sleep(void **state)
{
    (void)state;
    int rounds = ROUNDS(50000);
    pthread_t first = thread_start(await_bits, &rounds);
    pthread_t second = thread_start(await_bits, &rounds);
    for (int done = 0; done < rounds; done++) {
        carom__lane_notify(lane, (uint32_t)done % SLOTS);
        while (value_of(&board->number[0]) <= done)
            sched_yield();
    }
    thread_join(first);
    thread_join(second);
    assert_int_equal(value_of(&board->number[0]), rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        lane_sentence(honest_geometries_are_accepted),
        lane_sentence(geometries_that_would_overflow_or_overlap_are_refused),
        lane_sentence(the_view_ends_where_lane_control_ends),
        lane_sentence(a_submitted_call_is_claimed_with_all_it_carries),
        lane_sentence(a_finished_call_is_done_with_its_status_and_length),
        lane_sentence(a_done_slot_is_submitted_again_in_its_next_life),
        lane_sentence(calls_are_claimed_in_the_order_of_their_submission),
        lane_sentence(the_last_generation_is_followed_by_the_first),
        lane_sentence(flags_set_before_the_claim_survive_it),
        lane_sentence(flags_set_while_running_survive_the_end),
        lane_sentence(a_lane_has_work_while_a_cell_is_published),
        lane_sentence(only_a_submitted_call_of_the_cells_generation_is_claimed),
        lane_sentence(a_submitted_word_with_an_owner_is_nobodys_to_claim),
        lane_sentence(only_a_submitted_call_of_that_generation_is_withdrawn),
        lane_sentence(flags_are_added_only_to_a_pending_call_of_that_generation),
        lane_sentence(a_late_reply_leaves_a_call_alone_that_is_over),
        lane_sentence(a_late_reply_leaves_the_slots_next_life_alone),
        lane_sentence(a_reply_to_a_call_that_another_worker_runs_is_refused),
        lane_sentence(a_withdrawn_call_is_done_and_never_runs),
        lane_sentence(stale_cells_are_stepped_over_to_the_call_behind_them),
        lane_sentence(withdrawn_calls_never_fill_the_ring),
        lane_sentence(a_waiting_call_is_carried_over_when_stale_cells_are_cleared),
        lane_sentence(a_lane_of_one_slot_works_for_many_laps),
        lane_sentence(a_head_that_is_nonsense_withdraws_the_submission),
        lane_sentence(a_submission_that_fails_notifies_nobody),
        lane_sentence(a_cell_that_names_a_slot_out_of_range_poisons_the_lane),
        lane_sentence(a_request_longer_than_its_block_poisons_the_lane),
        lane_sentence(a_phase_that_does_not_exist_is_stepped_over),
        lane_sentence(a_ring_of_garbage_is_looked_at_for_one_lap_at_most),
        lane_sentence(a_head_anywhere_in_64_bits_keeps_the_look_inside_the_lane),
        lane_sentence(random_bytes_never_move_a_worker_outside_the_lane),
        lane_sentence(flags_that_never_rest_do_not_hold_a_worker),
        lane_sentence(a_completion_bit_is_taken_once),
        lane_sentence(an_end_with_notify_or_abandoned_sets_the_completion_bit_and_others_do_not),
        lane_sentence(an_event_between_announcing_and_sleeping_is_not_lost),
        lane_sentence(an_event_between_announcing_and_sleeping_is_not_lost_by_the_second_sleeper),
        lane_sentence(one_event_wakes_all_who_sleep),
        lane_sentence(recovery_ends_exactly_the_calls_of_that_life_of_that_worker),
        lane_sentence(recovery_may_be_run_again),
        lane_sentence(a_reply_left_half_written_is_not_handed_out),
        lane_sentence(only_a_running_call_of_that_owner_can_be_failed),
        lane_sentence(deaths_are_counted_and_stay_at_the_most),
        lane_sentence(what_waits_is_counted_and_its_first_is_found),
        lane_sentence(nonsense_in_the_ring_waits_for_nothing),
        lane_sentence(recovery_repeats_completion_bits_that_the_dead_did_not_set),
        lane_sentence(recovery_wakes_a_client_whose_wake_the_dead_took_along),
        lane_sentence(recovery_wakes_who_waits_for_an_event_that_the_dead_only_counted),
        lane_sentence(
            recovery_wakes_who_waits_for_an_event_when_the_dead_had_taken_the_sleepers_bit),
        lane_sentence(when_the_client_dies_what_waits_never_runs_and_what_runs_is_told),
        lane_sentence(withdrawing_wakes_who_waits),
        lane_sentence(finishing_wakes_who_waits),
        lane_sentence(every_call_of_many_threads_runs_exactly_once_on_one_of_many_workers),
        lane_sentence(a_call_is_either_withdrawn_or_claimed),
        lane_sentence(threads_that_clear_the_ring_together_do_not_multiply_the_waiting_calls),
        lane_sentence(no_wake_is_lost_between_finishing_and_going_to_sleep),
        lane_sentence(no_completion_is_lost_between_setting_its_bit_and_going_to_sleep),
    };
    return RUN(tests);
}
