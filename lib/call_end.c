/* SPDX-License-Identifier: Apache-2.0
 *
 * call_end.c - the end of a call on the client's side: its slot becomes free at once, or when the
 * worker that still runs it is done, and memory beyond the budget is given back. */
#include "client.h"
#include "error.h"

#include <stdlib.h>
#include <sys/mman.h>

static bool over_budget(struct carom_client *client, uint64_t extent)
{
    /* relaxed: a sum that decides when to give memory back; being late costs memory only */
    return extent > CAROM__KEEP_BYTES &&
           atomic_load_explicit(&client->resident_bytes, memory_order_relaxed) >
               client->resident_limit_bytes;
}

static void forget_extent(struct carom_client *client, uint64_t *extent)
{
    /* relaxed: a sum */
    atomic_fetch_sub_explicit(&client->resident_bytes, *extent - CAROM__KEEP_BYTES,
                              memory_order_relaxed);
    *extent = CAROM__KEEP_BYTES;
}

static void trim_request(struct carom_call *call)
{
    struct carom_client *client = call->client;
    uint64_t stride = carom__block_stride(client->lane.geometry.request_block_bytes);
    madvise(client->requests + call->submission.slot * stride + CAROM__KEEP_BYTES,
            stride - CAROM__KEEP_BYTES, MADV_REMOVE);
    forget_extent(call->client, &call->request_extent);
}

static void free_slot(struct carom_call *call)
{
    struct carom_client *client = call->client;
    /* The state word stays DONE until the slot's next life. Writing it here would make the push
     * below wait until the cache line, which a worker wrote last, has come over for writing. */
    call->submission.generation = (call->submission.generation + 1) & CAROM__GENERATION_MASK;
    call->progress = CAROM__IDLE;
    carom__slots_push(&client->slots, call->submission.slot);
    /* seq_cst: after the push; pairs with await_slot in call_begin.c */
    if (atomic_load_explicit(&client->slot_waiters, memory_order_seq_cst) > 0)
        carom__lane_ring_event(&client->lane);
}

/* Has a worker give the reply block's memory back: an abandoned call of this slot's next life. */
static bool trim_reply(struct carom_call *call)
{
    struct carom_client *client = call->client;
    carom__forget_deaths(call); /* of workers that died of this life, not of the trim's */
    forget_extent(client, &call->reply_extent);
    pthread_mutex_lock(&client->completions.lock);
    call->submission.generation = (call->submission.generation + 1) & CAROM__GENERATION_MASK;
    call->submission.deadline_ns = INT64_MAX;
    call->submission.method = CAROM__METHOD_TRIM;
    call->submission.flags = CAROM__NOTIFY | CAROM__ABANDONED;
    call->submission.request_bytes = 0;
    call->abandoned = true;
    bool sent = carom__call_send(call) == 0;
    if (!sent)
        call->abandoned = false;
    pthread_mutex_unlock(&client->completions.lock);
    return sent;
}

void carom__call_release(struct carom_call *call)
{
    carom__forget_deaths(call);
    if (over_budget(call->client, call->request_extent))
        trim_request(call);
    free_slot(call);
}

/* Leaves a call that still runs: its slot comes back through its completion bit. False: it was
 * done in the last moment. */
static bool abandon(struct carom_call *call)
{
    struct carom_client *client = call->client;
    pthread_mutex_lock(&client->completions.lock);
    uint64_t state = carom__lane_flag(&client->lane, call->submission.slot,
                                      call->submission.generation,
                                      CAROM__ABANDONED | CAROM__CANCEL);
    call->abandoned = carom__call_is_pending(call, state);
    bool abandoned = call->abandoned;
    pthread_mutex_unlock(&client->completions.lock);
    return abandoned;
}

CAROM__RARE static void end_carefully(struct carom_call *call)
{
    if (call->client->forks != carom__forks || call->progress == CAROM__IDLE)
        return;
    if (call->notify)
        carom__call_disown(call);
    free(call->failure);
    call->failure = NULL;
    if ((call->progress == CAROM__SENT || call->progress == CAROM__RESENT ||
         call->progress == CAROM__OVER) &&
        carom__call_is_pending(call,
                               carom__lane_state(&call->client->lane, call->submission.slot)) &&
        !carom__lane_withdraw(&call->client->lane, call->submission.slot,
                              call->submission.generation) &&
        abandon(call))
        return;
    if (over_budget(call->client, call->reply_extent) && trim_reply(call))
        return;
    carom__call_release(call);
}

void carom_call_end(struct carom_call *call)
{
    if (call == NULL)
        return;
    if (CAROM__UNLIKELY(call->client->forks != carom__forks || call->progress != CAROM__ANSWERED ||
                        call->notify ||
                        (call->request_extent | call->reply_extent) > CAROM__KEEP_BYTES))
        end_carefully(call);
    else
        free_slot(call);
}
