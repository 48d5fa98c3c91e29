/* SPDX-License-Identifier: Apache-2.0
 *
 * bell.h - who may have work, who sleeps: the meeting point of clients and workers of a service.
 *
 * What it is for. A client that submitted must find a sleeping worker; a worker that is about to
 * sleep must find a submitted call. Both first say, then look:
 *
 *   client                                    worker
 *     publish the cell (seq_cst)                set its parked bit
 *     lane's ready bit clear? set it            --- seq_cst fence ---
 *     a parked bit set? clear it, wake          look through every lane with a ready bit
 *       (both looks are seq_cst loads)          found nothing: sleep on the park word
 *
 * In the total order of seq_cst operations either the client's look or the worker's fence comes
 * first. If the look: the cell was published before it, so the worker, who looks after its fence,
 * sees it. If the fence: the parked bit was set before it, so the client sees that. Acquire and
 * release would let both look before either said.
 *
 * Waking. Whoever clears a parked bit owns the wake: it then changes the park word and calls
 * FUTEX_WAKE. The worker read its park word before it set the bit, so the futex refuses to sleep
 * when the word has changed. If the owner of a wake dies in between, the host wakes every worker
 * once (carom__bell_wake_all): a dead process takes no wake-up with it.
 *
 * Ready bits stay set while work keeps coming; before parking a worker clears those of empty lanes
 * and looks at the lane again, with a full fence between. A hot exchange writes nothing here.
 *
 * Everything here is a hint. A hostile client can set and clear what it likes: workers then look in
 * vain, or sleep until the host or the next honest submit wakes them; nothing is read or written
 * outside the page.
 */
#ifndef CAROM_BELL_H
#define CAROM_BELL_H

#include "layout.h"

#include <stdbool.h>

/** The worker's fence between saying and looking. */
static inline void carom__bell_fence(void)
{
    /* seq_cst: see above; pairs with the client's compare-and-swap in carom__ring_put and its
     * looks */
    atomic_thread_fence(memory_order_seq_cst);
}

/** Sets a lane's ready bit. */
void carom__bell_set_ready(struct carom__bell *bell, uint32_t lane);

/** Client: whether the workers know that a lane may have work. After carom__ring_publish. */
static inline bool carom__bell_is_ready(struct carom__bell *bell, uint32_t lane)
{
    /* seq_cst: a look. A bit seen set may be about to be cleared, then the clearing worker looks at
     * the lane again (carom__bell_clear_ready) */
    uint64_t ready = atomic_load_explicit(&bell->ready[lane / 64], memory_order_seq_cst);
    return (ready >> (lane % 64) & 1) != 0;
}

/** Client: says that a lane has work. After carom__ring_publish. */
static inline void carom__bell_ready(struct carom__bell *bell, uint32_t lane)
{
    if (!carom__bell_is_ready(bell, lane))
        carom__bell_set_ready(bell, lane);
}

/** Whether any worker is parked. */
static inline bool carom__bell_any_parked(struct carom__bell *bell)
{
    uint64_t any = 0;
#pragma GCC unroll 4
    for (uint32_t word = 0; word < CAROM__WORKER_WORDS; word++) /* seq_cst: a look, as above */
        any |= atomic_load_explicit(&bell->parked[word], memory_order_seq_cst);
    return any != 0;
}

/** Wakes up to count parked workers. Returns how many. */
uint32_t carom__bell_wake(struct carom__bell *bell, uint32_t count);

/** Wakes one worker, parked or not: changes its park word. Async-signal-safe. */
void carom__bell_wake_worker(struct carom__bell *bell, uint32_t worker);

/** Host: wakes everybody once, whatever the bits say; after a death, or with news. */
void carom__bell_wake_all(struct carom__bell *bell);

/** Worker: value of its park word, to be read before carom__bell_park. */
static inline uint32_t carom__bell_park_word(struct carom__bell *bell, uint32_t worker)
{
    /* acquire: pairs with carom__bell_wake_worker; what was said before the wake is seen */
    return atomic_load_explicit(&bell->parks[worker].word, memory_order_acquire);
}

/** Worker: says that it is going to sleep. Includes the full fence; the worker looks next. */
void carom__bell_park(struct carom__bell *bell, uint32_t worker);

/** Worker: is awake again. */
void carom__bell_unpark(struct carom__bell *bell, uint32_t worker);

/** Ready bits of 64 lanes. */
static inline uint64_t carom__bell_ready_word(struct carom__bell *bell, uint32_t word)
{
    /* relaxed: a hint; before parking it is ordered by the fence in carom__bell_park */
    return atomic_load_explicit(&bell->ready[word], memory_order_relaxed);
}

/** Clears a lane's ready bit. Includes the full fence; the caller looks at the lane again. */
void carom__bell_clear_ready(struct carom__bell *bell, uint32_t lane);

/** Host: forgets a worker or a lane that is gone. */
void carom__bell_forget_worker(struct carom__bell *bell, uint32_t worker);
void carom__bell_forget_lane(struct carom__bell *bell, uint32_t lane);

#endif
