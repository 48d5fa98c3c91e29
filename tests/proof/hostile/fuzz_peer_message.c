/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_peer_message.c - what a host says to a peer: client, worker and observer open a service
 * whose host answers WELCOME, REFUSED or nonsense, with any memory beside it; a worker then hears
 * of lanes that come and go, of any shape, is asked to leave, and takes calls meanwhile. When the
 * peer closes, or could not open, it holds no descriptor and no mapping. */
#include "fuzzing.h"
#include "messages.h"
#include "worker.h"

#include <errno.h>
#include <string.h>

#define SERVICE "@hostile"
#define LANES_SAID 12u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct carom__directory directory;
static struct carom__statistics statistics;
static struct fuzz_input input;
static struct kernel_message queued;
static int hello_socket;
static enum carom__role role;

/* ---------------------------------------------------------------- the wire */

static bool deliver(int fd, struct kernel_message *message)
{
    if (queued.length == 0 || fd != hello_socket)
        return false;
    memcpy(message->bytes, queued.bytes, queued.length);
    message->length = queued.length;
    message->fd_count = queued.fd_count;
    memcpy(message->fds, queued.fds, sizeof message->fds);
    queued.length = queued.fd_count = 0;
    return true;
}

static int memory(void *at, uint64_t bytes, bool read_only)
{
    return kernel_open((struct kernel_fd){
        .kind = KERNEL_MEMORY, .read_only = read_only, .bytes = bytes, .memory = at, .seals = 7});
}

static void add_memory(void)
{
    const uint64_t much = UINT64_C(1) << 40;
    if (role == CAROM__CLIENT) {
        message_add(&queued, memory(NULL, much, false));
        message_add(&queued, memory(NULL, much, true));
    }
    if (role != CAROM__OBSERVER)
        message_add(&queued, memory(fuzz_bell(), sizeof(struct carom__bell), false));
    message_add(&queued, memory(&directory, sizeof directory, true));
    if (role != CAROM__CLIENT)
        message_add(&queued, memory(&statistics, sizeof statistics, role == CAROM__OBSERVER));
    message_add(&queued, kernel_open((struct kernel_fd){.kind = KERNEL_PIDFD}));
}

static void make_welcome(unsigned how)
{
    struct carom__welcome welcome = {.id = how & 7, .epoch = 1, .has_pidfd = 1};
    if ((how & 0x18) == 0x18)
        welcome.id = (uint32_t)fuzz_take(&input, how & 0x20 ? 4 : 2);
    if ((how & 0xc0) == 0xc0)
        welcome.has_pidfd = (uint32_t)fuzz_take(&input, 1);
    carom__header_set(&welcome.header, CAROM__WELCOME, sizeof welcome);
    memcpy(queued.bytes, &welcome, sizeof welcome);
    queued.length = sizeof welcome;
    add_memory();
}

static void make_refusal(void)
{
    struct carom__refused refused = {.error = (int32_t)fuzz_take(&input, 1) - 128};
    carom__header_set(&refused.header, CAROM__REFUSED, sizeof refused);
    memset(refused.reason, 'r', sizeof refused.reason); /* without an end */
    memcpy(queued.bytes, &refused, sizeof refused);
    queued.length = sizeof refused;
}

/* The answer is made when the HELLO has been seen. */
static int sent(int fd, const void *bytes, size_t length, const int *fds, uint32_t fd_count)
{
    struct carom__header header;
    (void)fds, (void)fd_count;
    memcpy(&header, bytes, sizeof header);
    if (header.size_bytes != length || header.magic != CAROM__MAGIC)
        kernel_fail("a peer sends a message of type %u with a wrong header", header.type);
    if (header.type != CAROM__HELLO)
        return 0;
    unsigned how = (unsigned)fuzz_take(&input, 1);
    hello_socket = fd;
    if (how % 8 == 7)
        make_refusal();
    else
        make_welcome(how);
    if (fuzz_take(&input, 1) & 1)
        message_spoil(&queued, &input);
    return 0;
}

/* ---------------------------------------------------------------- a worker and its lanes */

static void make_news(void)
{
    struct carom__lane_news news = {
        .lane = (uint32_t)fuzz_take(&input, 1),
        .present = (uint32_t)fuzz_take(&input, 1) % 4,
        .geometry = {4, 4 * CAROM__CELLS_PER_SLOT, 4096, 4096},
    };
    if (news.lane >= 0x80)
        news.lane = (uint32_t)fuzz_take(&input, news.lane & 1 ? 2 : 4);
    message_spoil_geometry(&news.geometry, &input);
    carom__header_set(&news.header, CAROM__LANE, sizeof news);
    memcpy(queued.bytes, &news, sizeof news);
    queued.length = sizeof news;
    for (unsigned i = 0; news.present && i < 3; i++)
        message_add(&queued, memory(NULL, 1 << 20, i == 1));
}

