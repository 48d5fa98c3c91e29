/* SPDX-License-Identifier: Apache-2.0
 *
 * lane.c - the transitions of a call. The rules are in lane.h. */
#include "lane.h"

#include "wait.h"

#include "carom.h"

#include <errno.h>
#include <limits.h>

/** Attempts of a compare-and-swap on a state word. Honest processes change one a handful of times
 *  in the life of a call; one that changes more often is being played with, and is left alone. */
#define ATTEMPTS 16
/** Steps of making room, for each cell, before the ring counts as damaged. Two would do for one
 *  thread; of several, all but one may see every step of theirs overtaken. */
#define CLEARINGS_PER_CELL 256u

#define EVENT_SLEEPER UINT32_C(1)
#define EVENT_STEP UINT32_C(2)

int carom__geometry_check(const struct carom__geometry *geometry)
{
    const uint64_t page = CAROM__PAGE_BYTES, most = UINT64_C(1) << 40;
    if (geometry->slots == 0 || geometry->slots > CAROM__MAX_SLOTS ||
        (geometry->slots & (geometry->slots - 1)) != 0 ||
        geometry->ring_cells != geometry->slots * CAROM__CELLS_PER_SLOT)
        return -EINVAL;
    if (geometry->request_block_bytes == 0 || geometry->request_block_bytes % page != 0 ||
        geometry->request_block_bytes > most || geometry->reply_block_bytes == 0 ||
        geometry->reply_block_bytes % page != 0 || geometry->reply_block_bytes > most)
        return -EINVAL;
    return 0;
}

void carom__lane_view(struct carom__lane *lane, void *control,
                      const struct carom__geometry *geometry)
{
    char *base = control;
    lane->control = control;
    lane->geometry = *geometry;
    lane->slots = (void *)(base + carom__slots_offset(geometry));
    carom__ring_view(&lane->ring, (void *)(base + carom__cells_offset()), &lane->control->head,
                     geometry->ring_cells);
}

/* ---------------------------------------------------------------- client */

static bool is_live(const struct carom__lane *lane, uint64_t cell)
{
    uint32_t slot = carom__cell_slot(cell) & (lane->geometry.slots - 1);
    /* relaxed: only compared */
    uint64_t state = atomic_load_explicit(&lane->slots[slot].state, memory_order_relaxed);
    return carom__state_phase(state) == CAROM__SUBMITTED &&
           carom__state_generation(state) == carom__cell_generation(cell);
}

/* Takes the cell under head away: drops it if its call is over, carries it to the end of the ring
 * if the call still waits. Only the thread that moved head carries. For a moment the call is in no
 * ring; the thread that is about to publish it can only die together with its client.
 * Returns how many calls were carried. */
static int clear_head(struct carom__lane *lane, struct carom__producer *producer)
{
    uint64_t position, cell;
    if (!carom__ring_peek(&lane->ring, &position, &cell) ||
        !carom__ring_advance(&lane->ring, position) || !is_live(lane, cell))
        return 0;
    if (carom__ring_append(&lane->ring, producer, carom__cell_generation(cell),
                           carom__cell_slot(cell)))
        return 1;
    /* Only where somebody damaged cells: there is room for every call. It will never run. */
    carom__lane_withdraw(lane, carom__cell_slot(cell) & (lane->geometry.slots - 1),
                         carom__cell_generation(cell));
    return 0;
}

/* Drops or carries to the end what stands at the head of a ring that is half full. At most a
 * quarter of the cells can be live, so it is mostly stale ones, left by cancelled calls that no
 * worker has stepped over yet. Returns how many calls were carried, or -EPROTO:
 * somebody plays with the ring. */
static int make_room(struct carom__lane *lane, struct carom__producer *producer)
{
    int carried = 0;
    for (uint32_t cleared = 0; cleared < CLEARINGS_PER_CELL * lane->geometry.ring_cells;
         cleared++) {
        enum carom__room room = carom__ring_find_room(&lane->ring, producer);
        if (room == CAROM__ROOM)
            return carried;
        if (room == CAROM__ROOM_NONSENSE)
            return -EPROTO;
        carried += clear_head(lane, producer);
    }
    return -EPROTO;
}

