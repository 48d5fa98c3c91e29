/* SPDX-License-Identifier: Apache-2.0
 *
 * client_ops.c - the operations of a client that is killed in the middle of them. */
#include "puppet.h"
#include "scene.h"

#include "client.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>

static struct carom_client *client;
static struct carom_call *call;
static uint32_t number;

/* ---------------------------------------------------------------- open, close */

static void open_it(void)
{
    struct carom_client_options options = {
        .size = sizeof options,
        .slots = SLOTS,
        .request_block_bytes = BLOCK_BYTES,
        .reply_block_bytes = BLOCK_BYTES,
        .no_spin = true,
    };
    marker();
    int rc = carom_client_open(SERVICE, CAROM_FOREVER, &options, &client);
    marker();
    require(rc == 0);
}

static void close_idle(void)
{
    client = open_client();
    marker();
    carom_client_close(client);
    marker();
}

static uint32_t wait_for_held(uint32_t before)
{
    uint32_t held;
    while ((held = value_of(&board->held)) == before)
        pause_briefly();
    return held;
}

static void run_one(void)
{
    uint32_t before = value_of(&board->held);
    client = open_client();
    call = submit_call(client, HOLD, CAROM_FOREVER, 0, &number);
    wait_for_held(before);
}

static void close_running(void)
{
    run_one();
    carom_call_end(call); /* abandoned */
    marker();
    carom_client_close(client);
    marker();
}

/* ---------------------------------------------------------------- begin */

static void begin_free(void)
{
    client = open_client();
    marker();
    carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &call);
    marker();
}

/* Every slot is in use; the one that comes back is that of a call that its worker finishes. */
static void begin_full(void)
{
    uint32_t before = value_of(&board->held);
    client = open_client();
    call = submit_call(client, HOLD, CAROM_FOREVER, 0, &number);
    wait_for_held(before);
    carom_call_end(call);
    for (uint32_t i = 1; i < SLOTS; i++)
        begin_call(client, ECHO, CAROM_FOREVER, 0, &number);
    marker();
    carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &call);
    marker();
}

/* The host is another one by now, and the client has noticed. */
static void begin_again(void)
{
    struct order order = {.number = new_number()}, reply;
    client = open_client();
    add_to(&board->arrived, 1);
    while (value_of(&board->finish) == 0)
        word_wait(&board->finish, 0);
    require(carom_invoke(client, ECHO, &order, sizeof order, &reply, sizeof reply, NULL,
                         CAROM_FOREVER) == -EHOSTDOWN);
    marker();
    int rc = carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &call);
    marker();
    require(rc == 0);
}

/* ---------------------------------------------------------------- submit */

static void submit_marked(void)
{
    marker();
    int rc = carom_call_submit(call, sizeof(struct order));
    marker();
    require(rc == 0);
}

static void submit_empty(void)
{
    client = open_client();
    call = begin_call(client, ECHO, CAROM_FOREVER, 0, &number);
    submit_marked();
}

/* Not the first of its length: the short path. */
static void submit_again(void)
{
    client = open_client();
    wrap_ring(client);
    call = submit_call(client, ECHO, CAROM_FOREVER, 0, &number);
    require(carom_call_wait(call) == 0);
    carom_call_end(call);
    call = begin_call(client, ECHO, CAROM_FOREVER, 0, &number);
    submit_marked();
}

static void submit_wrapping(void)
{
    client = open_client();
    wrap_ring(client);
    call = begin_call(client, ECHO, CAROM_FOREVER, 0, &number);
    submit_marked();
}

static void submit_notify(void)
{
    client = open_client();
    call = begin_call(client, ECHO, CAROM_FOREVER, CAROM_NOTIFY, &number);
    submit_marked();
}

static void submit_stale(void)
{
    client = open_client();
    call = begin_call(client, ECHO, CAROM_FOREVER, 0, &number);
    fill_ring(client, 0);
    submit_marked();
}

