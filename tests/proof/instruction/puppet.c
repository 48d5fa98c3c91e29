/* SPDX-License-Identifier: Apache-2.0
 *
 * puppet.c - the survivors. See puppet.h. */
#include "puppet.h"

#include "client.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

const struct carom_method methods[METHODS] = {[ECHO] = {.name = "echo"}, [HOLD] = {.name = "hold"}};

/* ---------------------------------------------------------------- driver */

void puppet_start(int which, void (*body)(struct puppet *me))
{
    struct puppet *me = &board->puppets[which];
    *me = (struct puppet){0};
    pid_t pid = fork();
    require(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        body(me);
        _exit(0);
    }
    me->pid = pid;
}

void puppet_stop(int which)
{
    struct puppet *me = &board->puppets[which];
    if (me->pid <= 0)
        return;
    kill(me->pid, SIGKILL);
    waitpid(me->pid, NULL, 0);
    me->pid = 0;
}

void tell(int which, enum command command, int32_t a, int32_t b, int32_t c)
{
    struct puppet *me = &board->puppets[which];
    me->command = (int32_t)command;
    me->argument[0] = a;
    me->argument[1] = b;
    me->argument[2] = c;
    add_to(&me->asked, 1);
    word_wake(&me->asked);
}

int32_t hear(int which)
{
    static const char *const names[] = {"host", "worker", "client", "other client", "filler"};
    struct puppet *me = &board->puppets[which];
    if (await(value_of(&me->asked) == value_of(&me->answered))) {
        if (me->text[0] != '\0')
            bad("the surviving %s: %s", names[which], me->text);
        return me->result;
    }
    bad("the surviving %s hangs in command %d", names[which], me->command);
    return -ETIME;
}

int32_t ask(int which, enum command command, int32_t a, int32_t b, int32_t c)
{
    tell(which, command, a, b, c);
    return hear(which);
}

/* ---------------------------------------------------------------- host and workers */

struct carom_host *open_host(void)
{
    struct carom_host_options options = {
        .size = sizeof options, .max_clients = 6, .max_workers = 4};
    struct carom_host *host;
    require(carom_host_open(SERVICE, &options, &host) == 0);
    return host;
}

void host_body(struct puppet *me)
{
    (void)me;
    struct carom_host *host = open_host();
    add_to(&board->up, 1);
    carom_host_run(host);
}

struct carom_worker *open_worker(void)
{
    struct carom_worker_options options = {.size = sizeof options, .no_spin = true};
    struct carom_worker *worker;
    int rc;
    do { /* a host that is killed meanwhile is waited for, and its successor */
        rc = carom_worker_open(SERVICE, methods, METHODS, CAROM_FOREVER, &options, &worker);
    } while (rc == -ECONNREFUSED || rc == -EHOSTDOWN || rc == -ETIMEDOUT);
    require(rc == 0);
    return worker;
}

struct order note_run(struct carom_request *request)
{
    size_t length;
    struct order order = {0};
    const void *data = carom_request_data(request, &length);
    require(length >= sizeof order);
    memcpy(&order, data, sizeof order);
    add_to(&board->runs[order.number % (2 * NUMBERS)], 1);
    return order;
}

void serve(struct carom_request *request)
{
    struct order order = note_run(request);
    if (carom_request_method(request) == HOLD) {
        add_to(&board->held, 1);
        gate_pass(order.gate);
    }
    size_t length;
    carom_request_data(request, &length);
    memcpy(carom_request_reply_block(request, NULL), &order, sizeof order);
    require(carom_request_reply(request, length) == 0);
}

void worker_body(struct puppet *me)
{
    (void)me;
    for (;;) {
        struct carom_worker *worker = open_worker();
        struct carom_request *request;
        int rc;
        add_to(&board->joined, 1);
        while ((rc = carom_worker_take(worker, CAROM_FOREVER, &request)) == 0)
            serve(request);
        require(rc == -EHOSTDOWN || rc == -ESHUTDOWN);
        carom_worker_close(worker);
        add_to(&board->left, 1);
    }
}

/* A worker that takes the lowest number until the surviving one has the next. */
void filler_body(struct puppet *me)
{
    struct carom_worker *worker = open_worker();
    add_to(&board->joined, 1);
    while (value_of(&board->finish) == 0)
        word_wait(&board->finish, 0);
    carom_worker_close(worker);
    (void)me;
}

/* ---------------------------------------------------------------- clients */

struct carom_client *open_client(void)
{
    return open_client_with(BLOCK_BYTES, 0);
}

struct carom_client *open_client_with(uint64_t block_bytes, uint64_t resident_bytes)
{
    struct carom_client_options options = {
        .size = sizeof options,
        .slots = SLOTS,
        .request_block_bytes = block_bytes,
        .reply_block_bytes = block_bytes,
        .resident_bytes = resident_bytes,
        .no_spin = true,
    };
    struct carom_client *client;
    int rc;
    do { /* as open_worker */
        rc = carom_client_open(SERVICE, CAROM_FOREVER, &options, &client);
    } while (rc == -ECONNREFUSED || rc == -EHOSTDOWN || rc == -ETIMEDOUT);
    require(rc == 0);
    for (int method = 0; method < METHODS; method++)
        require(carom_client_method(client, methods[method].name) == method);
    return client;
}

struct carom_call *begin_call(struct carom_client *client, int method, int64_t timeout_ns,
                              unsigned flags, uint32_t *number)
{
    struct order order = {.number = new_number(), .gate = board->wanted};
    struct carom_call *call;
    require(carom_call_begin(client, method, timeout_ns, flags, &call) == 0);
    memcpy(carom_call_request(call, NULL), &order, sizeof order);
    *number = order.number;
    return call;
}

