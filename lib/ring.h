/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.h - the submit ring: the order in which a lane's calls wait for a worker.
 *
 * What it is for. A client publishes {slot, generation}; any worker of the service takes it. The
 * ring is a hint: the slot's state word decides who runs a call, so a cell may be stale (cancelled,
 * or already claimed by a worker that died before moving the cursor), duplicated or garbage, and
 * whoever meets such a cell steps over it.
 *
 * Who does what. One process produces: its threads draw positions from a process-local ticket and
 * each stores one cell, so a thread between ticket and store holds back later cells of its own
 * process only; they die together. Many processes consume: look at the cell under `head`, claim the
 * slot, THEN move head by a compare-and-swap that may fail.
 *
 * Why it is safe. A position is 64 bits and never repeats. A cell carries the lap of its position,
 * so a consumer never reads the producer's tail: one cache line less per call. Claim comes before
 * advance: at no instant is a call in no ring and owned by nobody. Capacity is 4 cells per slot and
 * a producer draws a ticket only while half of them are free: `slots` threads that passed the test
 * at once, each with one call and one cell that it carries over (lane.c, make_room), cannot overrun
 * a consumer. Lap values repeat after 2^24 laps; a cell that old would have to have stayed
 * untouched for all of them.
 *
 * Progress. Consumers: lock-free, at most one lap per look. Producer: wait-free while there is
 * room; else it clears stale cells away itself, at most one lap of them.
 */
#ifndef CAROM_RING_H
#define CAROM_RING_H

#include "layout.h"
#include "wait.h"

#include <stdbool.h>

/** A process's private view of a ring. */
struct carom__ring {
    _Atomic uint64_t *cells;
    _Atomic uint64_t *head;
    uint32_t mask;
    uint32_t lap_shift; /* log2 of the number of cells */
};

/** The producing process's own half; never shared between processes. */
struct carom__producer {
    _Atomic uint64_t tail;      /* next ticket */
    _Atomic uint64_t head_seen; /* lower bound of head */
};

static inline uint32_t carom__ring_lap(const struct carom__ring *ring, uint64_t position)
{
    return (uint32_t)((position >> ring->lap_shift) + 1) & CAROM__LAP_MASK;
}

enum carom__room { CAROM__ROOM, CAROM__NO_ROOM, CAROM__ROOM_NONSENSE };

/** Whether a producer may draw a ticket. NONSENSE: head is not where any honest consumer can have
 *  put it. */
static inline enum carom__room carom__ring_room(const struct carom__ring *ring,
                                                struct carom__producer *producer)
{
    uint64_t cells = (uint64_t)ring->mask + 1;
    /* relaxed: a lower bound and an own counter; stale values err to "no room" */
    uint64_t tail = atomic_load_explicit(&producer->tail, memory_order_relaxed);
    uint64_t seen = atomic_load_explicit(&producer->head_seen, memory_order_relaxed);
    if (tail - seen < cells / 2)
        return CAROM__ROOM;
    /* acquire: cells before head were read by their consumers before head moved (pairs with
     * carom__ring_advance) and may be overwritten */
    seen = atomic_load_explicit(ring->head, memory_order_acquire);
    /* relaxed: tail again, because head may have passed the older value */
    tail = atomic_load_explicit(&producer->tail, memory_order_relaxed);
    /* Only if head stands still: other threads may have moved both between the two looks.
     * relaxed: compared only */
    if (tail - seen > cells)
        return atomic_load_explicit(ring->head, memory_order_relaxed) == seen ? CAROM__ROOM_NONSENSE
                                                                              : CAROM__NO_ROOM;
    atomic_store_explicit(&producer->head_seen, seen, memory_order_relaxed); /* own hint */
    return tail - seen < cells / 2 ? CAROM__ROOM : CAROM__NO_ROOM;
}

/** Fetches the cell that will probably be published next, for writing. */
static inline void carom__ring_prefetch(const struct carom__ring *ring,
                                        struct carom__producer *producer)
{
    /* relaxed: a guess */
    uint64_t tail = atomic_load_explicit(&producer->tail, memory_order_relaxed);
    carom__prefetch_write(&ring->cells[tail & ring->mask]);
}

/** Draws the position of the next cell, which the caller then publishes without delay. */
static inline uint64_t carom__ring_ticket(struct carom__producer *producer)
{
    /* relaxed: the ticket only has to be unique; the cell's store publishes */
    return atomic_fetch_add_explicit(&producer->tail, 1, memory_order_relaxed);
}

/** Publishes the cell at a drawn position. Afterwards the caller looks at the bell, with seq_cst.
 *  */
static inline void carom__ring_publish(const struct carom__ring *ring, uint64_t position,
                                       uint32_t generation, uint32_t slot)
{
    /* release in seq_cst: publishes the slot's SUBMITTED state; pairs with carom__ring_read.
     * seq_cst: "say, then look", see bell.h. An exchange, because it is store and fence in one */
    atomic_exchange_explicit(&ring->cells[position & ring->mask],
                             carom__cell(carom__ring_lap(ring, position), generation, slot),
                             memory_order_seq_cst);
}

/** Whether the cell at a position is published, and its content. */
static inline bool carom__ring_read(const struct carom__ring *ring, uint64_t position,
                                    uint64_t *cell)
{
    /* acquire: pairs with carom__ring_publish; the slot's state is at least as new as the cell */
    *cell = atomic_load_explicit(&ring->cells[position & ring->mask], memory_order_acquire);
    return carom__cell_lap(*cell) == carom__ring_lap(ring, position);
}

/** Looks at the cell under head. False: nothing there. */
static inline bool carom__ring_peek(const struct carom__ring *ring, uint64_t *position,
                                    uint64_t *cell)
{
    /* acquire: pairs with carom__ring_advance, so that a consumer that sees a newer head also sees
     * the claims that moved it and never steps over a call that is still SUBMITTED */
    *position = atomic_load_explicit(ring->head, memory_order_acquire);
    return carom__ring_read(ring, *position, cell);
}

/** Whether head has left a position since it was read: the look was overtaken, look again. */
static inline bool carom__ring_moved(const struct carom__ring *ring, uint64_t position)
{
    /* relaxed: compared only; the next peek acquires */
    return atomic_load_explicit(ring->head, memory_order_relaxed) != position;
}

/** Moves head past a position whose call is claimed, cancelled or nonsense. False: somebody else
 *  did. */
static inline bool carom__ring_advance(const struct carom__ring *ring, uint64_t position)
{
    /* release: this consumer's reading of the cell and its claim come first; pairs with peek and
     * carom__ring_has_room. relaxed on failure: nothing is used */
    return atomic_compare_exchange_strong_explicit(ring->head, &position, position + 1,
                                                   memory_order_release, memory_order_relaxed);
}

#endif
