/* SPDX-License-Identifier: Apache-2.0
 *
 * scripts_worker.c - what a worker does, by hand on one thread: joins, learns of lanes, takes,
 * replies, fails, detaches, gives memory back, parks, leaves. The calls are made by the same
 * thread, with nothing failing. */
#include "script.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BIG_BYTES (2u << 20)

static struct carom_client *client;
static struct carom_worker *worker;

static void begin_host(void)
{
    world_host_open(NULL, NOBODY);
}

static void end_host(void)
{
    world_host_close();
}

static void open_worker(void)
{
    if (carom_worker_open(SERVICE, world_methods, METHODS - 1, SECOND, NULL, &worker) != 0)
        worker = NULL;
}

static void begin_worker(void)
{
    begin_host();
    open_worker();
    client = script_client_open();
}

static void end_worker(void)
{
    carom_client_close(client);
    carom_worker_close(worker);
    end_host();
}

/* ---------------------------------------------------------------- one call */

/* A call of the client's, submitted; NULL when its host has disconnected it. */
static struct carom_call *submitted(struct run *run, struct carom_client *caller, size_t bytes)
{
    struct carom_call *call = NULL;
    int method = carom_client_method(caller, "echo");
    if (method < 0 || carom_call_begin(caller, method, 5 * SECOND, 0, &call) != 0) {
        broken(run, "no call: %s", carom_error_detail());
        return NULL;
    }
    memset(carom_call_request(call, NULL), 'r', bytes);
    carom_call_submit(call, bytes);
    return call;
}

static struct carom_request *taken(struct run *run)
{
    struct carom_request *request = NULL;
    int rc;
    do {
        rc = TRY_UNLESS(run, -EINTR, carom_worker_take(worker, SECOND / 2, &request));
    } while (rc == -EINTR);
    return rc == 0 ? request : NULL;
}

static void ended(struct run *run, struct carom_call *call, int expected)
{
    int rc = carom_call_wait(call);
    if (rc != expected)
        broken(run, "the caller got %d instead of %d: %s", rc, expected, carom_error_detail());
    carom_call_end(call);
}

static void echo_request(struct run *run, struct carom_request *request, size_t bytes)
{
    size_t length = 0, capacity = 0;
    const char *data = carom_request_data(request, &length);
    char *reply = carom_request_reply_block(request, &capacity);
    if (length != bytes || (length > 0 && (data[0] != 'r' || data[length - 1] != 'r')))
        broken(run, "the request has %zu bytes", length);
    memcpy(reply, data, length);
    TRY(run, carom_request_reply(request, length));
}

/* The worker could not map the lane: its client hears why. */
static void not_taken(struct run *run, struct carom_call *call)
{
    int rc = carom_call_wait(call);
    if (rc == -EHOSTDOWN && strstr(carom_error_detail(), "cannot map this client's lane") != NULL) {
        run->rc = rc;
        snprintf(run->step, sizeof run->step, "carom_call_wait");
        snprintf(run->detail, sizeof run->detail, "%s", carom_error_detail());
    } else {
        broken(run, "nobody took the call: %d, %s", rc, carom_error_detail());
    }
    carom_call_end(call);
}

static void take_one(struct run *run, struct carom_client *caller, size_t bytes)
{
    struct carom_call *call = submitted(run, caller, bytes);
    if (call == NULL)
        return;
    struct carom_request *request = taken(run);
    if (request != NULL)
        echo_request(run, request, bytes);
    if (request != NULL)
        ended(run, call, CAROM_OK);
    else
        not_taken(run, call);
}

static void take_small(struct run *run)
{
    take_one(run, client, 10);
}

static void take_and_fail(struct run *run)
{
    struct carom_call *call = submitted(run, client, 1);
    struct carom_request *request = call != NULL ? taken(run) : NULL;
    if (request != NULL) {
        DO(carom_request_fail(request, CAROM_NOT_FOUND, "T", "m", NULL));
        ended(run, call, CAROM_NOT_FOUND);
    } else {
        carom_call_end(call);
    }
}

/* Beyond what the client keeps: the worker gives the reply's pages back when it takes next. */
static void take_big(struct run *run)
{
    struct carom_request *request;
    take_one(run, client, BIG_BYTES);
    TRY_UNLESS(run, -EAGAIN, carom_worker_poll(worker, 0, &request));
    take_one(run, client, BIG_BYTES);
    TRY_UNLESS(run, -EAGAIN, carom_worker_poll(worker, 0, &request));
}

static void park(struct run *run)
{
    struct carom_request *request;
    int rc = TRY_UNLESS(run, -ETIMEDOUT, carom_worker_take(worker, MILLISECOND, &request));
    if (rc == 0)
        broken(run, "a call of nobody");
}

