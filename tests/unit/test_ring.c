/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring.c - the submit ring by itself: order, laps, room, and threads on both sides. What calls
 * do with it is in test_lane.c. */
#include "support.h"

#include "ring.h"

#define CELLS 16u
#define LAPS (UINT64_C(1) << 24)

static _Atomic uint64_t cells[CELLS], notes[CELLS];
static _Atomic uint64_t head;
static struct carom__producer producer = {.cells = notes};
static struct carom__ring ring;

static _Atomic uint64_t *cell_of(uint64_t position)
{
    return &cells[carom__ring_at(&ring, position)];
}

/* An empty ring whose cursors stand at a position; its cells hold what the lap before left. */
static void stand_at(uint64_t position)
{
    carom__ring_view(&ring, cells, &head, CELLS);
    for (uint64_t i = 0; i < CELLS; i++) {
        uint64_t before = position + i - CELLS;
        uint64_t cell = position + i < CELLS ? 0
                                             : carom__cell(carom__ring_lap(&ring, before), 9, 9);
        atomic_store(cell_of(position + i), cell);
        atomic_store(&notes[carom__ring_at(&ring, position + i)], cell);
    }
    atomic_store(&head, position);
    atomic_store(&producer.tail, position);
    atomic_store(&producer.head_seen, position);
}

static bool has_room(void)
{
    uint64_t position;
    return carom__ring_has_room(&ring, &producer, &position);
}

static void publish(uint32_t generation, uint32_t slot)
{
    uint64_t position;
    if (!carom__ring_has_room(&ring, &producer, &position) ||
        !carom__ring_publish(&ring, &producer, position, generation, slot))
        require(carom__ring_append(&ring, &producer, generation, slot));
}

static bool take(uint64_t *cell)
{
    uint64_t position;
    if (!carom__ring_peek(&ring, &position, cell))
        return false;
    carom__ring_advance(&ring, position);
    return true;
}

static void assert_taken(uint32_t generation, uint32_t slot)
{
    uint64_t cell;
    assert_true(take(&cell));
    assert_int_equal(carom__cell_generation(cell), generation);
    assert_int_equal(carom__cell_slot(cell), slot);
}

static void assert_empty(void)
{
    uint64_t cell;
    assert_false(take(&cell));
}

static void a_ring_of_zeroed_memory_is_empty(void **state)
{
    (void)state;
    stand_at(0);
    assert_empty();
}

static void cells_come_out_once_and_in_order(void **state)
{
    (void)state;
    stand_at(0);
    for (uint32_t i = 0; i < 5; i++)
        publish(100 + i, i);
    for (uint32_t i = 0; i < 5; i++)
        assert_taken(100 + i, i);
    assert_empty();
}

/* Publishes and takes, a few at a time, across the given position. */
static void run_across(uint64_t position)
{
    stand_at(position - 20);
    uint32_t written = 0, taken = 0;
    while (written < 60) {
        for (uint32_t i = 0; i < 7; i++, written++)
            publish(written, written % 8);
        for (uint32_t i = 0; i < 7; i++, taken++)
            assert_taken(taken, taken % 8);
        assert_empty();
    }
}

static void looking_ahead_of_the_producer_changes_nothing(void **state)
{
    (void)state;
    stand_at(0);
    carom__ring_prefetch(&ring, &producer);
    assert_empty();
    assert_int_equal(atomic_load(&producer.tail), 0);
}

static void order_is_kept_where_the_index_wraps(void **state)
{
    (void)state;
    run_across(CELLS * 5 - 1);
    run_across(UINT64_C(5) * CELLS);
    run_across(CELLS * 5 + 1);
}

static void order_is_kept_where_the_lap_number_wraps(void **state)
{
    (void)state;
    run_across(LAPS * CELLS - CELLS);
    run_across(LAPS * CELLS);
    run_across(3 * LAPS * CELLS - CELLS);
}

static void a_cell_of_the_lap_before_is_not_published(void **state)
{
    (void)state;
    stand_at(CELLS);
    assert_int_not_equal(atomic_load(cell_of(CELLS)), 0);
    assert_empty();
}

