/* SPDX-License-Identifier: Apache-2.0
 *
 * completions.c - the bits that workers set for calls that are done: each names a slot of the
 * client's, or nothing. */
#include "lib/completion.c"

#include "peer.h"

static struct carom_client client;

void carom__call_release(struct carom_call *call)
{
    (void)call->submission.slot;
}

static void collect(const struct carom__geometry *geometry)
{
    open_lane(&client.lane, geometry);
    client.calls = memory(geometry->slots * sizeof client.calls[0]);
    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        client.calls[slot].abandoned = maybe();
        client.calls[slot].notify = maybe();
        client.calls[slot].submission.generation = any32 & CAROM__GENERATION_MASK;
    }
    collect_locked(&client);
}

void entry_collect(void)
{
    FOR_EACH_GEOMETRY(collect);
}
