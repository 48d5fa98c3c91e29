/* SPDX-License-Identifier: Apache-2.0
 *
 * test_slots.c - the stack of free slots: last in, first out, each handed out once. */
#include "support.h"

#include "layout.h"
#include "slots.h"

#include <stdlib.h>

#define SLOTS 8u

static _Atomic uint16_t below[CAROM__MAX_SLOTS];
static struct carom__slots slots;

static void a_new_stack_hands_out_slot_0_first(void **state)
{
    (void)state;
    carom__slots_init(&slots, below, SLOTS);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        assert_int_equal(carom__slots_pop(&slots), slot);
}

static void the_slot_given_back_last_is_taken_first(void **state)
{
    (void)state;
    carom__slots_init(&slots, below, SLOTS);
    for (uint32_t i = 0; i < 3; i++)
        carom__slots_pop(&slots);
    carom__slots_push(&slots, 1);
    carom__slots_push(&slots, 0);
    carom__slots_push(&slots, 2);
    assert_int_equal(carom__slots_pop(&slots), 2);
    assert_int_equal(carom__slots_pop(&slots), 0);
    assert_int_equal(carom__slots_pop(&slots), 1);
    assert_int_equal(carom__slots_pop(&slots), 3);
}

static void an_empty_stack_says_so_until_a_slot_comes_back(void **state)
{
    (void)state;
    carom__slots_init(&slots, below, 1);
    assert_int_equal(carom__slots_pop(&slots), 0);
    assert_int_equal(carom__slots_pop(&slots), CAROM__NO_SLOT);
    assert_int_equal(carom__slots_pop(&slots), CAROM__NO_SLOT);
    carom__slots_push(&slots, 0);
    assert_int_equal(carom__slots_pop(&slots), 0);
    assert_int_equal(carom__slots_pop(&slots), CAROM__NO_SLOT);
}

static void the_count_follows_every_pop_and_push(void **state)
{
    (void)state;
    carom__slots_init(&slots, below, CAROM__MAX_SLOTS);
    assert_int_equal(carom__slots_free(&slots), CAROM__MAX_SLOTS);
    for (uint32_t i = 0; i < CAROM__MAX_SLOTS; i++) {
        assert_int_equal(carom__slots_pop(&slots), i);
        assert_int_equal(carom__slots_free(&slots), CAROM__MAX_SLOTS - 1 - i);
    }
    assert_int_equal(carom__slots_pop(&slots), CAROM__NO_SLOT);
    assert_int_equal(carom__slots_free(&slots), 0);
    for (uint32_t i = 0; i < CAROM__MAX_SLOTS; i++)
        carom__slots_push(&slots, i);
    assert_int_equal(carom__slots_free(&slots), CAROM__MAX_SLOTS);
}

static void a_stack_that_looks_the_same_again_has_another_head_word(void **state)
{
    (void)state;
    carom__slots_init(&slots, below, SLOTS);
    uint64_t before = atomic_load(&slots.head);
    carom__slots_push(&slots, carom__slots_pop(&slots));
    assert_true(atomic_load(&slots.head) != before);
    assert_true((uint32_t)atomic_load(&slots.head) == (uint32_t)before);
}

static void the_tag_may_wrap_without_touching_count_and_index(void **state)
{
    (void)state;
    carom__slots_init(&slots, below, SLOTS);
    atomic_fetch_or(&slots.head, UINT64_C(0xffffffff) << 32);
    assert_int_equal(carom__slots_pop(&slots), 0);
    carom__slots_push(&slots, 0);
    assert_int_equal(carom__slots_free(&slots), SLOTS);
    assert_int_equal(carom__slots_pop(&slots), 0);
    assert_int_equal(carom__slots_pop(&slots), 1);
}

/* ---- threads */

static _Atomic int holders[SLOTS];

static void *take_and_give(void *argument)
{
    uint32_t held[3];
    for (int round = 0; round < *(int *)argument; round++) {
        uint32_t count = (uint32_t)round % 3 + 1, got = 0;
        for (; got < count; got++) {
            held[got] = carom__slots_pop(&slots);
            if (held[got] == CAROM__NO_SLOT)
                break;
            require(held[got] < SLOTS);
            require(atomic_fetch_add(&holders[held[got]], 1) == 0);
        }
        while (got > 0) {
            require(atomic_fetch_sub(&holders[held[--got]], 1) == 1);
            carom__slots_push(&slots, held[got]);
        }
    }
    return NULL;
}

static void threads_never_hold_one_slot_together(void **state)
{
    (void)state;
    int rounds = ROUNDS(400000);
    carom__slots_init(&slots, below, SLOTS);
    run_together(4, take_and_give, &rounds);
    assert_int_equal(carom__slots_free(&slots), SLOTS);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < SLOTS; i++)
        seen |= 1u << (carom__slots_pop(&slots) % 32);
    assert_int_equal(seen, (1u << SLOTS) - 1);
    assert_int_equal(carom__slots_pop(&slots), CAROM__NO_SLOT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(a_new_stack_hands_out_slot_0_first),
        sentence(the_slot_given_back_last_is_taken_first),
        sentence(an_empty_stack_says_so_until_a_slot_comes_back),
        sentence(the_count_follows_every_pop_and_push),
        sentence(a_stack_that_looks_the_same_again_has_another_head_word),
        sentence(the_tag_may_wrap_without_touching_count_and_index),
        sentence(threads_never_hold_one_slot_together),
    };
    return RUN(tests);
}
