/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring.c - the submit ring by itself: order, laps, room, and threads on both sides. What calls
 * do with it is in test_lane.c. */
#include "support.h"

#include "ring.h"

#define CELLS 16u
#define CELLS_LOG2 4u
#define LAPS (UINT64_C(1) << 24)

static _Atomic uint64_t cells[CELLS];
static _Atomic uint64_t head;
static struct carom__producer producer;
static const struct carom__ring ring = {cells, &head, CELLS - 1, CELLS_LOG2};

/* An empty ring whose cursors stand at a position; the cells hold what the lap before left there.
 * */
static void stand_at(uint64_t position)
{
    for (uint64_t i = 0; i < CELLS; i++) {
        uint64_t before = position + i - CELLS;
        uint64_t cell = position + i < CELLS ? 0
                                             : carom__cell(carom__ring_lap(&ring, before), 9, 9);
        atomic_store(&cells[(position + i) % CELLS], cell);
    }
    atomic_store(&head, position);
    atomic_store(&producer.tail, position);
    atomic_store(&producer.head_seen, position);
}

static void publish(uint32_t generation, uint32_t slot)
{
    carom__ring_publish(&ring, carom__ring_ticket(&producer), generation, slot);
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
    assert_int_not_equal(atomic_load(&cells[0]), 0);
    assert_empty();
}

static void a_cell_of_a_lap_to_come_is_not_published_yet(void **state)
{
    (void)state;
    stand_at(0);
    atomic_store(&cells[0], carom__cell(2, 5, 5));
    assert_empty();
}

static void a_hole_left_by_a_slow_thread_holds_back_what_is_behind_it(void **state)
{
    (void)state;
    uint64_t cell;
    stand_at(0);
    uint64_t slow = carom__ring_ticket(&producer);
    publish(2, 2);
    assert_empty();
    assert_true(carom__ring_read(&ring, slow + 1, &cell));
    carom__ring_publish(&ring, slow, 1, 1);
    assert_taken(1, 1);
    assert_taken(2, 2);
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

static void a_ticket_is_drawn_only_while_half_of_the_cells_are_free(void **state)
{
    (void)state;
    stand_at(1000);
    for (uint32_t i = 0; i < CELLS / 2; i++) {
        assert_int_equal(carom__ring_room(&ring, &producer), CAROM__ROOM);
        publish(i, 0);
    }
    assert_int_equal(carom__ring_room(&ring, &producer), CAROM__NO_ROOM);
    carom__ring_advance(&ring, 1000);
    assert_int_equal(carom__ring_room(&ring, &producer), CAROM__ROOM);
}

static void head_is_read_only_when_the_known_room_is_used_up(void **state)
{
    (void)state;
    stand_at(1000);
    atomic_store(&head, 7); /* nonsense, but nobody has a reason to look yet */
    for (uint32_t i = 0; i < CELLS / 2; i++) {
        assert_int_equal(carom__ring_room(&ring, &producer), CAROM__ROOM);
        publish(i, 0);
    }
    assert_int_equal(carom__ring_room(&ring, &producer), CAROM__ROOM_NONSENSE);
}

static void assert_room(uint64_t at, enum carom__room expected)
{
    stand_at(1000);
    atomic_store(&producer.tail, 1000 + CELLS);
    atomic_store(&head, at);
    assert_int_equal(carom__ring_room(&ring, &producer), expected);
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
        await(carom__ring_room(&ring, &producer) == CAROM__ROOM);
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
        sentence(a_hole_left_by_a_slow_thread_holds_back_what_is_behind_it),
        sentence(head_moves_once_for_a_position_however_many_try),
        sentence(a_ticket_is_drawn_only_while_half_of_the_cells_are_free),
        sentence(head_is_read_only_when_the_known_room_is_used_up),
        sentence(a_head_that_no_consumer_can_have_set_is_nonsense),
        sentence(what_threads_publish_together_comes_out_once_and_in_each_threads_order),
    };
    return RUN(tests);
}
