/* SPDX-License-Identifier: Apache-2.0
 *
 * slots.h - the free slots of a client: a stack private to its process, shared by its threads.
 *
 * Last in, first out, so that the few hot slots stay in the caches and in the page tables. The head
 * word is {tag, free count, index + 1}; the tag changes with every push, so a thread that was
 * interrupted inside pop cannot mistake an older stack for the present one (ABA). */
#ifndef CAROM_SLOTS_H
#define CAROM_SLOTS_H

#include <stdatomic.h>
#include <stdint.h>

#define CAROM__NO_SLOT UINT32_C(0xffffffff)

struct carom__slots {
    _Atomic uint64_t head;  /* bits 0-15 index + 1, 16-31 how many are free, 32-63 tag */
    _Atomic uint16_t *next; /* index + 1 of the slot below; one per slot */
};

/** Makes every slot free, slot 0 on top. `next` has room for `count` entries. */
static inline void carom__slots_init(struct carom__slots *slots, _Atomic uint16_t *next,
                                     uint32_t count)
{
    slots->next = next;
    for (uint32_t i = 0; i < count; i++)
        atomic_init(&next[i], (uint16_t)(i + 1 < count ? i + 2 : 0));
    atomic_init(&slots->head, UINT64_C(1) | (uint64_t)count << 16);
}

/** How many are free at this moment. */
static inline uint32_t carom__slots_free(struct carom__slots *slots)
{
    /* relaxed: a momentary count, publishes nothing */
    return (uint32_t)(atomic_load_explicit(&slots->head, memory_order_relaxed) >> 16) & 0xffffu;
}

/** Takes the top slot; CAROM__NO_SLOT when none is free. */
static inline uint32_t carom__slots_pop(struct carom__slots *slots)
{
    /* seq_cst: a waiter that announced itself looks here again; pairs with carom__slots_push */
    uint64_t head = atomic_load_explicit(&slots->head, memory_order_seq_cst);
    for (;;) {
        uint32_t top = (uint32_t)head & 0xffffu;
        if (top == 0)
            return CAROM__NO_SLOT;
        /* relaxed: if another thread took this slot meanwhile the value is unused */
        uint32_t below = atomic_load_explicit(&slots->next[top - 1], memory_order_relaxed);
        uint64_t rest = ((head & ~UINT64_C(0xffff)) - (UINT64_C(1) << 16)) | below;
        /* seq_cst as above; acquire in it: the call structure is as its last user left it */
        if (atomic_compare_exchange_weak_explicit(&slots->head, &head, rest, memory_order_seq_cst,
                                                  memory_order_seq_cst))
            return top - 1;
    }
}

/** Gives a slot back. seq_cst, so that the caller may then look for threads that wait for one. */
static inline void carom__slots_push(struct carom__slots *slots, uint32_t slot)
{
    /* relaxed: only the starting guess of the exchange below */
    uint64_t head = atomic_load_explicit(&slots->head, memory_order_relaxed);
    uint64_t pushed;
    do {
        /* relaxed: published by the exchange */
        atomic_store_explicit(&slots->next[slot], (uint16_t)head, memory_order_relaxed);
        pushed = ((head & ~UINT64_C(0xffff)) + (UINT64_C(1) << 16) + (UINT64_C(1) << 32)) |
                 (slot + 1);
        /* seq_cst: before the look at the waiters' count; release in it publishes the call */
    } while (!atomic_compare_exchange_weak_explicit(&slots->head, &head, pushed,
                                                    memory_order_seq_cst, memory_order_relaxed));
}

#endif
