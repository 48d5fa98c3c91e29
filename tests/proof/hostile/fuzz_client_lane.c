/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_client_lane.c - a hostile worker: a real struct carom_client makes calls over a lane whose
 * control, bell and reply blocks somebody else writes at will, also between two of its loads.
 * Every operation comes back, in a bounded number of loads and of sleeps; what it hands out (a
 * reply, the texts of an error) lies in the call's own block or in private memory. Whether it is
 * true what a hostile worker replies is not asked. */
#include "failure.h"
#include "fuzzing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CALLS 6u
#define METHODS 2
#define WORKER 3u
#define EPOCH 1u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct carom_client *client;
static struct carom__directory directory;
static struct carom_call *calls[CALLS];
static struct fuzz_lane *lane;
static char dirty[128]; /* replies that were written to, one per slot */

/* ---------------------------------------------------------------- the world */

static void make_once(void)
{
    if (client != NULL)
        return;
    client = aligned_alloc(CAROM__LINE_BYTES, sizeof *client);
    memset((void *)client, 0, sizeof *client);
    client->calls = aligned_alloc(CAROM__LINE_BYTES, 128 * sizeof *client->calls);
    memset((void *)client->calls, 0, 128 * sizeof *client->calls);
    client->slots.next = calloc(128, sizeof *client->slots.next);
    client->producer.cells = calloc((size_t)128 * CAROM__CELLS_PER_SLOT,
                                    sizeof *client->producer.cells);
    pthread_mutex_init(&client->completions.lock, NULL);
    pthread_mutex_init(&client->names.lock, NULL);
    client->bell = fuzz_bell();
    client->directory = &directory;
    /* relaxed: one thread, here and below */
    atomic_store_explicit(&directory.method_count, METHODS, memory_order_relaxed);
    atomic_store_explicit(&directory.state, CAROM_READY, memory_order_relaxed);
    atomic_store_explicit(&directory.methods[1].flags, CAROM_IDEMPOTENT, memory_order_relaxed);
    for (uint32_t method = 0; method < CAROM__MAX_METHODS; method++)
        atomic_store_explicit(&client->method_ids[method],
                              method < METHODS ? method : CAROM__UNRESOLVED, memory_order_relaxed);
}

static void open_calls(void)
{
    const struct carom__geometry *geometry = &lane->lane.geometry;
    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        struct carom_call *call = &client->calls[slot];
        memset((void *)call, 0, sizeof *call);
        call->client = client;
        call->submission.slot = slot;
        call->shared = &lane->lane.slots[slot];
        call->request = lane->requests + carom__block_offset(slot, geometry->request_block_bytes);
        call->reply = lane->replies + carom__block_offset(slot, geometry->reply_block_bytes);
    }
    carom__slots_init(&client->slots, client->slots.next, geometry->slots);
    memset((void *)client->producer.cells, 0,
           geometry->ring_cells * sizeof *client->producer.cells);
    client->producer = (struct carom__producer){.cells = client->producer.cells};
    memset(calls, 0, sizeof calls);
}

/* As carom_client_open would leave it. */
static void open_client(uint64_t options)
{
    client->lane = lane->lane;
    client->requests = lane->requests;
    client->replies = lane->replies;
    client->connection = (struct carom__connection){
        kernel_open((struct kernel_fd){.kind = KERNEL_SOCKET}), -1};
    client->forks = carom__forks;
    client->resident_limit_bytes = options & 0x100 ? 0 : UINT64_C(256) << 20;
    carom__spin_init(&client->spin, options >> 10 == 63 ? 8000 : 0);
    /* relaxed: one thread */
    atomic_store_explicit(&client->slot_waiters, 0, memory_order_relaxed);
    atomic_store_explicit(&client->resident_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&client->link, 0, memory_order_relaxed);
    atomic_store_explicit(&client->next_look_ns, 0, memory_order_relaxed);
    client->completions.first = client->completions.last = NULL;
    client->completions.owed = 0;
    client->retry.attempts = 3;
    client->retry.statuses = 1u << CAROM_UNAVAILABLE | 1u << CAROM_ABORTED;
    client->retry.pause_ns = 5000;
    client->retry.pause_most_ns = 10000;
    atomic_store_explicit(&client->retry.random, 1, memory_order_relaxed); /* as above */
    client->reconnect.timeout_ns = -1;
    open_calls();
}

