/* SPDX-License-Identifier: Apache-2.0
 *
 * worker_ops.c - the operations of a worker that is killed in the middle of them. */
#include "puppet.h"
#include "scene.h"

#include "layout.h"

#include <errno.h>

static struct carom_worker *worker;
static struct carom_request *request;

/* ---------------------------------------------------------------- open, close */

static void open_it(void)
{
    struct carom_worker_options options = {.size = sizeof options, .no_spin = true};
    marker();
    int rc = carom_worker_open(SERVICE, methods, METHODS, CAROM_FOREVER, &options, &worker);
    marker();
    require(rc == 0);
}

static void close_idle(void)
{
    worker = open_worker();
    marker();
    carom_worker_close(worker);
    marker();
}

static void take_one(void)
{
    worker = open_worker();
    require(carom_worker_take(worker, CAROM_FOREVER, &request) == 0);
    struct order order = note_run(request);
    memcpy(carom_request_reply_block(request, NULL), &order, sizeof order);
}

static void close_unfinished(void)
{
    take_one();
    marker();
    carom_worker_close(worker);
    marker();
}

/* ---------------------------------------------------------------- take, poll */

static void take_marked(void)
{
    worker = open_worker();
    marker();
    int rc = carom_worker_take(worker, CAROM_FOREVER, &request);
    marker();
    require(rc == 0);
}

static void poll_marked(void)
{
    worker = open_worker();
    marker();
    carom_worker_poll(worker, 0, &request);
    marker();
}

static void serve_two(void)
{
    worker = open_worker();
    marker();
    for (int i = 0; i < 2 && carom_worker_poll(worker, 0, &request) == 0; i++)
        serve(request);
    marker();
}

static void take_stopped(void)
{
    worker = open_worker();
    carom_worker_stop(worker);
    marker();
    carom_worker_take(worker, CAROM_FOREVER, &request);
    marker();
}

static void stop_it(void)
{
    worker = open_worker();
    marker();
    carom_worker_stop(worker);
    marker();
}

/* ---------------------------------------------------------------- reply, fail, detach */

static void reply_marked(void)
{
    take_one();
    marker();
    int rc = carom_request_reply(request, sizeof(struct order));
    marker();
    require(rc == 0);
}

static void look_marked(void)
{
    size_t bytes;
    struct carom_peer peer;
    take_one();
    marker();
    carom_request_data(request, &bytes);
    carom_request_reply_block(request, &bytes);
    carom_request_cancelled(request);
    carom_request_client(request, &peer);
    marker();
}

static void fail_marked(void)
{
    take_one();
    marker();
    carom_request_fail(request, CAROM_FAILED_PRECONDITION, "Type", "message", "traceback");
    marker();
}

static void detach_both(void)
{
    take_one();
    marker();
    carom_request_detach(request, CAROM_REQUEST_BLOCK, sizeof(struct order));
    carom_request_detach(request, CAROM_REPLY_BLOCK, sizeof(struct order));
    carom_request_reply(request, sizeof(struct order));
    marker();
}

/* ---------------------------------------------------------------- the callers */

static void one_call(void)
{
    ask(CALLER, SUBMIT, 1, ECHO, 0);
}

static void three_calls(void)
{
    ask(CALLER, SUBMIT, 3, ECHO, 0);
}

static void two_calls(void)
{
    ask(CALLER, SUBMIT, 2, ECHO, 0);
}

static void wrap(void)
{
    ask(CALLER, WRAP, 0, 0, 0);
}

static void call_behind_stale(void)
{
    ask(CALLER, STALE, 0, 0, 0);
    ask(CALLER, SUBMIT, 1, ECHO, 0);
}

static void call_that_expires(void)
{
    ask(CALLER, SUBMIT, 1, ECHO, 1);
    const double end_s = proof_seconds() + 0.003;
    await(proof_seconds() > end_s);
}

static void call_with_notify(void)
{
    ask(CALLER, SUBMIT, 1, ECHO, -1);
}

static void caller_waits(void)
{
    tell_caller(SETTLE);
    if (!await((caller_state(0) & CAROM__WAITER) != 0 && caller_asleep()))
        bad("the client does not sleep");
}

static void caller_awaits_any(void)
{
    tell_caller(NEXT);
    if (!await(caller_asleep()))
        bad("the client does not sleep");
}

