/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_worker_lane.c - a hostile client: a real struct carom_worker serves its lane, and that of an
 * honest client beside it. The hostile one writes anything into lane control and bell, also between
 * two loads of the worker. The worker may touch nothing beyond the lane's blocks, loads a bounded
 * number of words, and the honest client's call is served all the same. */
#include "fuzzing.h"
#include "stats.h"
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOSTILE 0u
#define HONEST 70u /* of another word of ready bits */
#define METHODS 3u
#define EPOCH 5u
/** Looks within which an honest call is served, and in what time: the rest of a burst, and the look
 *  at lanes without a ready bit. */
#define PATIENCE 40
#define PATIENCE_NS INT64_C(200000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct carom_worker *worker;
static struct carom__statistics statistics;
static struct carom__directory directory;
static _Atomic uint64_t *notes;
static struct carom__producer honest_notes;
static unsigned submitted;
static struct fuzz_lane *hostile, *honest;
static uint32_t honest_generation;

/* ---------------------------------------------------------------- the world */

static struct carom__worker_lane *map(const struct fuzz_lane *lane, uint32_t id)
{
    const struct carom__geometry *geometry = &lane->lane.geometry;
    struct carom__worker_lane *mapped = calloc(1, sizeof *mapped +
                                                      geometry->slots * sizeof mapped->blocks[0]);
    mapped->lane = lane->lane;
    mapped->id = id;
    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        mapped->blocks[slot] = (struct carom__blocks){
            lane->requests + carom__block_offset(slot, geometry->request_block_bytes),
            lane->replies + carom__block_offset(slot, geometry->reply_block_bytes),
        };
    }
    return mapped;
}

static struct carom__worker_lane *mapped_once(unsigned number, unsigned shape, uint32_t id)
{
    static struct carom__worker_lane *mapped[2][FUZZ_SHAPES];
    struct carom__worker_lane **place = &mapped[number][shape];
    if (*place == NULL)
        *place = map(fuzz_lane(number, shape), id);
    (*place)->poisoned = false;
    (*place)->empty_looks = 0;
    return *place;
}

static void make_once(void)
{
    if (worker != NULL)
        return;
    worker = calloc(1, sizeof *worker);
    notes = calloc(fuzz_lane(1, 0)->lane.geometry.ring_cells, sizeof *notes);
    worker->bell = fuzz_bell();
    /* relaxed: one thread, here and below */
    atomic_store_explicit(&directory.method_count, METHODS, memory_order_relaxed);
    for (unsigned i = 0; i < METHODS; i++)
        snprintf(directory.methods[i].name, sizeof directory.methods[i].name, "method %u", i);
}

/* Not the one of 128 slots: a look through its ring is the same code, 32 times. */
static unsigned shape_of(uint64_t options)
{
    static const uint8_t shape[16] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 4, 4};
    return shape[options % 16];
}

/* The same worker as fresh from carom_worker_open. */
static void open_worker(uint64_t options)
{
    struct carom__worker_lane *lanes[] = {mapped_once(0, shape_of(options), HOSTILE),
                                          mapped_once(1, 0, HONEST)};
    struct carom__bell *bell = worker->bell;
    memset(worker, 0, offsetof(struct carom_worker, lanes));
    worker->bell = bell;
    worker->directory = &directory;
    worker->statistics = &statistics;
    worker->id = (uint32_t)(options >> 4) % CAROM__MAX_WORKERS;
    worker->stats = &statistics.workers[worker->id];
    worker->owner = carom__owner(worker->id, EPOCH);
    worker->connection = (struct carom__connection){
        kernel_open((struct kernel_fd){.kind = KERNEL_SOCKET}), -1};
    worker->forks = carom__forks;
    carom__spin_init(&worker->spin, options >> 10 == 63 ? 8000 : 0);
    worker->lane_words = HONEST / 64 + 1;
    worker->request.worker = worker;
    worker->lanes[HOSTILE] = lanes[0];
    worker->lanes[HONEST] = lanes[1];
    memset(worker->method_index, 0xff, sizeof worker->method_index);
    worker->method_index[0] = 0;
    worker->method_index[2] = 1;
}