/* Memory is given back of the requests alone, beyond what every block keeps. */
static void assert_own_memory(const char *at, size_t bytes)
{
    const struct carom__geometry *geometry = &lane->lane.geometry;
    uint64_t stride = carom__block_stride(geometry->request_block_bytes);
    uint64_t offset = (uint64_t)(at - lane->requests);
    if (offset >= geometry->slots * stride || offset % stride != CAROM__KEEP_BYTES ||
        bytes != stride - CAROM__KEEP_BYTES)
        kernel_fail("MADV_REMOVE of %zu bytes beside the requests", bytes);
}

static void clear_replies(void)
{
    const struct carom__geometry *geometry = &lane->lane.geometry;
    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        if (dirty[slot])
            memset(lane->replies + carom__block_offset(slot, geometry->reply_block_bytes), 0,
                   geometry->reply_block_bytes < 4096 ? geometry->reply_block_bytes : 4096);
    }
    memset(dirty, 0, sizeof dirty);
}

static void begin(struct fuzz_input *input)
{
    static const uint8_t shapes[16] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 4, 4, 3};
    uint64_t options = fuzz_take(input, 2);
    kernel_begin();
    kernel.naps = fuzz_take(input, 1) * UINT64_C(0x0101010101010101);
    make_once();
    lane = fuzz_lane(0, shapes[options % 16]);
    fuzz_lane_clear(lane);
    fuzz_bell_clear();
    open_client(options);
    fuzz_begin(lane, carom__owner(WORKER, EPOCH));
    kernel.removed = assert_own_memory;
}

/* ---------------------------------------------------------------- what the worker does */

static void write_reply(struct fuzz_input *input, uint32_t slot)
{
    const struct carom__geometry *geometry = &lane->lane.geometry;
    char *block = lane->replies + carom__block_offset(slot, geometry->reply_block_bytes);
    unsigned at = (unsigned)fuzz_take(input, 1), length = (unsigned)fuzz_take(input, 1) % 16;
    dirty[slot] = 1;
    for (unsigned i = 0; i < length; i++)
        block[at + i] = (char)fuzz_take(input, 1);
}

/* A record of an error as a worker writes it. */
static size_t write_record(struct fuzz_input *input, uint32_t slot)
{
    static const struct carom_cause causes[] = {{"CauseType", "because"}, {"RootType", "first"}};
    const struct carom__geometry *geometry = &lane->lane.geometry;
    const struct carom_error error = {
        .type = "Type",
        .message = "it failed",
        .traceback = "line 1\nline 2\n",
        .time_ns = 1,
        .causes = causes,
        .cause_count = (uint32_t)fuzz_take(input, 1) % 3,
    };
    dirty[slot] = 1;
    return carom__failure_write(lane->replies +
                                    carom__block_offset(slot, geometry->reply_block_bytes),
                                geometry->reply_block_bytes, &error);
}

/* Takes a call as an honest worker would and ends it, with any status and length. */
static void work(struct fuzz_input *input)
{
    struct carom__claim claim;
    unsigned how = (unsigned)fuzz_take(input, 1);
    fuzz_operation(UINT64_MAX);
    if (carom__lane_claim(&lane->lane, carom__owner(WORKER, EPOCH), &claim) <= 0)
        return;
    size_t length = how & 0x80 ? write_record(input, claim.slot) : how;
    if (how & 0x40)
        write_reply(input, claim.slot);
    if (how & 0x20)
        length += (size_t)fuzz_take(input, 1) - 128;
    if ((how & 0x1f) != 0x1f) /* else it runs on */
        carom__lane_finish(&lane->lane, &claim, (int32_t)(how & 0x1f) - 2, length);
}

/* ---------------------------------------------------------------- what the client does */

/* A submit may clear the ring, and looks at every cell for each cell it clears. That is the most
 * that any operation may do; all of it is in CLEARINGS_PER_CELL of lane.c. */
static uint64_t loads_of(void)
{
    uint64_t cells = lane->lane.geometry.ring_cells;
    return 8 * (256 * cells * (cells + 8) + 1000 * (2 * cells + 8)) + 100000;
}

static struct carom_call **pick(struct fuzz_input *input)
{
    return &calls[fuzz_take(input, 1) % CALLS];
}