static void say(void)
{
    unsigned how = (unsigned)fuzz_take(&input, 1);
    if (how % 8 < 7) {
        make_news();
    } else {
        struct carom__header header;
        carom__header_set(&header, CAROM__LEAVE, sizeof header);
        memcpy(queued.bytes, &header, sizeof header);
        queued.length = sizeof header;
    }
    if (how & 0x80)
        message_spoil(&queued, &input);
}

static void forget_queued(void)
{
    message_drop_fds(&queued);
    queued.length = 0;
}

/* A lane that the worker has mapped gets a word of its client. */
static void scribble(struct carom_worker *worker)
{
    struct fuzz_lane target = {0};
    unsigned id = (unsigned)fuzz_take(&input, 1) % 4;
    if (worker->lanes[id] == NULL)
        return;
    target.lane = worker->lanes[id]->lane;
    target.control = (char *)target.lane.control;
    target.control_bytes = carom__control_bytes(&target.lane.geometry);
    fuzz_begin(&target, worker->owner);
    fuzz_poke(&input);
    fuzz_begin(NULL, 0);
    carom__bell_set_ready(worker->bell, id);
}

static void take(struct carom_worker *worker)
{
    struct carom_request *request;
    size_t capacity;
    if (carom_worker_poll(worker, 0, &request) != 0)
        return;
    char *block = carom_request_reply_block(request, &capacity);
    block[0] = block[capacity - 1] = 1;
    carom_request_reply(request, capacity);
}

static void work(struct carom_worker *worker)
{
    for (unsigned i = 0; i < LANES_SAID && fuzz_more(&input); i++) {
        unsigned how = (unsigned)fuzz_take(&input, 1);
        if (how % 4 < 2) {
            say();
            carom__worker_news(worker);
            forget_queued();
        } else if (how % 4 == 2) {
            scribble(worker);
        } else {
            take(worker);
        }
    }
    carom_worker_close(worker);
}

static void open_worker(void)
{
    static const struct carom_method methods[] = {{.name = "a"}, {.name = "b"}};
    struct carom_worker *worker;
    const struct carom_worker_options options = {.size = sizeof options, .no_spin = true};
    if (carom_worker_open(SERVICE, methods, 2, 1000, &options, &worker) == 0)
        work(worker);
}

/* ---------------------------------------------------------------- the others */

static void open_client(void)
{
    static const uint32_t slots[] = {1, 4, 64, 256};
    struct carom_client *client;
    const struct carom_client_options options = {
        .size = sizeof options,
        .slots = slots[fuzz_take(&input, 1) & 3],
        .request_block_bytes = 4096,
        .reply_block_bytes = 8192,
        .no_spin = true,
    };
    if (carom_client_open(SERVICE, 1000, &options, &client) != 0)
        return;
    struct carom_call *call;
    int method = carom_client_method(client, "a");
    if (carom_call_begin(client, method, 1000, CAROM_NOWAIT, &call) == 0) {
        carom_call_submit(call, 5);
        carom_call_wait(call);
        carom_call_end(call);
    }
    carom_client_close(client);
}

static void open_observer(void)
{
    struct carom_observer *observer;
    static struct carom_worker_info infos[8];
    static char text[CAROM_DESCRIPTION_MAX + 1];
    struct carom_service_info info;
    if (carom_observer_open(SERVICE, &observer) != 0)
        return;
    carom_observer_service(observer, &info);
    carom_observer_workers(observer, infos, 8);
    carom_observer_description(observer, text, sizeof text);
    carom_observer_method(observer, (uint32_t)fuzz_take(&input, 4));
    carom_observer_close(observer);
}

static void begin(void)
{
    kernel_begin();
    fuzz_begin(NULL, 0);
    fuzz_bell();
    fuzz_bell_clear();
    kernel.deliver = deliver;
    kernel.sent = sent;
    queued.length = queued.fd_count = 0;
    memset(queued.bytes, 0, 320);
    /* relaxed: one thread */
    atomic_store_explicit(&directory.state, CAROM_READY, memory_order_relaxed);
    atomic_store_explicit(&directory.method_count, (uint32_t)fuzz_take(&input, 1) % 3,
                          memory_order_relaxed);
    memcpy(directory.methods[0].name, "a", 2);
    memcpy(directory.methods[1].name, "b", 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    input = (struct fuzz_input){data, data + bytes};
    begin();
    unsigned who = (unsigned)fuzz_take(&input, 1);
    role = who % 8 < 5 ? CAROM__WORKER : who % 8 < 7 ? CAROM__CLIENT : CAROM__OBSERVER;
    if (role == CAROM__WORKER)
        open_worker();
    else if (role == CAROM__CLIENT)
        open_client();
    else
        open_observer();
    forget_queued();
    if (kernel.open != 0 || kernel.mapped_bytes != 0)
        kernel_fail("a peer that has gone holds %u descriptors and %zu bytes mapped", kernel.open,
                    kernel.mapped_bytes);
    return 0;
}