/* ---------------------------------------------------------------- detaching */

static void detach(struct run *run, enum carom_block which)
{
    struct carom_call *call = submitted(run, client, 5000);
    struct carom_request *request = call != NULL ? taken(run) : NULL;
    if (request == NULL) {
        carom_call_end(call);
        return;
    }
    size_t length;
    char *kept = which == CAROM_REQUEST_BLOCK
                     ? (char *)(uintptr_t)carom_request_data(request, &length)
                     : carom_request_reply_block(request, NULL);
    if (which == CAROM_REPLY_BLOCK)
        memset(kept, 'k', 5000);
    int rc = TRY(run, carom_request_detach(request, which, 5000));
    if (rc == 0 && kept[4999] != (which == CAROM_REQUEST_BLOCK ? 'r' : 'k'))
        broken(run, "what was detached is lost");
    echo_request(run, request, 5000);
    ended(run, call, CAROM_OK);
    take_one(run, client, 6000); /* the block is where it was, or elsewhere, and whole */
    if (rc == 0 && kept[4999] != (which == CAROM_REQUEST_BLOCK ? 'r' : 'k'))
        broken(run, "what was detached has changed");
    if (rc == 0)
        DO(carom_detached_free(kept, 5000));
}

static void detach_request(struct run *run)
{
    detach(run, CAROM_REQUEST_BLOCK);
}

static void detach_reply(struct run *run)
{
    detach(run, CAROM_REPLY_BLOCK);
}

/* ---------------------------------------------------------------- joining and leaving */

static void join_and_leave(struct run *run)
{
    struct carom_client *caller = script_client_open();
    worker = NULL;
    int rc = TRY(run,
                 carom_worker_open(SERVICE, world_methods, METHODS - 1, SECOND, NULL, &worker));
    if (rc < 0 && worker != NULL)
        broken(run, "a worker although it failed");
    if (rc == 0)
        take_one(run, caller, 10);
    DO(carom_worker_close(worker));
    carom_client_close(caller);
}

/* A lane comes while the worker is there, and goes. */
static void lane_comes_and_goes(struct run *run)
{
    struct carom_request *request;
    struct carom_client *caller = script_client_open();
    TRY_UNLESS(run, -EAGAIN, carom_worker_poll(worker, 0, &request));
    take_one(run, caller, 10);
    carom_client_close(caller);
    if (!world_await(1, 1))
        broken(run, "the client is still there");
    TRY_UNLESS(run, -EAGAIN, carom_worker_poll(worker, 0, &request));
    carom_worker_poll(worker, 0, &request); /* what failed before is made up for */
}

static void stop_worker(struct run *run)
{
    struct carom_request *request;
    worker = NULL;
    open_worker();
    if (worker == NULL) {
        broken(run, "no worker: %s", carom_error_detail());
        return;
    }
    DO(carom_worker_stop(worker));
    int rc = TRY_UNLESS(run, -ESHUTDOWN, carom_worker_take(worker, SECOND, &request));
    if (rc == 0)
        broken(run, "a call although it was stopped");
    carom_worker_close(worker);
}

/* It is told to leave, or the host stops: it hears of it, whatever fails. */
static void host_stops(struct run *run)
{
    struct carom_request *request;
    begin_host();
    worker = NULL;
    open_worker();
    world_host_close();
    int rc = -EINTR;
    while (rc == -EINTR)
        rc = TRY_UNLESS(run, -ESHUTDOWN, carom_worker_take(worker, SECOND, &request));
    if (rc == 0)
        broken(run, "a call of nobody");
    carom_worker_close(worker);
}

#define WITH_HOST .begin = begin_host, .end = end_host, .role = OPERATOR
#define WITH_WORKER .begin = begin_worker, .end = end_worker, .role = OPERATOR

const struct script worker_scripts[] = {
    {"worker joins", WITH_HOST, .run = join_and_leave},
    {"worker joins without pidfd", WITH_HOST, .run = join_and_leave,
     .lacks = {{"pidfd_open", ENOSYS}}},
    {"worker takes", WITH_WORKER, .run = take_small},
    {"worker fails a call", WITH_WORKER, .run = take_and_fail},
    {"worker takes 2 MiB", WITH_WORKER, .run = take_big},
    {"worker parks", WITH_WORKER, .run = park},
    {"worker detaches a request", WITH_WORKER, .run = detach_request},
    {"worker detaches a reply", WITH_WORKER, .run = detach_reply},
    {"worker learns of a lane", WITH_WORKER, .run = lane_comes_and_goes},
    {"worker is stopped", WITH_HOST, .run = stop_worker},
    {"worker hears its host stop", .run = host_stops, .role = OPERATOR},
    {0},
};