static void begin(struct fuzz_input *input)
{
    uint64_t options = fuzz_take(input, 2);
    kernel_begin();
    kernel.naps = fuzz_take(input, 1) * UINT64_C(0x0101010101010101);
    make_once();
    open_worker(options);
    hostile = fuzz_lane(0, shape_of(options));
    honest = fuzz_lane(1, 0);
    fuzz_lane_clear(hostile);
    fuzz_lane_clear(honest);
    fuzz_bell_clear();
    memset((void *)notes, 0, honest->lane.geometry.ring_cells * sizeof *notes);
    honest_notes = (struct carom__producer){.cells = notes};
    honest_generation = submitted = 0;
    fuzz_begin(hostile, worker->owner);
}

/* ---------------------------------------------------------------- operations */

/* How often an operation looks is bounded by the longest spin, which ends by the clock, and by the
 * naps. */
static uint64_t loads_of(uint64_t looks)
{
    return looks * (4 * fuzz_look_loads(hostile) + 4 * fuzz_look_loads(honest) + 256);
}

/* Not by the library, whose own loops would be the ones that the storm hits. */
static void submit_properly(struct fuzz_input *input)
{
    const struct carom__lane *lane = &hostile->lane;
    const struct carom__submission submission = {
        .slot = (uint32_t)fuzz_take(input, 1) % lane->geometry.slots,
        .generation = (uint32_t)fuzz_take(input, 1) % 4,
        .method = (uint32_t)fuzz_take(input, 1) % 5 - 1,
        .flags = fuzz_take(input, 1) & CAROM__FLAGS_MASK,
        .deadline_ns = INT64_MAX,
        .request_bytes = fuzz_take(input, 2) % (lane->geometry.request_block_bytes + 1),
    };
    carom__lane_fill(&hostile->lane, &submission);
    /* relaxed: one thread */
    uint64_t at = atomic_load_explicit(lane->ring.head, memory_order_relaxed) + submitted++ % 4;
    atomic_store_explicit(
        &lane->ring.cells[carom__ring_at(&lane->ring, at)],
        carom__cell(carom__ring_lap(&lane->ring, at), submission.generation, submission.slot),
        memory_order_relaxed);
    carom__bell_ready(worker->bell, HOSTILE);
}

static const struct fuzz_lane *lane_of(const struct carom_request *request)
{
    if (request->lane != worker->lanes[HOSTILE] && request->lane != worker->lanes[HONEST])
        kernel_fail("a request of a lane that is not there");
    return request->lane == worker->lanes[HOSTILE] ? hostile : honest;
}

/* What a handler does, and what it must be able to rely on. */
static void check_request(const struct carom_request *request)
{
    size_t length;
    struct carom_peer peer;
    if (carom_request_method(request) < 0 || carom_request_method(request) >= (int)METHODS - 1)
        kernel_fail("a handler that is not there: %d", carom_request_method(request));
    const void *data = carom_request_data(request, &length);
    const struct fuzz_lane *lane = lane_of(request);
    fuzz_assert_block(lane->requests, lane->lane.geometry.slots,
                      lane->lane.geometry.request_block_bytes, data, length);
    carom_request_client(request, &peer);
    carom_request_cancelled(request);
}

