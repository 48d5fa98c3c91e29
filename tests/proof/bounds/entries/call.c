/* SPDX-License-Identifier: Apache-2.0
 *
 * call.c - a client's way from its call to the outcome: call.c, completion.c and call_retry.c,
 * where they read the slot, the reply and the completion bits that workers write. */
#include "lib/call.c"

#include "peer.h"

static struct carom_client client;

static void open_client(const struct carom__geometry *geometry)
{
    open_lane(&client.lane, geometry);
    client.bell = memory(sizeof *client.bell);
    client.directory = unknown(sizeof *client.directory);
    client.replies = memory(carom__blocks_bytes(geometry->slots, geometry->reply_block_bytes));
    client.requests = memory(carom__blocks_bytes(geometry->slots, geometry->request_block_bytes));
    client.producer.cells = memory(geometry->ring_cells * sizeof client.producer.cells[0]);
    client.calls = memory(geometry->slots * sizeof client.calls[0]);
}

/* A call of any slot, as it was submitted: fields as carom_client_open and _call_begin set them. */
static struct carom_call *make_call(const struct carom__geometry *geometry)
{
    const uint32_t slot = any_below(geometry->slots);
    struct carom_call *call = &client.calls[0]; /* which one it is makes no difference */
    call->client = &client;
    call->submission.slot = slot;
    call->submission.generation = any32 & CAROM__GENERATION_MASK;
    call->submission.method = any32;
    call->submission.deadline_ns = (int64_t)any_up_to(INT64_MAX);
    call->shared = &client.lane.slots[slot];
    call->request = client.requests + carom__block_offset(slot, geometry->request_block_bytes);
    call->reply = client.replies + carom__block_offset(slot, geometry->reply_block_bytes);
    call->reply_extent = any_up_to(geometry->reply_block_bytes);
    call->position = any64;
    call->progress = CAROM__SENT;
    return call;
}

/* ---- what is not looked at here */

bool carom__host_is_gone(const struct carom__connection *connection)
{
    (void)connection;
    return maybe();
}

/* What a host says before it hangs up: entries/handshake.c. */
bool carom__last_words(const struct carom__connection *connection,
                       char reason[CAROM__REASON_BYTES + 1])
{
    (void)connection;
    if (maybe())
        return false;
    Frama_C_make_unknown(reason, CAROM__REASON_BYTES);
    reason[CAROM__REASON_BYTES] = 0;
    return true;
}

bool carom__client_host_gone(struct carom_client *self)
{
    (void)self;
    return maybe();
}

/* It checks the id against the directory (entries/methods.c) and reads `deaths`. */
bool carom__retry_plan(struct carom_call *call, int status)
{
    (void)(call->shared->deaths + (uint32_t)status);
    if (maybe())
        return false;
    call->progress = CAROM__PAUSED;
    return true;
}

int carom__retry_wait(struct carom_call *call)
{
    return carom__call_over(call, -ETIMEDOUT);
}

int carom__retry_poll(struct carom_call *call)
{
    return carom__call_over(call, -ETIMEDOUT);
}

/* ---- entries */

static void use_outcome(struct carom_call *call, int rc)
{
    size_t bytes = 0;
    const char *reply = carom_call_reply(call, &bytes);
    (void)rc;
    if (reply != NULL && bytes > 0) /* first and last byte, as the caller may read them */
        (void)(reply[0] + reply[bytes - 1]);
    if (call->progress == CAROM__OVER && call->reply_bytes > 0) /* the record of an error */
        (void)(call->reply[0] + call->reply[call->reply_bytes - 1]);
}

static void poll_once(const struct carom__geometry *geometry)
{
    open_client(geometry);
    struct carom_call *call = make_call(geometry);
    use_outcome(call, carom__call_poll_once(call));
}

void entry_poll(void)
{
    FOR_EACH_GEOMETRY(poll_once);
}

/* What carom_call_wait does when the call is done at the first look. */
static void conclude_at_once(const struct carom__geometry *geometry)
{
    open_client(geometry);
    struct carom_call *call = make_call(geometry);
    prefetch_outcome(call);
    prefetch_behind(call);
    use_outcome(call, conclude(call, any64, maybe()));
}

void entry_conclude(void)
{
    FOR_EACH_GEOMETRY(conclude_at_once);
}

static void sleep_and_cancel(const struct carom__geometry *geometry)
{
    open_client(geometry);
    struct carom_call *call = make_call(geometry);
    spin(call, any64);
    cancel_locked(call);
    use_outcome(call, sleep_until_done(call));
}

void entry_sleep(void)
{
    FOR_EACH_GEOMETRY(sleep_and_cancel);
}