/* Takes a call back that could not be published. Without NOTIFY, because it is its submitter who
 * hears of it. False: somebody runs it all the same. */
static bool retract(struct carom__lane *lane, uint32_t slot, uint32_t generation)
{
    /* relaxed: nobody has been told of this call */
    atomic_fetch_and_explicit(&lane->slots[slot].state, ~CAROM__NOTIFY, memory_order_relaxed);
    return carom__lane_withdraw(lane, slot, generation);
}

int carom__lane_publish(struct carom__lane *lane, struct carom__producer *producer, uint32_t slot,
                        uint32_t generation)
{
    int carried = make_room(lane, producer);
    if (carried >= 0 && carom__ring_append(&lane->ring, producer, generation, slot))
        return 1 + carried;
    return retract(lane, slot, generation) ? -EPROTO : 1;
}

int carom__lane_submit(struct carom__lane *lane, struct carom__producer *producer,
                       const struct carom__submission *submission)
{
    /* once published the call may be over and its structure in use again */
    const uint32_t slot = submission->slot, generation = submission->generation;
    carom__lane_fill(lane, submission);
    return carom__lane_publish(lane, producer, slot, generation);
}

bool carom__lane_withdraw(struct carom__lane *lane, uint32_t slot, uint32_t generation)
{
    _Atomic uint64_t *word = &lane->slots[slot].state;
    uint64_t state = carom__lane_state(lane, slot);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (carom__state_phase(state) != CAROM__SUBMITTED ||
            carom__state_generation(state) != generation)
            return false;
        uint64_t done = carom__state(CAROM__DONE, generation, CAROM__OWNER_CLIENT) |
                        (state & (CAROM__WAITER | CAROM__NOTIFY));
        /* acq_rel: competes with the claim for the call; pairs with the waiter's acquire load */
        if (!atomic_compare_exchange_strong_explicit(word, &state, done, memory_order_acq_rel,
                                                     memory_order_acquire))
            continue;
        if (state & CAROM__WAITER)
            carom__futex_wake((_Atomic uint32_t *)word, INT_MAX);
        if (state & CAROM__NOTIFY)
            carom__lane_notify(lane, slot);
        return true;
    }
    return false;
}

uint64_t carom__lane_flag(struct carom__lane *lane, uint32_t slot, uint32_t generation,
                          uint64_t flags)
{
    _Atomic uint64_t *word = &lane->slots[slot].state;
    uint64_t state = carom__lane_state(lane, slot);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (carom__state_generation(state) != generation ||
            (carom__state_phase(state) != CAROM__SUBMITTED &&
             carom__state_phase(state) != CAROM__RUNNING))
            break;
        /* acq_rel: WAITER and ABANDONED must be seen by the transition to DONE that comes after;
         * acquire on failure: the new state may be DONE */
        if (atomic_compare_exchange_strong_explicit(word, &state, state | flags,
                                                    memory_order_acq_rel, memory_order_acquire))
            return state | flags;
    }
    return state;
}

int carom__lane_sleep(struct carom__lane *lane, uint32_t slot, uint64_t seen, int64_t timeout_ns)
{
    return carom__futex_wait((_Atomic uint32_t *)&lane->slots[slot].state, (uint32_t)seen,
                             timeout_ns);
}

/* ---------------------------------------------------------------- worker */

/* A word that is not the one guessed: keeps the flags, if it is still a call to be had. */
CAROM__RARE int carom__lane_claim_flagged(struct carom__slot *slot, uint32_t owner, uint64_t cell)
{
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed); /* a guess again */
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (carom__state_phase(state) != CAROM__SUBMITTED ||
            carom__state_generation(state) != carom__cell_generation(cell) ||
            carom__state_owner(state) != 0)
            return 0;
        uint64_t running = (state & ~CAROM__PHASE_MASK) | CAROM__RUNNING |
                           (uint64_t)owner << CAROM__OWNER_SHIFT;
        /* acq_rel: as in carom__lane_claim_cell; relaxed on failure: the next guess */
        if (atomic_compare_exchange_strong_explicit(&slot->state, &state, running,
                                                    memory_order_acq_rel, memory_order_relaxed))
            return 1;
    }
    return -EPROTO;
}

