/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.c - a worker's way to a call and back: take.c with all that it decides about a lane, a
 * cell, a claim, and request.c with what a handler does. The client writes lane, bell and request;
 * the directory has any content. */
#include "lib/take.c"

#include "failure.h"
#include "peer.h"

#define METHODS 3
/** The lane that is mapped. */
#define LANE 5u

static struct carom_worker worker;

/* A lane as worker_lanes.c maps it (entries/worker_lanes.c). */
static void map_one(const struct carom__geometry *geometry, uint32_t id)
{
    struct carom__worker_lane *mapped = memory(sizeof *mapped +
                                               geometry->slots * sizeof mapped->blocks[0]);
    const char *requests = memory(
        carom__blocks_bytes(geometry->slots, geometry->request_block_bytes));
    char *replies = memory(carom__blocks_bytes(geometry->slots, geometry->reply_block_bytes));
    open_lane(&mapped->lane, geometry);
    mapped->id = id;
    //@ loop unroll 4096;
    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        mapped->blocks[slot].request = requests +
                                       carom__block_offset(slot, geometry->request_block_bytes);
        mapped->blocks[slot].reply = replies +
                                     carom__block_offset(slot, geometry->reply_block_bytes);
    }
    worker.lanes[id] = mapped;
}

static void open_worker(const struct carom__geometry *geometry)
{
    worker.bell = memory(sizeof *worker.bell);
    worker.directory = unknown(sizeof *worker.directory);
    worker.stats = memory(sizeof *worker.stats);
    worker.method_count = METHODS;
    worker.id = any_below(CAROM__MAX_WORKERS);
    worker.owner = any32;
    worker.lane_words = CAROM__LANE_WORDS;
    worker.now_ns = carom__now_ns();
    worker.until_timed = any32;
    worker.untimed = any32;
    worker.current = any_below(CAROM__MAX_LANES);
    worker.burst = any32;
    worker.request.worker = &worker;
    for (uint32_t i = 0; i < CAROM__MAX_METHODS; i++)
        worker.method_index[i] = (int16_t)((int)any_below(METHODS + 1) - 1);
    map_one(geometry, LANE);
}

/* What carom__worker_news and the socket say. */
int carom__worker_news(struct carom_worker *self)
{
    self->stopping = maybe();
    self->leaving = maybe();
    return maybe() ? 0 : -EHOSTDOWN;
}

bool carom__host_is_gone(const struct carom__connection *connection)
{
    (void)connection;
    return maybe();
}

void carom__worker_poison(struct carom_worker *self, struct carom__worker_lane *lane)
{
    (void)self;
    lane->poisoned = true;
}

/* Its texts are the worker's own; the record fits the block (failure.c). */
size_t carom__failure_write(void *block, size_t capacity, const struct carom_error *error)
{
    size_t bytes = 19 + any_up_to(capacity - 19);
    (void)error;
    ((char *)block)[bytes - 1] = 0;
    return bytes;
}

/* Reads the first and the last byte of the request, looks its method up. */
static void check_request(const struct carom_request *request)
{
    const char *data = carom__request_blocks(request)->request;
    if (request->claim.request_bytes > 0)
        (void)(data[0] + data[request->claim.request_bytes - 1]);
    //@ assert method_is_one_of_ours: 0 <= request->method < METHODS;
}

/* ---------------------------------------------------------------- entries
 *
 * carom_worker_take and carom_worker_poll repeat these in loops. Each begins with a worker of which
 * everything is unknown but what the loops keep true, and that is asserted after it. */

static void check_worker(void)
{
    //@ assert current_is_a_lane: worker.current < CAROM__MAX_LANES;
    //@ assert time_is_sane: 0 <= worker.now_ns <= 0x4000000000000000;
}

static void with_lane(const struct carom__geometry *geometry)
{
    open_worker(geometry);
    if (try_lane(&worker, LANE))
        check_request(&worker.request);
    check_worker();
}

void entry_try_lane(void)
{
    FOR_EACH_GEOMETRY(with_lane);
}

static void with_bell(const struct carom__geometry *geometry)
{
    open_worker(geometry);
    worker.lanes[LANE]->poisoned = maybe();
    look(&worker);
    check_worker();
}

void entry_look(void)
{
    FOR_EACH_GEOMETRY(with_bell);
}

static void with_sleep(const struct carom__geometry *geometry)
{
    open_worker(geometry);
    worker.lanes[LANE]->poisoned = maybe();
    park(&worker, (int64_t)any_up_to(INT64_MAX));
    check_orders(&worker);
    check_worker();
}

void entry_park(void)
{
    FOR_EACH_GEOMETRY(with_sleep);
}

/* ---------------------------------------------------------------- a handler */

/* Reads the first and the last byte of the request, writes those of the reply. */
static void handle(struct carom_request *request)
{
    size_t request_bytes, capacity_bytes;
    struct carom_peer client;
    const char *data = carom_request_data(request, &request_bytes);
    char *reply = carom_request_reply_block(request, &capacity_bytes);
    if (request_bytes > 0)
        reply[0] = (char)(data[0] + data[request_bytes - 1]);
    reply[capacity_bytes - 1] = 0;
    carom_request_deadline(request);
    carom_request_cancelled(request);
    carom_request_client(request, &client);
    if (maybe())
        carom_request_reply(request, any64);
    else
        carom_request_fail(request, any_int, "ValueError", "message", "traceback");
    /* once more, after its end */
    carom_request_reply(request, any64);
}

static void with_request(const struct carom__geometry *geometry)
{
    struct carom_request *request = &worker.request;
    open_worker(geometry);
    request->lane = worker.lanes[LANE];
    request->open = true;
    request->method = (int)any_below(METHODS);
    request->claim = (struct carom__claim){
        .slot = any_below(geometry->slots),
        .generation = any32 & CAROM__GENERATION_MASK,
        .method = any32,
        .owner = worker.owner,
        .deadline_ns = any_signed64,
        .request_bytes = any_up_to(geometry->request_block_bytes),
    };
    handle(request);
    carom__request_trim(request);
}

void entry_handle(void)
{
    FOR_EACH_GEOMETRY(with_request);
}