static void finish(struct carom_request *request, uint64_t how)
{
    static const char text[] = "a text that is long enough to be cut somewhere in the middle of it";
    size_t capacity;
    char *block = carom_request_reply_block(request, &capacity);
    const struct fuzz_lane *lane = lane_of(request);
    fuzz_assert_block(lane->replies, lane->lane.geometry.slots,
                      lane->lane.geometry.reply_block_bytes, block, capacity);
    block[0] = block[capacity - 1] = (char)how;
    const size_t lengths[] = {0, 1, capacity, capacity + 1, SIZE_MAX, how >> 3 & 0xfff};
    fuzz_operation(256);
    switch (how & 7) {
    case 6:
        carom_request_fail(request, (int)(how >> 3 & 31) - 2, "Type", text, text);
        break;
    case 7: /* later, or never */
        break;
    default:
        if (carom_request_reply(request, lengths[how % 6]) == -EMSGSIZE &&
            lengths[how % 6] <= capacity)
            kernel_fail("a reply of %zu bytes does not fit %zu", lengths[how % 6], capacity);
    }
}

static void take(struct fuzz_input *input)
{
    static const int64_t spins[] = {0, 0, 500, 5000};
    struct carom_request *request = NULL;
    uint64_t how = fuzz_take(input, 2);
    const int64_t now_ns = kernel.now_ns;
    const bool is_one_look = (how & 0x100) == 0 && worker->spin.cap_ns == 0;
    fuzz_operation(loads_of(is_one_look ? 1 : 2000));
    int rc = how & 0x100 ? carom_worker_take(worker, spins[how >> 9 & 3], &request)
                         : carom_worker_poll(worker, spins[how >> 9 & 3], &request);
    if (kernel.now_ns > now_ns + 8000) /* one long spin an execution, because it takes long */
        carom__spin_init(&worker->spin, 0);
    if (rc == 0)
        check_request(request);
    if (rc == 0 || rc == -EBUSY)
        finish(request, how);
}

static void operate(struct fuzz_input *input)
{
    switch (fuzz_take(input, 1) % 8) {
    case 0:
    case 1:
        fuzz_poke(input);
        break;
    case 2:
        fuzz_poke_later(input);
        break;
    case 3:
        submit_properly(input);
        break;
    case 4:
        fuzz_storm(input);
        break;
    case 5: /* the lane is about to be retired */
        worker->lanes[HOSTILE]->empty_looks = 4095;
        take(input);
        break;
    default:
        take(input);
    }
}

/* ---------------------------------------------------------------- the honest client */

static void submit_honestly(void)
{
    fuzz_operation(256);
    const struct carom__submission submission = {
        .generation = ++honest_generation, .deadline_ns = INT64_MAX, .request_bytes = 5};
    if (carom__lane_submit(&honest->lane, &honest_notes, &submission) != 1)
        kernel_fail("the honest client's ring is damaged");
    carom__bell_set_ready(worker->bell, HONEST);
}

static bool is_answered(void)
{
    uint64_t state = carom__lane_state(&honest->lane, 0);
    return carom__state_phase(state) == CAROM__DONE &&
           carom__state_generation(state) == honest_generation;
}

/* While the hostile one still has whatever it wrote, and writes on if it has raised a storm. */
static void assert_others_are_served(void)
{
    struct carom_request *request = &worker->request;
    if (request->open)
        carom_request_fail(request, CAROM_INTERNAL, NULL, NULL, NULL);
    submit_honestly();
    for (int looks = 0; looks < PATIENCE && !is_answered(); looks++) {
        /* the hostile one takes the bit away at once, always; time goes on */
        carom__bell_clear_ready(worker->bell, HONEST);
        kernel.now_ns += PATIENCE_NS / PATIENCE;
        fuzz_operation(loads_of(1));
        if (carom_worker_poll(worker, 0, &request) != 0)
            continue;
        check_request(request);
        carom_request_reply(request, 0);
    }
    if (!is_answered())
        kernel_fail("the honest client's call is not served within %d looks", PATIENCE);
    if (worker->lanes[HONEST]->poisoned)
        kernel_fail("the honest client is taken for a hostile one");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, data + bytes};
    begin(&input);
    while (fuzz_more(&input))
        operate(&input);
    assert_others_are_served();
    fuzz_calm();
    return 0;
}