static void submit_carrying(void)
{
    uint32_t own;
    client = open_client();
    call = begin_call(client, ECHO, CAROM_FOREVER, 0, &own);
    fill_ring(client, 2);
    submit_marked();
}

static void *call_all_the_time(void *unused)
{
    (void)unused;
    for (uint32_t i = 0;; i++) {
        struct order order = {.number = NUMBERS + i % NUMBERS}, reply;
        set_to(&board->runs[order.number], 0);
        int rc = carom_invoke(client, ECHO, &order, sizeof order, &reply, sizeof reply, NULL,
                              CAROM_FOREVER);
        require(rc == 0 && reply.number == order.number);
        require(value_of(&board->runs[order.number]) == 1);
    }
    return NULL;
}

static void start_rival(void)
{
    pthread_t rival;
    require(pthread_create(&rival, NULL, call_all_the_time, NULL) == 0);
}

static void submit_rival(void)
{
    client = open_client();
    call = begin_call(client, ECHO, CAROM_FOREVER, 0, &number);
    start_rival();
    submit_marked();
}

static void end_rival(void)
{
    client = open_client();
    call = begin_call(client, ECHO, CAROM_FOREVER, 0, &number);
    start_rival();
    marker();
    carom_call_end(call);
    marker();
}

/* ---------------------------------------------------------------- wait, poll */

static void wait_marked(void)
{
    marker();
    int rc = carom_call_wait(call);
    marker();
    note_end(number, rc);
}

static void submit_and_settle(unsigned flags)
{
    client = open_client();
    call = submit_call(client, ECHO, CAROM_FOREVER, flags, &number);
    while (carom__call_is_pending(call, carom__lane_state(&client->lane, call->submission.slot)))
        pause_briefly();
}

static void wait_answered(void)
{
    submit_and_settle(0);
    wait_marked();
}

static void wait_asleep(void)
{
    run_one();
    wait_marked();
}

static void poll_marked(void)
{
    marker();
    carom_call_poll(call);
    marker();
}

static void poll_running(void)
{
    run_one();
    poll_marked();
}

static void poll_answered(void)
{
    submit_and_settle(0);
    poll_marked();
}

/* ---------------------------------------------------------------- cancel, end */

static void submit_one(void)
{
    client = open_client();
    call = submit_call(client, ECHO, CAROM_FOREVER, 0, &number);
}

static void cancel_marked(void)
{
    marker();
    carom_call_cancel(call);
    marker();
}

static void end_marked(void)
{
    marker();
    carom_call_end(call);
    marker();
}

static void cancel_waiting(void)
{
    submit_one();
    cancel_marked();
}

static void cancel_running(void)
{
    run_one();
    cancel_marked();
}

static void end_answered(void)
{
    submit_and_settle(0);
    note_end(number, carom_call_wait(call));
    end_marked();
}

static void end_waiting(void)
{
    submit_one();
    end_marked();
}

static void end_running(void)
{
    run_one();
    end_marked();
}

/* Beyond the budget: the client gives the request's memory back, and has a worker do the same with
 * the reply's, by a call of its own. */
static void end_large(void)
{
    struct order order = {.number = new_number()};
    number = order.number;
    client = open_client_with(2 * CAROM__KEEP_BYTES, 1);
    require(carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &call) == 0);
    memcpy(carom_call_request(call, NULL), &order, sizeof order);
    require(carom_call_submit(call, CAROM__KEEP_BYTES + 1) == 0);
    note_end(number, carom_call_wait(call));
    end_marked();
}

/* ---------------------------------------------------------------- next, invoke */

static void next_marked(void)
{
    struct carom_call *found = NULL;
    marker();
    int rc = carom_client_next(client, CAROM_FOREVER, &found);
    marker();
    require(rc == 0 && found == call);
    note_end(number, carom_call_poll(found));
}

static void next_answered(void)
{
    submit_and_settle(CAROM_NOTIFY);
    next_marked();
}

