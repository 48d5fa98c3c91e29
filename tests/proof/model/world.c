/* SPDX-License-Identifier: Apache-2.0
 *
 * world.c - a service in the model, and the ledger. See world.h.
 *
 * A request is two words: the number of the call, and a word made of it; the reply likewise. Who
 * reads a word that is not of its call has been given somebody else's memory. */
#include "world.h"

#include "../instrument/access.h"
#include "arena.h"
#include "kernel.h"
#include "tasks.h"
#include "weak.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SERVICE "@model"
#define FOREVER (-1)

struct world_ledger *world;

struct world_options world_options;

/* ---------------------------------------------------------------- words in blocks */

static void put_word(void *block, unsigned index, uint64_t value)
{
    uint64_t *word = (uint64_t *)block + index;
    access_plain(word, sizeof *word, true, __builtin_return_address(0));
    *word = value;
}

static uint64_t get_word(const void *block, unsigned index)
{
    const uint64_t *word = (const uint64_t *)block + index;
    access_plain(word, sizeof *word, false, __builtin_return_address(0));
    return *word;
}

static uint64_t request_word(unsigned number)
{
    return arena_mix(17, number);
}

static uint64_t reply_word(unsigned number)
{
    return arena_mix(23, number);
}

static struct world_call *ledger_call(unsigned number)
{
    arena_touch(&world->calls[number], sizeof world->calls[number]);
    return &world->calls[number];
}

/* ---------------------------------------------------------------- host */

