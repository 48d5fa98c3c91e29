/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.h - the submit ring: the order in which a lane's calls wait for a worker.
 *
 * What it is for. A client publishes {slot, generation}; any worker of the service takes it. The
 * ring is a hint: the slot's state word decides who runs a call, so a cell may be stale (cancelled,
 * or already claimed by a worker that died before moving the cursor), duplicated or garbage, and
 * whoever meets such a cell steps over it.
 *
 * Who does what. One process produces: a thread finds the first position without a cell, beginning
 * where its process published last, and puts its cell there by compare-and-swap. That one operation
 * takes the position and publishes, so there is never a hole, and a thread that is interrupted
 * holds nobody back. Many processes consume: look at the cell under `head`, claim the slot, THEN
 * move head by a compare-and-swap that may fail.
 *
 * Why it is safe. A position is 64 bits and never repeats. A cell carries the lap of its position,
 * so a consumer never reads the producer's tail: one cache line less per call. Claim comes before
 * advance: at no instant is a call in no ring and owned by nobody. A producer replaces only the
 * cell of the lap before, and only less than one lap after a head that it has seen, so it never
 * overwrites a cell that waits. Capacity is 4 cells per slot; producers go on while half of them
 * are free and clear stale cells away otherwise. Lap values repeat after 2^24 laps; a cell that old
 * would have to have stayed untouched for all of them.
 *
 * Progress. Consumers: lock-free, at most one lap per look. Producer: lock-free while there is
 * room; else it clears at most one lap of stale cells.
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
    uint32_t mask;      /* number of cells - 1 */
    uint32_t half;      /* half of that */
    uint32_t lap_shift; /* log2 of the number of cells */
};

/** The producing process's own half; never shared between processes. Both may be older than the
 *  truth, never ahead of it. */
struct carom__producer {
    _Atomic uint64_t tail;      /* first position without a cell */
    _Atomic uint64_t head_seen; /* head */
    _Atomic uint64_t *cells;    /* as this process published them last; as many as the ring has */
};

/** Lays a view over a ring of 2^n cells. */
static inline void carom__ring_view(struct carom__ring *ring, _Atomic uint64_t *cells,
                                    _Atomic uint64_t *head, uint32_t count)
{
    *ring = (struct carom__ring){
        .cells = cells,
        .head = head,
        .mask = count - 1,
        .half = (count - 1) / 2,
        .lap_shift = (uint32_t)__builtin_ctz(count),
    };
}

/** Index of a position's cell. */
static inline uint32_t carom__ring_at(const struct carom__ring *ring, uint64_t position)
{
    return (uint32_t)position & ring->mask;
}

/** Lap of a position; its low 24 bits are in the cell. */
static inline uint64_t carom__ring_lap(const struct carom__ring *ring, uint64_t position)
{
    return (position >> ring->lap_shift) + 1;
}

/** Whether a cell is that of the lap before a position: the position has none yet. */
static inline bool carom__ring_is_free(const struct carom__ring *ring, uint64_t position,
                                       uint64_t cell)
{
    return carom__cell_same_lap(cell, carom__cell(carom__ring_lap(ring, position) - 1, 0, 0));
}

/** Where the next cell probably belongs. False: half of the cells are in use, as far as that is
 *  known without looking at head. */
static inline bool carom__ring_has_room(const struct carom__ring *ring,
                                        struct carom__producer *producer, uint64_t *position)
{
    /* acquire: cells before head were read by their consumers before head moved; pairs with
     * carom__ring_find_room. relaxed: a hint. Old values err to "no room" */
    uint64_t seen = atomic_load_explicit(&producer->head_seen, memory_order_acquire);
    *position = atomic_load_explicit(&producer->tail, memory_order_relaxed);
    return *position - seen <= ring->half;
}

enum carom__room { CAROM__ROOM, CAROM__NO_ROOM, CAROM__ROOM_NONSENSE };

/** The same after looking at head and at the cells. NONSENSE: head is not where any honest
 *  consumer can have put it. */
enum carom__room carom__ring_find_room(const struct carom__ring *ring,
                                       struct carom__producer *producer);

/** Fetches the cell that will probably be published next, for writing. */
static inline void carom__ring_prefetch(const struct carom__ring *ring,
                                        struct carom__producer *producer)
{
    /* relaxed: a guess */
    uint64_t tail = atomic_load_explicit(&producer->tail, memory_order_relaxed);
    carom__prefetch_write(&ring->cells[carom__ring_at(ring, tail)]);
}

/** Replaces the cell of the lap before. False: it was not `before`. */
static inline bool carom__ring_put(const struct carom__ring *ring, struct carom__producer *producer,
                                   uint64_t position, uint64_t before, uint64_t cell)
{
    uint32_t at = carom__ring_at(ring, position);
    /* release in seq_cst: publishes the slot's SUBMITTED state; pairs with carom__ring_read.
     * seq_cst: "say, then look", see bell.h. relaxed on failure: another thread was first */
    if (!atomic_compare_exchange_strong_explicit(&ring->cells[at], &before, cell,
                                                 memory_order_seq_cst, memory_order_relaxed))
        return false;
    /* relaxed: notes of this process. release: this thread knew a head that is not older; an older
     * tail may come later */
    atomic_store_explicit(&producer->cells[at], cell, memory_order_relaxed);
    atomic_store_explicit(&producer->tail, position + 1, memory_order_release);
    return true;
}

/** Publishes a cell at a position that carom__ring_has_room gave. Afterwards the caller looks at
 *  the bell, with seq_cst. False: another thread was first.
 *
 *  What is there before is known to the process that put it there, so the cache line, which a
 *  worker may be polling, comes over once, for writing. */
static inline bool carom__ring_publish(const struct carom__ring *ring,
                                       struct carom__producer *producer, uint64_t position,
                                       uint32_t generation, uint32_t slot)
{
    uint64_t cell = carom__cell(carom__ring_lap(ring, position), generation, slot);
    /* relaxed: compared only */
    uint64_t before = atomic_load_explicit(&producer->cells[carom__ring_at(ring, position)],
                                           memory_order_relaxed);
    return carom__ring_is_free(ring, position, before) &&
           carom__ring_put(ring, producer, position, before, cell);
}

/** Publishes a cell at the first free position, also beyond half of the cells. False: there is none
 *  less than a lap after head, or head or a cell is nonsense. */
bool carom__ring_append(const struct carom__ring *ring, struct carom__producer *producer,
                        uint32_t generation, uint32_t slot);

/** Whether the cell at a position is published, and its content. */
static inline bool carom__ring_read(const struct carom__ring *ring, uint64_t position,
                                    uint64_t *cell)
{
    /* acquire: pairs with carom__ring_publish; the slot's state is at least as new as the cell */
    *cell = atomic_load_explicit(&ring->cells[carom__ring_at(ring, position)],
                                 memory_order_acquire);
    return carom__cell_same_lap(*cell, carom__cell(carom__ring_lap(ring, position), 0, 0));
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
     * carom__ring_find_room. relaxed on failure: nothing is used */
    return atomic_compare_exchange_strong_explicit(ring->head, &position, position + 1,
                                                   memory_order_release, memory_order_relaxed);
}

#endif