static void next_asleep(void)
{
    uint32_t before = value_of(&board->held);
    client = open_client();
    call = submit_call(client, HOLD, CAROM_FOREVER, CAROM_NOTIFY, &number);
    wait_for_held(before);
    next_marked();
}

static void invoke_once(void)
{
    struct order order, reply;
    client = open_client();
    order.number = number = new_number();
    marker();
    int rc = carom_invoke(client, ECHO, &order, sizeof order, &reply, sizeof reply, NULL,
                          CAROM_FOREVER);
    marker();
    note_end(number, rc);
}

/* ---------------------------------------------------------------- interference */

/* The worker becomes free, and takes and answers what it finds. */
static void let_worker_work(void)
{
    gate_open();
    await(worker_parked());
}

const struct scenario client_scenarios[] = {
    {.name = "client open, worker asleep", .body = open_it},
    {.name = "client open, worker busy", .body = open_it, .busy = true},
    {.name = "client close, idle", .body = close_idle},
    {.name = "client close, a call running", .body = close_running},
    {.name = "client begin, slots free", .body = begin_free},
    {.name = "client begin, every slot in use",
     .body = begin_full,
     .when = WHEN_ASLEEP,
     .event = gate_open},
    {.name = "client begin, connecting again", .body = begin_again, .exchange = true},
    {.name = "client submit, ring empty, worker asleep", .body = submit_empty},
    {.name = "client submit, ring empty, worker busy", .body = submit_empty, .busy = true},
    {.name = "client submit, short path, worker asleep", .body = submit_again},
    {.name = "client submit, short path, late host", .body = submit_again, .late = true},
    {.name = "client submit, wrapping", .body = submit_wrapping},
    {.name = "client submit, wrapping, late host", .body = submit_wrapping, .late = true},
    {.name = "client submit, notify", .body = submit_notify},
    {.name = "client submit, full of stale cells", .body = submit_stale, .busy = true},
    {.name = "client submit, full, calls carried on", .body = submit_carrying, .busy = true},
    {.name = "client submit, full, worker at it",
     .body = submit_carrying,
     .busy = true,
     .when = ANYWHERE,
     .event = let_worker_work},
    {.name = "client submit, another thread at it", .body = submit_rival, .rival = true},
    {.name = "client wait, reply there", .body = wait_answered},
    {.name = "client wait, asleep and woken",
     .body = wait_asleep,
     .when = WHEN_ASLEEP,
     .event = gate_open},
    {.name = "client wait, reply comes in between",
     .body = wait_asleep,
     .when = ANYWHERE,
     .event = let_worker_work},
    {.name = "client poll, running", .body = poll_running},
    {.name = "client poll, reply there", .body = poll_answered},
    {.name = "client cancel, waiting", .body = cancel_waiting, .busy = true},
    {.name = "client cancel, running", .body = cancel_running},
    {.name = "client cancel, claimed in between",
     .body = cancel_waiting,
     .busy = true,
     .when = ANYWHERE,
     .event = let_worker_work},
    {.name = "client end, answered", .body = end_answered},
    {.name = "client end, waiting", .body = end_waiting, .busy = true},
    {.name = "client end, running", .body = end_running},
    {.name = "client end, done in between",
     .body = end_running,
     .when = ANYWHERE,
     .event = let_worker_work},
    {.name = "client end, memory given back", .body = end_large},
    {.name = "client end, another thread at it", .body = end_rival, .rival = true},
    {.name = "client next, reply there", .body = next_answered},
    {.name = "client next, asleep and woken",
     .body = next_asleep,
     .when = WHEN_ASLEEP,
     .event = gate_open},
    {.name = "client next, reply comes in between",
     .body = next_asleep,
     .when = ANYWHERE,
     .event = let_worker_work},
    {.name = "client invoke, worker asleep", .body = invoke_once},
    {.name = "client invoke, worker becomes free",
     .body = invoke_once,
     .busy = true,
     .when = WHEN_ASLEEP,
     .event = gate_open},
    {.name = NULL},
};