static void run_host(void *argument)
{
    struct carom_host_options host_options = {.size = sizeof host_options, .max_clients = 4};
    (void)argument;
    host_options.max_workers = 4;
    if (carom_host_open(SERVICE, &host_options, &world->host) < 0)
        model_bug("the host cannot open: %s", carom_error_detail());
    world->host_descriptors = kernel_descriptors(HOST);
    int rc = carom_host_run(world->host); /* asleep in its loop it passes the barriers */
    if (rc < 0)
        model_fail("the host's loop ends: %s", carom_error_detail());
    /* carom_host_close takes it out of a list in a global, which arena_restore does not put back:
     * the process ends instead, and the kernel closes everything. */
    process_kill(HOST);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

static void unlock_host(void)
{
    uint32_t *holder = (void *)&world->host->lock;
    if (*holder == task_self())
        __wrap_pthread_mutex_unlock(&world->host->lock);
}

static void run_recoverer(void *argument)
{
    (void)argument;
    for (int barrier = 0; barrier < TASK_BARRIERS; barrier++)
        task_barrier();
    while (!process_is_dead(WORKER))
        task_sleep(&tasks_deaths, INT64_MAX);
    weak_receive(kernel_death_channel(WORKER));
    tasks_on_interrupt = unlock_host;
    __wrap_pthread_mutex_lock(&world->host->lock);
    task_interruptible();
    if (world->host->workers[0] != NULL && world->host->workers[0]->pid == 100 + WORKER)
        carom__host_recover(world->host, world->host->workers[0]);
    __wrap_pthread_mutex_unlock(&world->host->lock);
}

/* ---------------------------------------------------------------- workers */

static void nothing(void *context, struct carom_request *request)
{
    (void)context;
    (void)request;
}

static struct carom_worker *open_worker(unsigned index)
{
    const struct carom_method method = {.name = "echo",
                                        .handler = nothing,
                                        .flags = world_options.idempotent ? CAROM_IDEMPOTENT : 0};
    struct carom_worker_options worker_options = {.size = sizeof worker_options, .no_spin = true};
    struct carom_worker *worker = NULL;
    if (carom_worker_open(SERVICE, &method, 1, FOREVER, &worker_options, &worker) < 0)
        model_bug("a worker cannot open: %s", carom_error_detail());
    world->workers[index] = worker;
    return worker;
}

/* What a handler does that reads all of its request. */
static void touch_all(const char *data, size_t bytes)
{
    if (bytes > 0) {
        access_plain(data, 1, false, __builtin_return_address(0));
        access_plain(data + bytes - 1, 1, false, __builtin_return_address(0));
    }
}

static void answer(struct carom_request *request)
{
    size_t bytes;
    const void *data = carom_request_data(request, &bytes);
    if (bytes != 16) {
        if (model_mode.hostile == 0)
            model_fail("%s is given a request of %zu bytes", task_name(task_self()), bytes);
        touch_all(data, bytes);
        carom_request_fail(request, CAROM_INVALID_ARGUMENT, "lab.Length", "not 16 bytes", NULL);
        return;
    }
    uint64_t number = get_word(data, 0), word = get_word(data, 1);
    if (model_mode.hostile == 0 &&
        (number >= WORLD_CALLS || word != request_word((unsigned)number)))
        model_fail("%s reads a request that is none: %llu", task_name(task_self()),
                   (unsigned long long)number);
    struct carom_peer peer;
    carom_request_client(request, &peer);
    if (number < WORLD_CALLS && (number >= WORLD_HONEST) == (peer.pid == 100 + CLIENT_2))
        ledger_call((unsigned)number)->runs++;
    void *reply = carom_request_reply_block(request, NULL);
    put_word(reply, 0, number);
    put_word(reply, 1, reply_word((unsigned)number));
    carom_request_reply(request, 16);
}

int world_serve_one(struct carom_worker *worker)
{
    struct carom_request *request;
    world_operation("take and reply");
    int rc = carom_worker_take(worker, FOREVER, &request);
    if (rc == 0)
        answer(request);
    return rc;
}

void world_serve(struct carom_worker *worker)
{
    while (world_serve_one(worker) >= 0)
        ;
}

static void close_worker(unsigned index, struct carom_worker *worker)
{
    carom_worker_close(worker);
    arena_touch(world->worker_closed, sizeof world->worker_closed);
    world->worker_closed[index] = true;
}

static void run_worker(void *argument)
{
    unsigned index = (unsigned)(uintptr_t)argument;
    struct carom_request *request;
    struct carom_worker *worker;
    task_barrier(); /* clients first: they rehearse with workers that are there */
    if (world_options.late) {
        task_barrier();
        task_barrier();
    }
    worker = open_worker(index);
    if (!world_options.late) {
        task_barrier();
        carom_worker_poll(worker, 0, &request); /* maps the lanes */
        task_barrier();
    }
    (world_options.worker != NULL && index == 0 ? world_options.worker : world_serve)(worker);
    close_worker(index, worker);
}

/* ---------------------------------------------------------------- clients */

struct carom_client *world_connect(unsigned index)
{
    struct carom_client_options client_options = {
        .size = sizeof client_options,
        .slots = world_options.slots,
        .request_block_bytes = 4096,
        .reply_block_bytes = 4096,
        .resident_bytes = world_options.resident_bytes,
        .no_spin = true,
        .reconnect_timeout_ns = -1,
    };
    struct carom_client *client = NULL;
    if (carom_client_open(SERVICE, FOREVER, &client_options, &client) < 0)
        return NULL;
    arena_touch(world->clients, sizeof world->clients);
    world->clients[index] = client;
    return client;
}

static struct carom_client *open_client(unsigned index)
{
    struct carom_client *client = world_connect(index);
    if (client == NULL)
        model_bug("a client cannot open: %s", carom_error_detail());
    task_barrier();
    task_barrier();
    if (carom_client_method(client, "echo") != 0)
        model_bug("a client does not find its method: %s", carom_error_detail());
    task_barrier();
    return client;
}

static void close_client(unsigned index, struct carom_client *client)
{
    carom_client_close(client);
    arena_touch(world->client_closed, sizeof world->client_closed);
    world->client_closed[index] = true;
}

static void run_client(void *argument)
{
    struct carom_client *client = open_client(0);
    (void)argument;
    world_options.client(client);
}

static void run_client_2(void *argument)
{
    struct carom_client *client = open_client(1);
    (void)argument;
    world_options.client_2(client);
    close_client(1, client);
}

static void run_thread(void *argument)
{
    (void)argument;
    for (int barrier = 0; barrier < TASK_BARRIERS; barrier++)
        task_barrier();
    world_options.thread(world->clients[0]);
}

static void run_keeper(void *argument)
{
    (void)argument;
    for (int barrier = 0; barrier < TASK_BARRIERS; barrier++)
        task_barrier();
    world_options.host();
}

static void run_stopper(void *argument)
{
    (void)argument;
    for (int barrier = 0; barrier < TASK_BARRIERS; barrier++)
        task_barrier();
    world_options.stopper(world->workers[0]);
}

static void run_connecting(void *argument)
{
    (void)argument;
    for (int barrier = 0; barrier < TASK_BARRIERS; barrier++)
        task_barrier();
    world_options.connecting();
}

void world_make(const struct world_options *chosen)
{
    world_options = *chosen;
    tasks_allow_time(chosen->hostile);
    world = arena_make("ledger", sizeof *world, ARENA_KERNEL, 0);
    task_make(HOST, "host", run_host, NULL, true);
    if (world_options.recoverer)
        task_make(HOST, "recoverer", run_recoverer, NULL, true);
    if (world_options.host != NULL)
        task_make(HOST, "keeper", run_keeper, NULL, false);
    task_make(CLIENT, "client", run_client, NULL, world_options.hostile);
    if (world_options.thread != NULL)
        task_make(CLIENT, "thread", run_thread, NULL, false);
    if (world_options.client_2 != NULL)
        task_make(CLIENT_2, "client 2", run_client_2, NULL, false);
    if (world_options.connecting != NULL)
        task_make(CLIENT_2, "client 2", run_connecting, NULL, false);
    if (world_options.workers > 0)
        task_make(WORKER, "worker", run_worker, (void *)0, true);
    if (world_options.stopper != NULL)
        task_make(WORKER, "stopper", run_stopper, NULL, false);
    if (world_options.workers > 1)
        task_make(WORKER_2, "worker 2", run_worker, (void *)1, true);
}

void world_signal(void)
{
    arena_touch(&world->signalled, 1);
    world->signalled = true;
    weak_send(&world->signalled);
    task_wake(&world->signalled, MODEL_TASKS);
}

void world_await_signal(void)
{
    while (!world->signalled)
        task_sleep(&world->signalled, INT64_MAX);
    weak_receive(&world->signalled);
}

/* ---------------------------------------------------------------- steps */

/* What a caller may be told when the host has died, or the service stops. */
static bool is_service_over(int rc)
{
    return rc == -EHOSTDOWN || rc == -ESHUTDOWN;
}

struct carom_call *world_begin(struct carom_client *client, unsigned number, unsigned flags,
                               int64_t timeout_ns)
{
    struct carom_call *call = NULL;
    world_operation("begin");
    int rc = carom_call_begin(client, 0, timeout_ns, flags, &call);
    if (rc < 0) {
        if (!is_service_over(rc) && rc != -ETIMEDOUT && model_mode.hostile == 0)
            model_fail("call %u cannot begin: %d %s", number, rc, carom_error_detail());
        return NULL;
    }
    void *request = carom_call_request(call, NULL);
    put_word(request, 0, number);
    put_word(request, 1, request_word(number));
    return call;
}

int world_submit(struct carom_call *call, unsigned number)
{
    world_operation("submit");
    int rc = carom_call_submit(call, 16);
    world_operation("wait");
    ledger_call(number)->submitted = rc == 0;
    if (rc < 0 && model_mode.hostile == 0)
        model_fail("call %u cannot be submitted: %d %s", number, rc, carom_error_detail());
    return rc;
}

static void check_reply(struct carom_call *call, unsigned number)
{
    size_t bytes;
    const void *reply = carom_call_reply(call, &bytes);
    if (bytes != 16 || get_word(reply, 0) != number || get_word(reply, 1) != reply_word(number))
        model_fail("call %u is given a reply that is not its own", number);
    if (world->calls[number].runs == 0)
        model_fail("call %u is answered, but nobody ran it", number);
}

/* Whether nobody hostile has to do with a call. */
static bool is_from_honest(unsigned number)
{
    return number >= WORLD_HONEST && (model_mode.hostile & 1u << WORKER) == 0;
}

void world_outcome(struct carom_call *call, unsigned number, int outcome)
{
    struct world_call *known = ledger_call(number);
    known->outcomes++;
    world_operation("end");
    known->outcome = outcome;
    if (model_mode.hostile != 0) {
        size_t bytes;
        const void *reply = carom_call_reply(call, &bytes);
        touch_all(reply, bytes);
        if (!is_from_honest(number))
            return;
    }
    if (outcome == CAROM_OK)
        check_reply(call, number);
    else if (outcome != CAROM_UNAVAILABLE && outcome != CAROM_CANCELLED &&
             outcome != CAROM_ABORTED && outcome != -ETIMEDOUT && !is_service_over(outcome))
        model_fail("call %u ends with %d: %s", number, outcome, carom_error_detail());
    if (outcome == CAROM_CANCELLED && known->runs > 0 && call->reply_bytes == 0)
        model_fail("call %u was withdrawn, and ran", number);
}

void world_call(struct carom_client *client, unsigned number)
{
    struct carom_call *call = world_begin(client, number, 0, FOREVER);
    if (call == NULL)
        return;
    if (world_submit(call, number) == 0)
        world_outcome(call, number, carom_call_wait(call));
    carom_call_end(call);
}