int carom__lane_claim(struct carom__lane *lane, uint32_t owner, struct carom__claim *claim)
{
    for (uint32_t looks = 0; looks < lane->geometry.ring_cells; looks++) {
        uint64_t position, cell;
        if (!carom__ring_peek(&lane->ring, &position, &cell)) {
            if (!carom__ring_moved(&lane->ring, position))
                return 0;
            continue;
        }
        int rc = carom__lane_claim_cell(lane, owner, cell, claim);
        if (rc < 0)
            return rc;
        carom__ring_advance(&lane->ring, position);
        if (rc > 0)
            return 1;
    }
    return 0;
}

bool carom__lane_has_work(struct carom__lane *lane)
{
    uint64_t position, cell;
    for (uint32_t looks = 0; looks < lane->geometry.ring_cells; looks++) {
        if (carom__ring_peek(&lane->ring, &position, &cell))
            return true;
        if (!carom__ring_moved(&lane->ring, position))
            return false;
    }
    return true; /* a client that keeps moving head keeps its workers awake, no more */
}

/* Whether a state word is as the worker that claimed left it, flags aside. */
static bool is_running(uint64_t state, const struct carom__claim *claim)
{
    return carom__state_phase(state) == CAROM__RUNNING &&
           carom__state_owner(state) == claim->owner &&
           carom__state_generation(state) == claim->generation;
}

/* RUNNING -> DONE, keeping the flags that the client adds meanwhile. Returns the word before, 0 if
 * it is not as this worker left it. */
static uint64_t end_running(_Atomic uint64_t *word, const struct carom__claim *claim)
{
    uint64_t state = atomic_load_explicit(word, memory_order_relaxed); /* a guess */
    for (int attempt = 0; attempt < ATTEMPTS && is_running(state, claim); attempt++) {
        /* release: publishes the reply; pairs with carom__lane_state. acquire: the flags that come
         * back are acted on; on failure too */
        if (atomic_compare_exchange_strong_explicit(word, &state,
                                                    state ^ CAROM__RUNNING ^ CAROM__DONE,
                                                    memory_order_acq_rel, memory_order_acquire))
            return state;
    }
    return 0;
}

CAROM__RARE int carom__lane_finish_flagged(struct carom__lane *lane,
                                           const struct carom__claim *claim)
{
    struct carom__slot *slot = &lane->slots[claim->slot];
    uint64_t before = end_running(&slot->state, claim);
    if (before == 0)
        return -EPROTO;
    if (before & CAROM__WAITER)
        carom__futex_wake((_Atomic uint32_t *)&slot->state, 1);
    if (before & (CAROM__NOTIFY | CAROM__ABANDONED))
        carom__lane_notify(lane, claim->slot);
    return 0;
}

/* ---------------------------------------------------------------- completion events */

void carom__lane_ring_event(struct carom__lane *lane)
{
    _Atomic uint32_t *event = &lane->control->event;
    /* release: says "something happened" after it did. Both sides change this one word: either the
     * sleeper is seen here, or carom__lane_arm_event comes after this and acquires what happened */
    uint32_t before = atomic_fetch_add_explicit(event, EVENT_STEP, memory_order_release);
    if (!(before & EVENT_SLEEPER))
        return;
    /* relaxed: sleepers that arm from now on set the bit again */
    atomic_fetch_and_explicit(event, ~EVENT_SLEEPER, memory_order_relaxed);
    carom__futex_wake(event, INT_MAX);
}

void carom__lane_notify(struct carom__lane *lane, uint32_t slot)
{
    /* release: the call is DONE before its bit is seen; pairs with carom__lane_take_completed */
    atomic_fetch_or_explicit(&lane->control->completed[slot / 64], UINT64_C(1) << (slot % 64),
                             memory_order_release);
    carom__lane_ring_event(lane);
}

