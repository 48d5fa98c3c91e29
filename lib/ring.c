/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.c - finding room in the submit ring when the producer's own numbers show none. */
#include "ring.h"

#define NO_POSITION UINT64_MAX
/** Each failed attempt means that other threads filled a lap between two loads of this one, or that
 *  somebody plays with the ring. */
#define ATTEMPTS 64

static bool is_free(const struct carom__ring *ring, uint64_t position)
{
    /* relaxed: compared only */
    return carom__ring_is_free(
        ring, position,
        atomic_load_explicit(&ring->cells[carom__ring_at(ring, position)], memory_order_relaxed));
}

/* The producer's tail is behind head: every position between has had its cell, or its process was
 * asleep for more than a lap. Returns head, NO_POSITION if consumers cannot have come there. */
static uint64_t catch_up(const struct carom__ring *ring, uint64_t tail, uint64_t head)
{
    if (head - tail > ring->mask)
        return head;
    for (; tail != head; tail++)
        if (is_free(ring, tail))
            return NO_POSITION;
    return head;
}

/* First position without a cell, at most one lap after head; NO_POSITION if what is there cannot
 * be. */
static uint64_t find_tail(const struct carom__ring *ring, uint64_t tail, uint64_t head)
{
    uint64_t cell;
    if ((int64_t)(tail - head) < 0)
        tail = catch_up(ring, tail, head);
    if (tail == NO_POSITION || tail - head > (uint64_t)ring->mask + 1)
        return NO_POSITION;
    for (; tail - head <= ring->mask; tail++)
        if (!carom__ring_read(ring, tail, &cell))
            return carom__ring_is_free(ring, tail, cell) ? tail : NO_POSITION;
    return tail;
}

/* Looks at head and at the cells. False: nonsense. `*tail` is NO_POSITION when other threads moved
 * everything between the looks. */
static bool look(const struct carom__ring *ring, struct carom__producer *producer, uint64_t *tail,
                 uint64_t *head)
{
    /* acquire: cells before head were read by their consumers before head moved; pairs with
     * carom__ring_advance */
    *head = atomic_load_explicit(ring->head, memory_order_acquire);
    /* acquire: whoever moved tail has seen a head that is as new; pairs with carom__ring_put */
    *tail = find_tail(ring, atomic_load_explicit(&producer->tail, memory_order_acquire), *head);
    if (*tail == NO_POSITION)
        return carom__ring_moved(ring, *head);
    /* relaxed: a hint. release: hands on what was acquired with head; pairs with
     * carom__ring_has_room */
    atomic_store_explicit(&producer->tail, *tail, memory_order_relaxed);
    atomic_store_explicit(&producer->head_seen, *head, memory_order_release);
    return true;
}

enum carom__room carom__ring_find_room(const struct carom__ring *ring,
                                       struct carom__producer *producer)
{
    uint64_t tail, head;
    if (!look(ring, producer, &tail, &head))
        return CAROM__ROOM_NONSENSE;
    return tail != NO_POSITION && tail - head <= ring->half ? CAROM__ROOM : CAROM__NO_ROOM;
}

/* Publishes at the first free position from tail on, less than a lap after head. */
static bool append_after(const struct carom__ring *ring, struct carom__producer *producer,
                         uint64_t tail, uint64_t head, uint32_t generation, uint32_t slot)
{
    uint64_t before;
    while (tail - head <= ring->mask) {
        if (carom__ring_read(ring, tail, &before)) {
            tail++;
            continue;
        }
        uint64_t cell = carom__cell(carom__ring_lap(ring, tail), generation, slot);
        if (!carom__ring_is_free(ring, tail, before))
            return false;
        if (carom__ring_put(ring, producer, tail, before, cell))
            return true;
    }
    return false;
}

bool carom__ring_append(const struct carom__ring *ring, struct carom__producer *producer,
                        uint32_t generation, uint32_t slot)
{
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        uint64_t tail, head;
        if (!look(ring, producer, &tail, &head))
            return false;
        if (tail != NO_POSITION && append_after(ring, producer, tail, head, generation, slot))
            return true;
    }
    return false;
}