static void a_cell_of_a_lap_to_come_is_not_published_yet(void **state)
{
    (void)state;
    stand_at(0);
    atomic_store(cell_of(0), carom__cell(2, 5, 5));
    assert_empty();
}

static void a_thread_that_comes_second_publishes_behind_the_first(void **state)
{
    (void)state;
    uint64_t position;
    stand_at(0);
    assert_true(carom__ring_has_room(&ring, &producer, &position));
    publish(1, 1);
    assert_false(carom__ring_publish(&ring, &producer, position, 2, 2));
    assert_true(carom__ring_append(&ring, &producer, 2, 2));
    assert_taken(1, 1);
    assert_taken(2, 2);
    assert_empty();
}

static void notes_that_are_a_lap_old_cost_a_second_look_and_nothing_else(void **state)
{
    (void)state;
    stand_at(0);
    for (uint32_t i = 0; i < 3 * CELLS; i++) {
        atomic_store(&notes[carom__ring_at(&ring, i)], 0);
        publish(i, 3);
        assert_taken(i, 3);
    }
}

static void a_tail_that_is_behind_is_brought_forward(void **state)
{
    (void)state;
    const uint64_t behind[] = {1, CELLS / 2, CELLS - 1, CELLS, UINT64_C(5) * CELLS};
    for (size_t i = 0; i < sizeof behind / sizeof behind[0]; i++) {
        stand_at(UINT64_C(100) * CELLS);
        for (uint32_t k = 0; k < 6; k++)
            publish(k, 1);
        assert_taken(0, 1);
        atomic_store(&producer.tail, head - behind[i]);
        assert_int_equal(carom__ring_find_room(&ring, &producer), CAROM__ROOM);
        assert_int_equal(atomic_load(&producer.tail), 100 * CELLS + 6);
        publish(6, 1);
        for (uint32_t k = 1; k <= 6; k++)
            assert_taken(k, 1);
        assert_empty();
    }
}

static void a_cell_that_was_damaged_is_not_published_over(void **state)
{
    (void)state;
    const uint64_t laps[] = {0, 7, 0xffffff};
    for (size_t i = 0; i < sizeof laps / sizeof laps[0]; i++) {
        stand_at(CELLS);
        atomic_store(cell_of(CELLS), carom__cell(laps[i], 1, 1));
        assert_false(carom__ring_append(&ring, &producer, 1, 1));
        assert_int_equal(carom__ring_find_room(&ring, &producer), CAROM__ROOM_NONSENSE);
    }
}

static void nothing_is_published_a_lap_after_head(void **state)
{
    (void)state;
    stand_at(1000);
    for (uint32_t i = 0; i < CELLS; i++)
        assert_true(carom__ring_append(&ring, &producer, i, 0));
    assert_false(carom__ring_append(&ring, &producer, CELLS, 0));
    assert_int_equal(carom__ring_find_room(&ring, &producer), CAROM__NO_ROOM);
    for (uint32_t i = 0; i < CELLS; i++)
        assert_taken(i, 0);
}

static void head_moves_once_for_a_position_however_many_try(void **state)
{
    (void)state;
    stand_at(30);
    carom__ring_advance(&ring, 30);
    carom__ring_advance(&ring, 30);
    carom__ring_advance(&ring, 29);
    carom__ring_advance(&ring, 32);
    assert_int_equal(atomic_load(&head), 31);
    assert_true(carom__ring_moved(&ring, 30));
    assert_false(carom__ring_moved(&ring, 31));
}

static void there_is_room_while_half_of_the_cells_are_free(void **state)
{
    (void)state;
    stand_at(1000);
    for (uint32_t i = 0; i < CELLS / 2; i++) {
        assert_true(has_room());
        publish(i, 0);
    }
    assert_false(has_room());
    assert_int_equal(carom__ring_find_room(&ring, &producer), CAROM__NO_ROOM);
    carom__ring_advance(&ring, 1000);
    assert_int_equal(carom__ring_find_room(&ring, &producer), CAROM__ROOM);
    assert_true(has_room());
}

