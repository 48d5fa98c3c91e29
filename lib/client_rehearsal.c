/* SPDX-License-Identifier: Apache-2.0
 *
 * client_rehearsal.c - one call of the library's own when a client has connected, so that the first
 * call of its user finds code, page tables and cache lines in place, on both sides: it took four
 * times as long as later ones after the same time of rest, and takes twice as long now.
 *
 * It is the call by which memory is given back (CAROM__METHOD_TRIM), of which there is none yet. It
 * counts nowhere and what becomes of it does not matter. Where no worker is ready there is none. */
#include "client.h"

/** Idle workers answer within 0.1 ms; busy ones are not worth waiting for. */
#define LONGEST_NS INT64_C(2000000)

void carom__client_rehearse(struct carom_client *client)
{
    /* relaxed: a look; workers come and go */
    if (atomic_load_explicit(&client->directory->worker_count, memory_order_relaxed) == 0)
        return;
    struct carom_call *call = &client->calls[carom__slots_pop(&client->slots)];
    call->submission.method = CAROM__METHOD_TRIM;
    call->submission.deadline_ns = carom__deadline_ns(LONGEST_NS);
    call->submission.flags = 0;
    call->timeout_ns = LONGEST_NS;
    call->progress = CAROM__BEGUN;
    if (carom_call_submit(call, 0) == 0)
        carom_call_wait(call);
    carom_call_end(call);
}
