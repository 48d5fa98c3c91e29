/* SPDX-License-Identifier: Apache-2.0
 *
 * lanes.c - the submit ring, the slots and the completion events: everything of ring.h, ring.c,
 * lane.h and lane.c that reads what a peer can write, on a lane of exactly its size. */
#include "lib/lane.c"

#include "peer.h"

/* ---------------------------------------------------------------- ring */

static void with_ring(const struct carom__geometry *geometry)
{
    struct carom__lane lane;
    uint64_t position = 0, cell = 0;
    open_lane(&lane, geometry);
    struct carom__producer producer = {
        .cells = memory(geometry->ring_cells * sizeof producer.cells[0]),
    };
    carom__ring_peek(&lane.ring, &position, &cell);
    carom__ring_read(&lane.ring, any64, &cell);
    carom__ring_moved(&lane.ring, position);
    carom__ring_advance(&lane.ring, position);
    carom__ring_prefetch(&lane.ring, &producer);
    if (carom__ring_has_room(&lane.ring, &producer, &position))
        carom__ring_publish(&lane.ring, &producer, position, any32 & CAROM__GENERATION_MASK,
                            any_below(geometry->slots));
    carom__ring_find_room(&lane.ring, &producer);
    carom__ring_append(&lane.ring, &producer, any32 & CAROM__GENERATION_MASK,
                       any_below(geometry->slots));
}

void entry_ring(void)
{
    FOR_EACH_GEOMETRY(with_ring);
}

/* ---------------------------------------------------------------- worker */

static void with_worker(const struct carom__geometry *geometry)
{
    struct carom__lane lane;
    struct carom__claim claim;
    const char *requests = memory(
        carom__blocks_bytes(geometry->slots, geometry->request_block_bytes));
    open_lane(&lane, geometry);
    carom__lane_has_work(&lane);
    if (carom__lane_claim(&lane, any32, &claim) <= 0)
        return;
    const char *request = requests + carom__block_offset(claim.slot, geometry->request_block_bytes);
    if (claim.request_bytes > 0) /* first and last byte, as a handler may read them */
        (void)(request[0] + request[claim.request_bytes - 1]);
    carom__lane_flags(&lane, claim.slot);
    carom__lane_finish(&lane, &claim, any_int, any64);
}

void entry_claim(void)
{
    FOR_EACH_GEOMETRY(with_worker);
}

/* ---------------------------------------------------------------- client */

static void with_client(const struct carom__geometry *geometry)
{
    struct carom__lane lane;
    open_lane(&lane, geometry);
    struct carom__producer producer = {
        .cells = memory(geometry->ring_cells * sizeof producer.cells[0]),
    };
    const struct carom__submission submission = {
        .slot = any_below(geometry->slots),
        .generation = any32 & CAROM__GENERATION_MASK,
        .method = any32,
        .flags = any64 & (CAROM__NOTIFY | CAROM__ABANDONED),
        .deadline_ns = any_signed64,
        .request_bytes = any_up_to(geometry->request_block_bytes),
    };
    carom__lane_submit(&lane, &producer, &submission);
    uint64_t state = carom__lane_flag(&lane, submission.slot, submission.generation, CAROM__WAITER);
    carom__lane_sleep(&lane, submission.slot, state, any_signed64);
    carom__lane_withdraw(&lane, submission.slot, submission.generation);
    carom__lane_take_completed(&lane, any_below((geometry->slots + 63) / 64));
    carom__futex_wait(&lane.control->event, carom__lane_arm_event(&lane), any_signed64);
}

void entry_submit(void)
{
    FOR_EACH_GEOMETRY(with_client);
}

/* ---------------------------------------------------------------- host */

static void with_host(const struct carom__geometry *geometry)
{
    struct carom__lane lane;
    open_lane(&lane, geometry);
    const uint32_t owner = any32;
    for (uint32_t slot = 0; carom__lane_find_running(&lane, owner, &slot); slot++) {
        carom__lane_count_death(&lane, slot);
        carom__lane_fail(&lane, slot, owner, any_int, any64);
    }
    carom__lane_repeat_wakes(&lane);
    carom__lane_count_waiting(&lane);
    carom__lane_first_waiting(&lane);
    carom__lane_disown(&lane);
}

void entry_recover(void)
{
    FOR_EACH_GEOMETRY(with_host);
}