static void head_is_read_only_when_the_known_room_is_used_up(void **state)
{
    (void)state;
    stand_at(1000);
    atomic_store(&head, 7); /* nonsense, but nobody has a reason to look yet */
    for (uint32_t i = 0; i < CELLS / 2; i++) {
        assert_true(has_room());
        publish(i, 0);
    }
    assert_false(has_room());
    assert_int_equal(carom__ring_find_room(&ring, &producer), CAROM__ROOM_NONSENSE);
}

static void assert_room(uint64_t at, enum carom__room expected)
{
    stand_at(1000);
    for (uint32_t i = 0; i < CELLS; i++)
        carom__ring_append(&ring, &producer, i, 0);
    atomic_store(&head, at);
    assert_int_equal(carom__ring_find_room(&ring, &producer), expected);
}

static void a_head_that_no_consumer_can_have_set_is_nonsense(void **state)
{
    (void)state;
    assert_room(1000 + CELLS, CAROM__ROOM);              /* empty */
    assert_room(1000 + CELLS / 2 + 1, CAROM__ROOM);      /* one less than half */
    assert_room(1000 + CELLS / 2, CAROM__NO_ROOM);       /* half */
    assert_room(1000, CAROM__NO_ROOM);                   /* full */
    assert_room(999, CAROM__ROOM_NONSENSE);              /* more than full */
    assert_room(1000 + CELLS + 1, CAROM__ROOM_NONSENSE); /* ahead of the producer */
    assert_room(0, CAROM__ROOM_NONSENSE);
    assert_room(UINT64_MAX, CAROM__ROOM_NONSENSE);
    assert_room(UINT64_C(1) << 63, CAROM__ROOM_NONSENSE);
}

/* ---- threads: every cell carries {thread, number}, so that order per thread can be seen */

#define PRODUCERS 3

static _Atomic int next_thread;
static int rounds;

static void *produce(void *unused)
{
    (void)unused;
    uint32_t thread = (uint32_t)atomic_fetch_add(&next_thread, 1);
    for (int number = 0; number < rounds; number++) {
        await(has_room() || carom__ring_find_room(&ring, &producer) == CAROM__ROOM);
        publish((uint32_t)number, thread);
    }
    return NULL;
}

static void *consume(void *seen)
{
    uint32_t *next = seen;
    uint64_t cell;
    for (int taken = 0; taken < rounds * PRODUCERS;) {
        if (!take(&cell))
            continue;
        uint32_t thread = carom__cell_slot(cell);
        require(thread < PRODUCERS);
        require(carom__cell_generation(cell) == next[thread]);
        next[thread]++;
        taken++;
    }
    return NULL;
}

static void what_threads_publish_together_comes_out_once_and_in_each_threads_order(void **state)
{
    (void)state;
    uint32_t next[PRODUCERS] = {0};
    rounds = ROUNDS(100000);
    atomic_store(&next_thread, 0);
    stand_at(LAPS * CELLS - 1000);
    pthread_t consumer = thread_start(consume, next);
    run_together(PRODUCERS, produce, NULL);
    thread_join(consumer);
    for (int thread = 0; thread < PRODUCERS; thread++)
        assert_int_equal(next[thread], rounds);
    assert_empty();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(a_ring_of_zeroed_memory_is_empty),
        sentence(cells_come_out_once_and_in_order),
        sentence(looking_ahead_of_the_producer_changes_nothing),
        sentence(order_is_kept_where_the_index_wraps),
        sentence(order_is_kept_where_the_lap_number_wraps),
        sentence(a_cell_of_the_lap_before_is_not_published),
        sentence(a_cell_of_a_lap_to_come_is_not_published_yet),
        sentence(a_thread_that_comes_second_publishes_behind_the_first),
        sentence(notes_that_are_a_lap_old_cost_a_second_look_and_nothing_else),
        sentence(a_tail_that_is_behind_is_brought_forward),
        sentence(a_cell_that_was_damaged_is_not_published_over),
        sentence(nothing_is_published_a_lap_after_head),
        sentence(head_moves_once_for_a_position_however_many_try),
        sentence(there_is_room_while_half_of_the_cells_are_free),
        sentence(head_is_read_only_when_the_known_room_is_used_up),
        sentence(a_head_that_no_consumer_can_have_set_is_nonsense),
        sentence(what_threads_publish_together_comes_out_once_and_in_each_threads_order),
    };
    return RUN(tests);
}
