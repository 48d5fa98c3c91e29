/* SPDX-License-Identifier: Apache-2.0
 *
 * lane.h - one client's shared memory: slots, and how a call moves through them.
 *
 * What it is for. A call is a slot; the slot owns one request block and one reply block, so no
 * process allocates in another's memory and a reply never waits for space. The slot's state word is
 * the only truth about a call. The ring, the bell and the completion bitmap are hints that
 * anyone may repair, which is why a process can be killed between any two instructions.
 *
 *                client                  worker                      client
 *    FREE, DONE -----------> SUBMITTED ----------> RUNNING(owner) -------> DONE -- ... next life,
 *                               | cancel (client)     | owner proven dead    ^      generation + 1
 *                               +--> DONE(client)     +--- (host) -----------+
 *
 * Who may move what. A slot that is not in use belongs to the client's process, which hands it to
 * one thread; its word is FREE in fresh memory and DONE of the last life afterwards (which slots
 * are in use is nobody else's business, and a store less). -> SUBMITTED: that thread. SUBMITTED ->
 * RUNNING: any worker, by compare-and-swap with its owner id. RUNNING -> DONE: that worker, or the
 * host after the kernel has shown that the worker is dead. SUBMITTED -> DONE with
 * CAROM__OWNER_CLIENT: the client, by compare-and-swap; the call then never ran. Flags are added by
 * the client at any time, so a worker finishes with a compare-and-swap that keeps them.
 *
 * Fields beside the state word: the client's are written before SUBMITTED, the worker's before
 * DONE, both published by the release of that transition.
 *
 * Trust. A worker takes nothing of a lane on faith: each value is loaded once, checked against the
 * private geometry, and used from the copy. Nonsense poisons the lane (-EPROTO), it never stops a
 * worker. System calls: futex, and sched_yield while another thread stores its cell.
 */
#ifndef CAROM_LANE_H
#define CAROM_LANE_H

#include "layout.h"
#include "ring.h"

#include <stdbool.h>

/** A process's private view of a lane. */
struct carom__lane {
    struct carom__lane_control *control;
    struct carom__slot *slots;
    struct carom__ring ring;
    struct carom__geometry geometry;
};

/** What a worker knows of the call it runs: private copies of the slot's fields. */
struct carom__claim {
    uint32_t slot;
    uint32_t generation;
    uint32_t method;
    uint32_t owner;
    int64_t deadline_ns;
    uint64_t request_bytes;
};

/** 0, or -EINVAL: slots not a power of two within limits, ring or blocks not as they must be. */
int carom__geometry_check(const struct carom__geometry *geometry);

/** Lays a view over mapped lane control memory of at least carom__control_bytes(geometry). */
void carom__lane_view(struct carom__lane *lane, void *control,
                      const struct carom__geometry *geometry);

/* ---- client */

/** A call as its client submits it. */
struct carom__submission {
    uint32_t slot;
    uint32_t generation;
    uint32_t method;
    uint64_t flags; /* CAROM__NOTIFY, CAROM__ABANDONED or 0 */
    int64_t deadline_ns;
    uint64_t request_bytes;
    uint64_t position; /* of its cell; set by carom__lane_submit */
};

/** Fills the slot, moves it to SUBMITTED and publishes the cell (seq_cst: the caller looks at the
 *  bell next). The caller owns the slot.
 *  Returns how many workers should be told: 1, or more when cells of other threads were held back
 *  by this one; -EPROTO when the ring's cursor is nonsense (nothing is submitted). */
int carom__lane_submit(struct carom__lane *lane, struct carom__producer *producer,
                       struct carom__submission *submission);

/** Current state word of a slot; with acquire, so that DONE shows the reply. */
static inline uint64_t carom__lane_state(const struct carom__lane *lane, uint32_t slot)
{
    /* acquire: pairs with carom__lane_finish; reply bytes and fields are visible after DONE */
    return atomic_load_explicit(&lane->slots[slot].state, memory_order_acquire);
}

/** Moves SUBMITTED -> DONE(client). True: the call will never run. */
bool carom__lane_withdraw(struct carom__lane *lane, uint32_t slot, uint32_t generation);

/** Adds flags while the call is not DONE. Returns the state after; phase DONE means nothing was
 *  added. */
uint64_t carom__lane_flag(struct carom__lane *lane, uint32_t slot, uint32_t generation,
                          uint64_t flags);

/** Sleeps until the state differs from `seen` (which has WAITER), at most timeout_ns.
 *  As carom__futex_wait. */
int carom__lane_sleep(struct carom__lane *lane, uint32_t slot, uint64_t seen, int64_t timeout_ns);

/* ---- worker */

/** Takes the next call of a lane. 1: claimed; 0: nothing there; -EPROTO: the lane is poisoned. */
int carom__lane_claim(struct carom__lane *lane, uint32_t owner, struct carom__claim *claim);

/** Whether a lane has a published cell; what a worker looks at before it sleeps. */
bool carom__lane_has_work(struct carom__lane *lane);

/** Ends a claimed call: RUNNING -> DONE, and wakes its client if it sleeps.
 *  0, or -EPROTO: the state word was not as this worker left it. */
int carom__lane_finish(struct carom__lane *lane, const struct carom__claim *claim, int32_t status,
                       uint64_t reply_bytes);

/** Flags of a running call; see CAROM__CANCEL, CAROM__ABANDONED. */
static inline uint64_t carom__lane_flags(const struct carom__lane *lane, uint32_t slot)
{
    /* relaxed: a flag, publishes nothing */
    return atomic_load_explicit(&lane->slots[slot].state, memory_order_relaxed);
}

/* ---- completion events */

/** Marks a slot completed and rings the lane's event word. */
void carom__lane_notify(struct carom__lane *lane, uint32_t slot);

/** Client: takes the completion bits of 64 slots. */
static inline uint64_t carom__lane_take_completed(struct carom__lane *lane, uint32_t word)
{
    /* relaxed first: most words are empty. acquire: pairs with carom__lane_notify */
    if (atomic_load_explicit(&lane->control->completed[word], memory_order_relaxed) == 0)
        return 0;
    return atomic_exchange_explicit(&lane->control->completed[word], 0, memory_order_acquire);
}

/** Client: says that somebody is about to sleep on the event word. Returns the value to sleep on;
 *  look again first. */
uint32_t carom__lane_arm_event(struct carom__lane *lane);

/** Counts an event and wakes all who sleep on the event word. */
void carom__lane_ring_event(struct carom__lane *lane);

/* ---- host */

/** After the death of the client: calls that wait never run, handlers that run see that they are
 *  cancelled. */
void carom__lane_disown(struct carom__lane *lane);

/** After the death of a worker: ends every call that it ran with CAROM_UNAVAILABLE. Repeats the
 *  wakes it may have owed: of every DONE call whose client sleeps. Idempotent; may be killed
 *  half-way and run again. Returns how many calls were ended. */
uint32_t carom__lane_recover(struct carom__lane *lane, uint32_t owner);

#endif