static void begin_call(struct fuzz_input *input)
{
    static const int64_t timeouts[] = {0, 1, 50000, 250000000, CAROM_FOREVER, 1000000, 5000, 100};
    struct carom_call **call = pick(input);
    uint64_t how = fuzz_take(input, 2);
    size_t capacity;
    if (*call != NULL)
        return;
    fuzz_operation(loads_of());
    unsigned flags = (how & 3) | ((how & 0x30) == 0 ? 0 : CAROM_NOWAIT);
    /* without a deadline only where somebody frees a slot: nobody else does here */
    int64_t timeout_ns = timeouts[how >> 2 & 7];
    if (!(flags & CAROM_NOWAIT) && timeout_ns < 0)
        timeout_ns = 300000000;
    if (carom_call_begin(client, (int)(how >> 8) % METHODS, timeout_ns, flags, call) < 0)
        return;
    const struct carom__geometry *geometry = &lane->lane.geometry;
    char *request = carom_call_request(*call, &capacity);
    fuzz_assert_block(lane->requests, geometry->slots, geometry->request_block_bytes, request,
                      capacity);
    const size_t lengths[] = {0, 8, capacity, capacity + 1};
    fuzz_operation(loads_of());
    carom_call_submit(*call, lengths[how >> 6 & 3]);
}

static void look_at_outcome(struct carom_call *call)
{
    const struct carom__geometry *geometry = &lane->lane.geometry;
    struct carom_error error;
    size_t length, texts = 0;
    const void *reply = carom_call_reply(call, &length);
    if (reply != NULL)
        fuzz_assert_block(lane->replies, geometry->slots, geometry->reply_block_bytes, reply,
                          length);
    fuzz_operation(4096);
    if (carom_call_error(call, &error) < 0)
        return;
    texts += strlen(error.type) + strlen(error.message) + strlen(error.traceback);
    for (uint32_t i = 0; i < error.cause_count; i++)
        texts += strlen(error.causes[i].type) + strlen(error.causes[i].message);
    if (texts > geometry->reply_block_bytes + 256 || error.status < 0 ||
        error.status > CAROM_UNAUTHENTICATED || error.cause_count > CAROM_CAUSES_MAX)
        kernel_fail("an error that no reply block can hold");
}

/* Waiting without a deadline ends when the host dies: it may do so while the caller sleeps. */
static void asleep(void)
{
    if (kernel.sleeps > 200)
        kernel_fd(client->connection.socket)->hung_up = true;
}

static void wait_for(struct fuzz_input *input)
{
    struct carom_call *call = *pick(input);
    int how = (int)fuzz_take(input, 1);
    if (call == NULL)
        return;
    fuzz_operation(loads_of());
    kernel.asleep = asleep;
    if (how % 4 == 0)
        carom_call_wait(call);
    else
        carom_call_poll(call);
    look_at_outcome(call);
}

static void end(struct carom_call **call)
{
    fuzz_operation(loads_of());
    carom_call_end(*call);
    *call = NULL;
}

static void take_next(struct fuzz_input *input)
{
    struct carom_call *call = NULL;
    fuzz_operation(loads_of());
    int rc = carom_client_next(client, fuzz_take(input, 1) & 3 ? 0 : 100000, &call);
    if (rc != 0)
        return;
    for (unsigned i = 0; i < CALLS; i++) {
        if (calls[i] == call) {
            carom_call_poll(call);
            look_at_outcome(call);
            return;
        }
    }
    kernel_fail("carom_client_next returned a call that nobody has");
}

static void operate_on_call(struct fuzz_input *input)
{
    struct carom_call **call = pick(input);
    if (*call == NULL)
        return;
    if (fuzz_take(input, 1) & 1) {
        fuzz_operation(loads_of());
        carom_call_cancel(*call);
    } else {
        end(call);
    }
}

static void operate(struct fuzz_input *input)
{
    switch (fuzz_take(input, 1) % 12) {
    case 0:
        fuzz_poke(input);
        break;
    case 1:
        fuzz_poke_later(input);
        break;
    case 2:
        fuzz_storm(input);
        break;
    case 3:
        fuzz_calm();
        write_reply(input, (uint32_t)fuzz_take(input, 1) % lane->lane.geometry.slots);
        break;
    case 4:
    case 5:
        work(input);
        break;
    case 6:
    case 7:
        wait_for(input);
        break;
    case 8:
        operate_on_call(input);
        break;
    case 9:
        take_next(input);
        break;
    default:
        begin_call(input);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, data + bytes};
    begin(&input);
    while (fuzz_more(&input))
        operate(&input);
    for (unsigned i = 0; i < CALLS; i++) {
        if (calls[i] != NULL)
            end(&calls[i]);
    }
    fuzz_operation(UINT64_MAX);
    fuzz_calm();
    for (uint32_t slot = 0; slot < lane->lane.geometry.slots; slot++)
        free(client->calls[slot].failure);
    clear_replies();
    return 0;
}
