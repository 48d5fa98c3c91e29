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
 * worker. System calls: futex.
 */
#ifndef CAROM_LANE_H
#define CAROM_LANE_H

#include "hot.h"
#include "layout.h"
#include "ring.h"

#include <errno.h>
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
};

/** Fills the slot and moves it to SUBMITTED. The caller owns the slot and publishes it next. */
CAROM__HOT void carom__lane_fill(struct carom__lane *lane,
                                 const struct carom__submission *submission)
{
    struct carom__slot *slot = &lane->slots[submission->slot];
    /* relaxed: the fields are published by the release of SUBMITTED below */
    atomic_store_explicit(&slot->deadline_ns, submission->deadline_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->request_bytes, submission->request_bytes, memory_order_relaxed);
    atomic_store_explicit(&slot->method, submission->method, memory_order_relaxed);
    uint64_t state = carom__state(CAROM__SUBMITTED, submission->generation, 0);
    /* release: publishes the request block and the fields; pairs with the claim's acquire */
    atomic_store_explicit(&slot->state, state | submission->flags, memory_order_release);
}

/** Fills the slot and publishes it (seq_cst: the caller looks at the bell next), making room in the
 *  ring if need be.
 *  Returns how many workers should be told: 1, or more when calls were carried to the end of the
 *  ring; -EPROTO when the ring's cursor or cells are nonsense (nothing is submitted). */
int carom__lane_submit(struct carom__lane *lane, struct carom__producer *producer,
                       const struct carom__submission *submission);

/** Its second half: publishes a slot that is filled. */
int carom__lane_publish(struct carom__lane *lane, struct carom__producer *producer, uint32_t slot,
                        uint32_t generation);

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

/** What carom__lane_claim_cell does when the word is not the one it guessed. */
int carom__lane_claim_flagged(struct carom__slot *slot, uint32_t owner, uint64_t cell);

/** Tries to take the call that a cell names: 1 claimed, 0 not to be had, -EPROTO nonsense. The
 *  request's length is checked, the other fields are not. The usual case, a word without flags, is
 *  guessed: so the cache line comes over once, not first for reading and then for writing. */
CAROM__HOT int carom__lane_claim_cell(struct carom__lane *lane, uint32_t owner, uint64_t cell,
                                      struct carom__claim *claim)
{
    const uint32_t index = carom__cell_slot(cell), generation = carom__cell_generation(cell);
    if (CAROM__UNLIKELY(index >= lane->geometry.slots))
        return -EPROTO;
    struct carom__slot *slot = &lane->slots[index];
    uint64_t state = carom__state(CAROM__SUBMITTED, generation, 0);
    uint64_t running = carom__state(CAROM__RUNNING, generation, owner);
    /* acq_rel: acquire pairs with the release of SUBMITTED; release orders nothing of ours but
     * keeps the host's scan from seeing an owner before its claim. relaxed on failure: unused */
    if (CAROM__UNLIKELY(!atomic_compare_exchange_strong_explicit(
            &slot->state, &state, running, memory_order_acq_rel, memory_order_relaxed))) {
        int rc = carom__lane_claim_flagged(slot, owner, cell);
        if (rc <= 0)
            return rc;
    }
    claim->slot = index;
    claim->generation = generation;
    claim->owner = owner;
    /* relaxed: published by SUBMITTED; loaded once, checked by the caller */
    claim->method = atomic_load_explicit(&slot->method, memory_order_relaxed);
    claim->deadline_ns = atomic_load_explicit(&slot->deadline_ns, memory_order_relaxed);
    claim->request_bytes = atomic_load_explicit(&slot->request_bytes, memory_order_relaxed);
    return claim->request_bytes <= lane->geometry.request_block_bytes ? 1 : -EPROTO;
}

/** Takes the next call of a lane. 1: claimed; 0: nothing there; -EPROTO: the lane is poisoned. */
int carom__lane_claim(struct carom__lane *lane, uint32_t owner, struct carom__claim *claim);

/** Whether a lane has a published cell; what a worker looks at before it sleeps. */
bool carom__lane_has_work(struct carom__lane *lane);

/** What carom__lane_finish does when the word is not the one it guessed. */
int carom__lane_finish_flagged(struct carom__lane *lane, const struct carom__claim *claim);

/** Ends a claimed call: RUNNING -> DONE, and wakes its client if it sleeps.
 *  0, or -EPROTO: the state word was not as this worker left it. */
CAROM__HOT int carom__lane_finish(struct carom__lane *lane, const struct carom__claim *claim,
                                  int32_t status, uint64_t reply_bytes)
{
    struct carom__slot *slot = &lane->slots[claim->slot];
    uint64_t running = carom__state(CAROM__RUNNING, claim->generation, claim->owner);
    /* relaxed: published by the release of DONE */
    atomic_store_explicit(&slot->reply_bytes, reply_bytes, memory_order_relaxed);
    atomic_store_explicit(&slot->status, status, memory_order_relaxed);
    /* A word without flags is guessed instead of looking first: the client polls this line, and a
     * look would fetch it once more. release: publishes the reply; pairs with carom__lane_state.
     * relaxed on failure: unused */
    if (CAROM__LIKELY(atomic_compare_exchange_strong_explicit(
            &slot->state, &running, running ^ CAROM__RUNNING ^ CAROM__DONE, memory_order_acq_rel,
            memory_order_relaxed)))
        return 0;
    return carom__lane_finish_flagged(lane, claim);
}

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

/* After the death of a worker, in this order: the calls that it ran are found and failed one by
 * one, then the wakes that it may have owed are repeated. All of it may be interrupted anywhere and
 * run again: a call that has been failed is not found a second time. */

/** Finds a call that `owner` runs, in the slots from *slot on. False: there is none. */
bool carom__lane_find_running(const struct carom__lane *lane, uint32_t owner, uint32_t *slot);

/** One more worker has died of this request. Returns how many that makes, UINT32_MAX at most. */
uint32_t carom__lane_count_death(struct carom__lane *lane, uint32_t slot);

/** Ends a call that a dead worker ran: RUNNING -> DONE. The reply block holds reply_bytes of record
 *  already. False: it is not a call of this owner that runs. */
bool carom__lane_fail(struct carom__lane *lane, uint32_t slot, uint32_t owner, int32_t status,
                      uint64_t reply_bytes);

/** Wakes the client of every DONE call that sleeps, sets the completion bits of those that want
 *  one, and rings the event word. */
void carom__lane_repeat_wakes(struct carom__lane *lane);

/* ---- what waits */

/** Calls that no worker has claimed. */
uint32_t carom__lane_count_waiting(const struct carom__lane *lane);

/** The cell of the first call in the ring that no worker has claimed; 0 when there is none. */
uint64_t carom__lane_first_waiting(const struct carom__lane *lane);

#endif