struct carom_call *submit_call(struct carom_client *client, int method, int64_t timeout_ns,
                               unsigned flags, uint32_t *number)
{
    struct carom_call *call = begin_call(client, method, timeout_ns, flags, number);
    require(carom_call_submit(call, sizeof(struct order)) == 0);
    return call;
}

void wrap_ring(struct carom_client *client)
{
    const uint32_t mask = client->lane.ring.mask;
    while ((atomic_load_explicit(&client->producer.tail, memory_order_seq_cst) & mask) != mask) {
        struct order order = {.number = new_number()}, reply;
        require(carom_invoke(client, ECHO, &order, sizeof order, &reply, sizeof reply, NULL,
                             CAROM_FOREVER) == 0);
    }
}

void fill_ring(struct carom_client *client, int live)
{
    uint64_t position;
    uint32_t number;
    for (int i = 0; i < live; i++)
        submit_call(client, ECHO, CAROM_FOREVER, 0, &number);
    while (carom__ring_has_room(&client->lane.ring, &client->producer, &position)) {
        struct carom_call *call = submit_call(client, ECHO, CAROM_FOREVER, 0, &number);
        require(carom_call_cancel(call) == 0);
        carom_call_end(call);
    }
}

/* What a client puppet has begun. */
static struct carom_call *mine[MOST_CALLS];

static void note_outcome(struct puppet *me, uint32_t i, int outcome)
{
    struct order reply = {0};
    size_t length = 0;
    const void *data = carom_call_reply(mine[i], &length);
    me->calls[i].outcome = outcome;
    if (outcome == 0) {
        require(length == sizeof reply);
        memcpy(&reply, data, sizeof reply);
        require(reply.number == me->calls[i].number);
    }
    carom_call_end(mine[i]);
    mine[i] = NULL;
}

/* argument: how many, method, timeout in ms (0: none; negative: with CAROM_NOTIFY). */
static void do_submit(struct puppet *me, struct carom_client *client)
{
    int32_t ms = me->argument[2];
    for (int32_t i = 0; i < me->argument[0]; i++) {
        struct told *told = &me->calls[me->count];
        struct carom_call *call = begin_call(client, me->argument[1],
                                             ms > 0 ? ms * INT64_C(1000000) : CAROM_FOREVER,
                                             ms < 0 ? CAROM_NOTIFY : 0, &told->number);
        told->state = &call->shared->state;
        told->outcome = PENDING;
        mine[me->count++] = call;
        require(carom_call_submit(call, sizeof(struct order)) == 0);
    }
}

static void do_settle(struct puppet *me)
{
    for (uint32_t i = 0; i < me->count; i++) {
        int rc;
        if (mine[i] == NULL)
            continue;
        do {
            rc = carom_call_wait(mine[i]);
        } while (rc == -EINTR);
        note_outcome(me, i, rc);
    }
}

static void do_next(struct puppet *me, struct carom_client *client)
{
    for (uint32_t left = me->count; left > 0; left--) {
        struct carom_call *call;
        uint32_t i = 0;
        require(carom_client_next(client, CAROM_FOREVER, &call) == 0);
        while (mine[i] != call)
            i++;
        note_outcome(me, i, carom_call_poll(call));
    }
}

/* One call; without a host the first that is tried may say so. */
static int call_once(struct carom_client *client)
{
    int rc = -EHOSTDOWN;
    for (int tries = 0; tries < 3 && (rc == -EHOSTDOWN || rc == -ESHUTDOWN); tries++) {
        struct order order = {.number = new_number()}, reply = {0};
        rc = carom_invoke(client, ECHO, &order, sizeof order, &reply, sizeof reply, NULL,
                          CAROM_FOREVER);
        if (rc == 0)
            require(reply.number == order.number && value_of(&board->runs[order.number]) == 1);
    }
    return rc;
}

static void do_check(struct puppet *me, struct carom_client *client)
{
    struct carom_call *calls[SLOTS];
    me->result = call_once(client);
    if (me->result != 0)
        snprintf(me->text, sizeof me->text, "a call ends with %d (%s)", me->result,
                 carom_error_detail());
    for (uint32_t i = 0; i < SLOTS; i++)
        require(carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &calls[i]) == 0);
    for (uint32_t i = 0; i < SLOTS; i++)
        carom_call_end(calls[i]);
}

static void obey(struct puppet *me, struct carom_client *client)
{
    me->result = 0;
    switch (me->command) {
    case SUBMIT:
        do_submit(me, client);
        break;
    case SETTLE:
        do_settle(me);
        break;
    case NEXT:
        do_next(me, client);
        break;
    case CANCEL:
        for (uint32_t i = 0; i < me->count; i++)
            require(carom_call_cancel(mine[i]) == 0);
        break;
    case ABANDON:
        for (uint32_t i = 0; i < me->count; i++) {
            carom_call_end(mine[i]);
            mine[i] = NULL;
        }
        break;
    case STALE:
        fill_ring(client, 0);
        break;
    case WRAP:
        wrap_ring(client);
        break;
    case CHECK:
        do_check(me, client);
        break;
    case WORKERS: /* relaxed: a look */
        me->result = (int32_t)atomic_load_explicit(&client->directory->worker_count,
                                                   memory_order_relaxed);
        break;
    }
}

void client_body(struct puppet *me)
{
    struct carom_client *client = open_client();
    for (uint32_t done = 0;; done++) {
        set_to(&me->answered, done);
        while (value_of(&me->asked) == done)
            word_wait(&me->asked, done);
        obey(me, client);
    }
}
