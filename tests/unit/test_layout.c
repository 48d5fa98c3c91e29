/* SPDX-License-Identifier: Apache-2.0
 *
 * test_layout.c - words that processes share are packed and unpacked without loss, and the parts of
 * lane control do not overlap. (The offsets themselves are asserted at compile time.) */
#include "support.h"

#include "layout.h"

static void a_state_word_gives_back_what_it_was_made_of(void **state)
{
    (void)state;
    uint64_t word = carom__state(CAROM__RUNNING, 0xabcdef, 0x12345678);
    assert_int_equal(carom__state_phase(word), CAROM__RUNNING);
    assert_int_equal(carom__state_generation(word), 0xabcdef);
    assert_int_equal(carom__state_owner(word), 0x12345678);
}

static void flags_touch_neither_phase_nor_generation_nor_owner(void **state)
{
    (void)state;
    const uint64_t flags = CAROM__WAITER | CAROM__CANCEL | CAROM__ABANDONED | CAROM__NOTIFY;
    uint64_t word = carom__state(CAROM__DONE, 0xffffff, 0xffffffff);
    assert_int_equal(word & flags, 0);
    word |= flags;
    assert_int_equal(carom__state_phase(word), CAROM__DONE);
    assert_int_equal(carom__state_generation(word), 0xffffff);
    assert_int_equal(carom__state_owner(word), 0xffffffff);
}

static void zeroed_memory_is_a_free_slot_of_nobody(void **state)
{
    (void)state;
    assert_int_equal(carom__state(CAROM__FREE, 0, 0), 0);
}

static void one_exchange_of_a_bit_turns_running_into_done(void **state)
{
    (void)state;
    assert_int_equal(CAROM__RUNNING ^ CAROM__DONE, 1);
}

static void phase_and_flags_lie_in_the_futex_word(void **state)
{
    (void)state;
    uint64_t word = carom__state(CAROM__DONE, 0xffffff, 0);
    assert_true(word <= UINT32_MAX);
    assert_true((CAROM__NOTIFY | CAROM__ABANDONED) <= UINT32_MAX);
}

static void no_worker_is_mistaken_for_the_client(void **state)
{
    (void)state;
    for (uint32_t worker = 0; worker < CAROM__MAX_WORKERS; worker++) {
        assert_int_not_equal(carom__owner(worker, 1), CAROM__OWNER_CLIENT);
        assert_int_not_equal(carom__owner(worker, 0xfffe), CAROM__OWNER_CLIENT);
        assert_int_not_equal(carom__owner(worker, 1), 0);
    }
    assert_int_not_equal(carom__owner(3, 1), carom__owner(3, 2));
    assert_int_not_equal(carom__owner(3, 1), carom__owner(4, 1));
}

static void a_cell_gives_back_what_it_was_made_of(void **state)
{
    (void)state;
    uint64_t cell = carom__cell(0xfedcba, 0x123456, 0x0fff);
    assert_int_equal(carom__cell_lap(cell), 0xfedcba);
    assert_int_equal(carom__cell_generation(cell), 0x123456);
    assert_int_equal(carom__cell_slot(cell), 0x0fff);
}

static void a_cell_has_24_bits_of_the_lap(void **state)
{
    (void)state;
    assert_int_equal(carom__cell_lap(carom__cell(0x1000002, 3, 4)), 2);
    assert_true(carom__cell_same_lap(carom__cell(0x1000002, 3, 4), carom__cell(2, 5, 6)));
    assert_false(carom__cell_same_lap(carom__cell(3, 3, 4), carom__cell(2, 3, 4)));
}

static void cells_and_slots_of_every_geometry_do_not_overlap(void **state)
{
    (void)state;
    for (uint32_t slots = 1; slots <= CAROM__MAX_SLOTS; slots *= 2) {
        struct carom__geometry geometry = {.slots = slots,
                                           .ring_cells = slots * CAROM__CELLS_PER_SLOT};
        size_t cells_end = carom__cells_offset() + geometry.ring_cells * sizeof(uint64_t);
        assert_true(carom__cells_offset() >= sizeof(struct carom__lane_control));
        assert_true(carom__slots_offset(&geometry) >= cells_end);
        assert_int_equal(carom__slots_offset(&geometry) % CAROM__LINE_BYTES, 0);
        assert_int_equal(carom__control_bytes(&geometry),
                         carom__slots_offset(&geometry) + slots * sizeof(struct carom__slot));
    }
}

static void blocks_of_a_lane_share_no_page_and_end_inside_their_object(void **state)
{
    (void)state;
    const uint64_t sizes[] = {4096, 8192, UINT64_C(64) << 20, UINT64_C(1) << 40};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t last_page = 0;
        for (uint32_t slot = 0; slot < CAROM__MAX_SLOTS; slot++) {
            uint64_t begin = carom__block_offset(slot, sizes[i]), end = begin + sizes[i];
            assert_true(slot == 0 || begin / CAROM__PAGE_BYTES > last_page);
            assert_int_equal(begin % CAROM__BLOCK_ALIGN, 0);
            assert_true(end <= carom__blocks_bytes(slot + 1, sizes[i]));
            last_page = (end - 1) / CAROM__PAGE_BYTES;
        }
    }
}

static void slots_and_park_words_share_no_line_pair(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct carom__slot) % CAROM__LINE_BYTES, 0);
    assert_int_equal(sizeof(struct carom__park) % CAROM__LINE_BYTES, 0);
    assert_int_equal(sizeof(struct carom__worker_stats) % CAROM__LINE_BYTES, 0);
}

static void the_layout_hash_is_always_the_same_number(void **state)
{
    (void)state;
    assert_int_not_equal(carom__layout_hash(), 0);
    assert_true(carom__layout_hash() == carom__layout_hash());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(a_state_word_gives_back_what_it_was_made_of),
        sentence(flags_touch_neither_phase_nor_generation_nor_owner),
        sentence(zeroed_memory_is_a_free_slot_of_nobody),
        sentence(one_exchange_of_a_bit_turns_running_into_done),
        sentence(phase_and_flags_lie_in_the_futex_word),
        sentence(no_worker_is_mistaken_for_the_client),
        sentence(a_cell_gives_back_what_it_was_made_of),
        sentence(a_cell_has_24_bits_of_the_lap),
        sentence(cells_and_slots_of_every_geometry_do_not_overlap),
        sentence(blocks_of_a_lane_share_no_page_and_end_inside_their_object),
        sentence(slots_and_park_words_share_no_line_pair),
        sentence(the_layout_hash_is_always_the_same_number),
    };
    return RUN(tests);
}