static void caller_leaves(void)
{
    ask(CALLER, ABANDON, 0, 0, 0);
}

static void caller_cancels(void)
{
    ask(CALLER, CANCEL, 0, 0, 0);
}

/* ---------------------------------------------------------------- interference */

static void let_survivor_work(void)
{
    gate_open();
    await(worker_parked());
}

/* One of the two workers is woken for it. */
static void call_comes(void)
{
    ask(CALLER, SUBMIT, 1, ECHO, 0);
}

static void wait_comes(void)
{
    tell_caller(SETTLE);
    const uint64_t any = CAROM__WAITER;
    await((caller_state(0) & any) != 0 || carom__state_phase(caller_state(0)) == CAROM__DONE);
}

const struct scenario worker_scenarios[] = {
    {.name = "worker open, nothing to do", .body = open_it},
    {.name = "worker open, calls waiting", .body = open_it, .busy = true, .before = three_calls},
    {.name = "worker close, idle", .body = close_idle},
    {.name = "worker close, late host", .body = close_idle, .late = true},
    {.name = "worker close, request unfinished",
     .body = close_unfinished,
     .busy = true,
     .before = one_call,
     .answer = CAROM_INTERNAL},
    {.name = "worker take, call there", .body = take_marked, .busy = true, .before = one_call},
    {.name = "worker take, call there, client asleep",
     .body = take_marked,
     .busy = true,
     .before = one_call,
     .ready = caller_waits},
    {.name = "worker take, wrapping",
     .body = serve_two,
     .first = wrap,
     .busy = true,
     .before = two_calls},
    {.name = "worker take, behind stale cells",
     .body = take_marked,
     .busy = true,
     .before = call_behind_stale},
    {.name = "worker take, asleep and woken",
     .body = take_marked,
     .when = WHEN_ASLEEP,
     .event = call_comes},
    {.name = "worker take, asleep and woken, late host",
     .body = take_marked,
     .when = WHEN_ASLEEP,
     .event = call_comes,
     .late = true},
    {.name = "worker take, call comes in between",
     .body = take_marked,
     .when = ANYWHERE,
     .event = call_comes},
    {.name = "worker take, survivor at it",
     .body = serve_two,
     .busy = true,
     .before = three_calls,
     .when = ANYWHERE,
     .event = let_survivor_work},
    {.name = "worker take, told to stop", .body = take_stopped},
    {.name = "worker stop", .body = stop_it},
    {.name = "worker poll, call there", .body = poll_marked, .busy = true, .before = one_call},
    {.name = "worker poll, call expired",
     .body = poll_marked,
     .busy = true,
     .before = call_that_expires,
     .answer = -ETIMEDOUT,
     .waiting = -ETIMEDOUT},
    {.name = "worker poll, nothing there", .body = poll_marked},
    {.name = "worker request data, reply block, cancelled",
     .body = look_marked,
     .busy = true,
     .before = one_call},
    {.name = "worker reply, client awake", .body = reply_marked, .busy = true, .before = one_call},
    {.name = "worker reply, client asleep",
     .body = reply_marked,
     .busy = true,
     .before = one_call,
     .ready = caller_waits},
    {.name = "worker reply, client falls asleep in between",
     .body = reply_marked,
     .busy = true,
     .before = one_call,
     .when = ANYWHERE,
     .event = wait_comes},
    {.name = "worker reply, notify, client asleep",
     .body = reply_marked,
     .busy = true,
     .before = call_with_notify,
     .ready = caller_awaits_any},
    {.name = "worker reply, abandoned",
     .body = reply_marked,
     .busy = true,
     .before = one_call,
     .ready = caller_leaves},
    {.name = "worker reply, abandoned in between",
     .body = reply_marked,
     .busy = true,
     .before = one_call,
     .when = ANYWHERE,
     .event = caller_leaves},
    {.name = "worker reply, cancelled",
     .body = reply_marked,
     .busy = true,
     .before = one_call,
     .ready = caller_cancels},
    {.name = "worker fail, client asleep",
     .body = fail_marked,
     .busy = true,
     .before = one_call,
     .ready = caller_waits,
     .answer = CAROM_FAILED_PRECONDITION},
    {.name = "worker detach and reply, client asleep",
     .body = detach_both,
     .busy = true,
     .before = one_call,
     .ready = caller_waits},
    {.name = NULL},
};