uint32_t carom__lane_arm_event(struct carom__lane *lane)
{
    /* acquire: the sleeper looks once more after this; pairs with carom__lane_ring_event */
    return atomic_fetch_or_explicit(&lane->control->event, EVENT_SLEEPER, memory_order_acquire) |
           EVENT_SLEEPER;
}

/* ---------------------------------------------------------------- host */

void carom__lane_disown(struct carom__lane *lane)
{
    for (uint32_t slot = 0; slot < lane->geometry.slots; slot++) {
        uint32_t generation = carom__state_generation(carom__lane_state(lane, slot));
        if (!carom__lane_withdraw(lane, slot, generation))
            carom__lane_flag(lane, slot, generation, CAROM__ABANDONED | CAROM__CANCEL);
    }
}

static bool is_run_by(uint64_t state, uint32_t owner)
{
    return carom__state_phase(state) == CAROM__RUNNING && carom__state_owner(state) == owner;
}

bool carom__lane_find_running(const struct carom__lane *lane, uint32_t owner, uint32_t *slot)
{
    while (*slot < lane->geometry.slots && !is_run_by(carom__lane_state(lane, *slot), owner))
        (*slot)++;
    return *slot < lane->geometry.slots;
}

uint32_t carom__lane_count_death(struct carom__lane *lane, uint32_t slot)
{
    _Atomic uint32_t *deaths = &lane->slots[slot].deaths;
    /* relaxed: published by DONE; while the call runs nobody else writes it, or harms itself */
    uint32_t before = atomic_load_explicit(deaths, memory_order_relaxed);
    uint32_t after = before == UINT32_MAX ? before : before + 1;
    atomic_store_explicit(deaths, after, memory_order_relaxed); /* as above */
    return after;
}

bool carom__lane_fail(struct carom__lane *lane, uint32_t index, uint32_t owner, int32_t status,
                      uint64_t reply_bytes)
{
    struct carom__slot *slot = &lane->slots[index];
    if (!is_run_by(carom__lane_state(lane, index), owner))
        return false;
    /* relaxed: published by DONE. The owner is dead: nobody else writes these two */
    atomic_store_explicit(&slot->reply_bytes, reply_bytes, memory_order_relaxed);
    atomic_store_explicit(&slot->status, status, memory_order_relaxed);
    /* release: publishes the record. Only flags can change meanwhile, and xor keeps them */
    atomic_fetch_xor_explicit(&slot->state, CAROM__RUNNING ^ CAROM__DONE, memory_order_release);
    return true;
}

/* Repeats what the dead may have left undone for a call that is DONE. */
static void repeat_wake(struct carom__lane *lane, uint32_t index)
{
    uint64_t state = carom__lane_state(lane, index);
    if (carom__state_phase(state) != CAROM__DONE)
        return;
    if (state & CAROM__WAITER)
        carom__futex_wake((_Atomic uint32_t *)&lane->slots[index].state, INT_MAX);
    if (state & (CAROM__NOTIFY | CAROM__ABANDONED))
        carom__lane_notify(lane, index);
}

void carom__lane_repeat_wakes(struct carom__lane *lane)
{
    for (uint32_t index = 0; index < lane->geometry.slots; index++)
        repeat_wake(lane, index);
    carom__lane_ring_event(lane);
    /* The dead may have taken the sleepers' bit and died before it woke them. */
    carom__futex_wake(&lane->control->event, INT_MAX);
}

/* ---------------------------------------------------------------- what waits */

uint32_t carom__lane_count_waiting(const struct carom__lane *lane)
{
    uint32_t waiting = 0;
    for (uint32_t index = 0; index < lane->geometry.slots; index++)
        waiting += carom__state_phase(carom__lane_state(lane, index)) == CAROM__SUBMITTED;
    return waiting;
}

uint64_t carom__lane_first_waiting(const struct carom__lane *lane)
{
    uint64_t head, cell;
    if (!carom__ring_peek(&lane->ring, &head, &cell))
        return 0;
    for (uint32_t step = 0; step < lane->geometry.ring_cells; step++) {
        if (!carom__ring_read(&lane->ring, head + step, &cell))
            return 0;
        if (is_live(lane, cell))
            return cell;
    }
    return 0;
}
