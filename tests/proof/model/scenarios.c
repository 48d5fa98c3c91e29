/* SPDX-License-Identifier: Apache-2.0
 *
 * scenarios.c - what the suites let happen. See scenarios.h. */
#include "scenarios.h"

#include "arena.h"
#include "kernel.h"
#include "tasks.h"

#include <errno.h>

#define FOREVER (-1)

/* ---------------------------------------------------------------- scripts of clients */

static void no_call(struct carom_client *client)
{
    (void)client;
}

static void one_call(struct carom_client *client)
{
    world_call(client, 0);
}

/* The second one uses the slot of the first. */
static void two_calls(struct carom_client *client)
{
    world_call(client, 0);
    world_call(client, 1);
}

static void call_of_client_2(struct carom_client *client)
{
    world_call(client, 6);
}

static void two_calls_of_client_2(struct carom_client *client)
{
    world_call(client, 6);
    world_call(client, 7);
}

static void call_of_thread(struct carom_client *client)
{
    world_call(client, 3);
}

static void two_in_flight(struct carom_client *client)
{
    struct carom_call *first = world_begin(client, 0, 0, FOREVER);
    struct carom_call *second = world_begin(client, 1, 0, FOREVER);
    if (first != NULL && world_submit(first, 0) == 0 && second != NULL &&
        world_submit(second, 1) == 0) {
        world_outcome(second, 1, carom_call_wait(second));
        world_outcome(first, 0, carom_call_wait(first));
    }
    carom_call_end(first);
    carom_call_end(second);
}

static void notified(struct carom_client *client)
{
    struct carom_call *call = world_begin(client, 0, CAROM_NOTIFY, FOREVER), *done = NULL;
    if (call == NULL || world_submit(call, 0) < 0)
        return;
    int rc = carom_client_next(client, FOREVER, &done);
    if (rc == 0 && done != call)
        model_fail("carom_client_next returns another call");
    if (rc == 0)
        world_outcome(call, 0, carom_call_poll(call));
    else if (!process_is_dead(HOST))
        model_fail("carom_client_next: %d %s", rc, carom_error_detail());
    carom_call_end(call);
}

/* Ended without having been waited for; the next call needs its slot. */
static void abandoned(struct carom_client *client)
{
    struct carom_call *call = world_begin(client, 0, 0, FOREVER);
    if (call == NULL || world_submit(call, 0) < 0)
        return;
    carom_call_end(call);
    world_call(client, 1);
    carom__client_collect(client);
}

static void waits(struct carom_client *client)
{
    struct carom_call *call = world_begin(client, 0, 0, FOREVER);
    if (call != NULL && world_submit(call, 0) == 0)
        world_outcome(call, 0, carom_call_wait(call));
    world_await_signal(); /* a call may not be cancelled once it is ended */
    carom_call_end(call);
    carom__client_collect(client);
}

/* There is one slot, so it is that of the call. */
static void cancels(struct carom_client *client)
{
    int rc = carom_call_cancel(&client->calls[0]);
    if (rc < 0 && rc != -EINVAL)
        model_fail("carom_call_cancel: %d", rc);
    world_signal();
}

static void waits_and_ends(struct carom_client *client)
{
    world_call(client, 0);
    carom__client_collect(client);
}

/* Its deadline passes at any moment, or not. */
static void expires(struct carom_client *client)
{
    struct carom_call *call = world_begin(client, 0, 0, INT64_C(1000000));
    if (call == NULL || world_submit(call, 0) < 0)
        return;
    world_outcome(call, 0, carom_call_wait(call));
    carom_call_end(call);
    carom__client_collect(client);
    world_call(client, 1);
    carom__client_collect(client);
}

/* Fills the ring with cells of calls that were cancelled, then makes one that needs room. */
static void fills_the_ring(struct carom_client *client)
{
    for (unsigned number = 0; number < 4; number++) {
        struct carom_call *call = world_begin(client, number, 0, FOREVER);
        if (call == NULL || world_submit(call, number) < 0)
            return;
        if (carom_call_cancel(call) < 0)
            model_fail("carom_call_cancel fails");
        world_outcome(call, number, carom_call_wait(call));
        carom_call_end(call);
        carom__client_collect(client);
    }
    world_call(client, 4);
}

/* More bytes in use than the budget: a worker gives memory back in a call of its own. */
static void trims(struct carom_client *client)
{
    arena_touch(&client->calls[0], sizeof client->calls[0]);
    arena_touch(&client->resident_bytes, sizeof client->resident_bytes);
    client->calls[0].reply_extent = CAROM__KEEP_BYTES + 4096;
    client->resident_bytes = 2 * CAROM__KEEP_BYTES;
    world_call(client, 0);
    world_call(client, 1);
    carom__client_collect(client);
}

static void connects_and_calls(void)
{
    world_operation("connect");
    struct carom_client *client = world_connect(1);
    if (client == NULL) {
        if (!process_is_dead(HOST))
            model_fail("a client cannot connect: %s", carom_error_detail());
        return;
    }
    if (carom_client_method(client, "echo") == 0)
        world_call(client, 6);
    carom_client_close(client);
    arena_touch(world->client_closed, sizeof world->client_closed);
    world->client_closed[1] = true;
}

/* ---------------------------------------------------------------- scripts of the host's keeper */

static void stops_the_service(void)
{
    carom_host_stop(world->host);
}

static void dismisses_worker(void)
{
    if (carom_host_dismiss(world->host, 100 + WORKER) < 0)
        model_fail("carom_host_dismiss: %s", carom_error_detail());
}

/* ---------------------------------------------------------------- scripts of workers */

static void serves_one_and_leaves(struct carom_worker *worker)
{
    world_serve_one(worker);
}

/* ---------------------------------------------------------------- among hostile peers */

/* Calls whose outcome may be anything, but which must end. */
static void endures(struct carom_client *client)
{
    for (unsigned number = 6; number < 8; number++) {
        struct carom_call *call = world_begin(client, number, number == 7 ? CAROM_NOTIFY : 0,
                                              INT64_C(10000000));
        struct carom_call *done = NULL;
        struct carom_error error;
        if (call == NULL)
            return;
        if (world_submit(call, number) == 0) {
            if (number == 7)
                carom_client_next(client, INT64_C(20000000), &done);
            int outcome = carom_call_wait(call);
            world_outcome(call, number, outcome);
            if (outcome > 0)
                carom_call_error(call, &error);
        }
        carom_call_end(call);
        carom__client_collect(client);
    }
}

static void misbehaves(struct carom_client *client)
{
    for (unsigned number = 0; number < 2; number++) {
        struct carom_call *call = world_begin(client, number, 0, INT64_C(10000000));
        if (call == NULL)
            return;
        if (world_submit(call, number) == 0)
            world_outcome(call, number, carom_call_wait(call));
        carom_call_end(call);
    }
}

/* ---------------------------------------------------------------- set-up */

#define SET_UP(function, ...)                                                                      \
    static void function(void)                                                                     \
    {                                                                                              \
        world_make(&(struct world_options){__VA_ARGS__});                                          \
    }

SET_UP(make_call, .slots = 1, .workers = 1, .client = two_calls)
SET_UP(make_in_flight, .slots = 2, .workers = 1, .client = two_in_flight)
SET_UP(make_notified, .slots = 1, .workers = 1, .client = notified)
SET_UP(make_abandoned, .slots = 1, .workers = 1, .client = abandoned)
SET_UP(make_cancelled, .slots = 1, .workers = 1, .client = waits, .thread = cancels)
SET_UP(make_expired, .slots = 1, .workers = 1, .client = expires)
SET_UP(make_filled, .slots = 1, .workers = 1, .client = fills_the_ring)
SET_UP(make_trimmed, .slots = 1, .workers = 1, .client = trims, .resident_bytes = 1)
SET_UP(make_two_workers, .slots = 2, .workers = 2, .client = two_in_flight)
SET_UP(make_two_clients, .slots = 1, .workers = 1, .client = one_call, .client_2 = call_of_client_2)
SET_UP(make_two_threads, .slots = 2, .workers = 1, .client = one_call, .thread = call_of_thread)
SET_UP(make_one_slot, .slots = 1, .workers = 1, .client = waits_and_ends, .thread = call_of_thread)
SET_UP(make_connecting, .slots = 1, .workers = 1, .client = one_call,
       .connecting = connects_and_calls)
SET_UP(make_leaving, .slots = 1, .workers = 2, .client = two_calls, .worker = serves_one_and_leaves)
SET_UP(make_closing, .slots = 1, .workers = 1, .client = two_calls, .client_2 = call_of_client_2)
SET_UP(make_dismissed, .slots = 1, .workers = 2, .client = two_calls, .host = dismisses_worker,
       .worker_ends = true)
SET_UP(make_joining, .slots = 1, .workers = 1, .client = one_call, .late = true)
SET_UP(make_told_to_stop, .slots = 1, .workers = 2, .client = one_call,
       .stopper = carom_worker_stop, .worker_ends = true)
SET_UP(make_stopping, .slots = 1, .workers = 1, .client = two_calls, .host = stops_the_service,
       .worker_ends = true)
SET_UP(make_call_2, .slots = 1, .workers = 2, .client = two_calls)
SET_UP(make_notified_2, .slots = 1, .workers = 2, .client = notified)
SET_UP(make_abandoned_2, .slots = 1, .workers = 2, .client = abandoned)
SET_UP(make_cancelled_2, .slots = 1, .workers = 2, .client = waits, .thread = cancels)
SET_UP(make_expired_2, .slots = 1, .workers = 2, .client = expires)
SET_UP(make_filled_2, .slots = 1, .workers = 2, .client = fills_the_ring)
SET_UP(make_trimmed_2, .slots = 1, .workers = 2, .client = trims, .resident_bytes = 1)
SET_UP(make_connecting_2, .slots = 1, .workers = 2, .client = one_call,
       .connecting = connects_and_calls)
SET_UP(make_threads_and_client, .slots = 1, .workers = 1, .client = one_call,
       .thread = call_of_thread, .client_2 = call_of_client_2)
SET_UP(make_closing_2, .slots = 1, .workers = 2, .client = one_call, .client_2 = call_of_client_2)
/* Workers look at the first lane also without a ready bit: it was their last. */
SET_UP(make_other_lane, .slots = 1, .workers = 2, .client = no_call, .client_2 = call_of_client_2)
SET_UP(make_recovered, .slots = 1, .workers = 2, .client = two_calls, .recoverer = true)
SET_UP(make_repeated, .slots = 1, .workers = 2, .client = one_call, .idempotent = true)

SET_UP(make_hostile_client, .slots = 1, .workers = 1, .client = misbehaves,
       .client_2 = two_calls_of_client_2, .hostile = true)
SET_UP(make_hostile_clients, .slots = 2, .workers = 2, .client = misbehaves,
       .client_2 = two_calls_of_client_2, .hostile = true)
SET_UP(make_hostile_worker, .slots = 1, .workers = 1, .client = no_call, .client_2 = endures,
       .hostile = true)
SET_UP(make_hostile_workers, .slots = 2, .workers = 2, .client = no_call, .client_2 = endures,
       .hostile = true)

#define ALL MODEL_UNLIMITED

/* Two that have something to do: exhaustive. More: so many preemptions. */
const struct scenario scenarios[] = {
    {{"a call after another in the same slot", make_call, world_check}, 0, ALL, ALL},
    {{"two calls in flight", make_in_flight, world_check}, 0, ALL, ALL},
    {{"a call with notification", make_notified, world_check}, 0, ALL, ALL},
    {{"an abandoned call and the next in its slot", make_abandoned, world_check}, 0, 3, ALL},
    {{"a call that another thread cancels", make_cancelled, world_check}, 0, 2, ALL},
    {{"a call that expires at any moment", make_expired, world_check}, 1, 2, ALL},
    {{"a ring full of cancelled calls", make_filled, world_check}, 0, 2, ALL},
    {{"memory that is given back", make_trimmed, world_check}, 0, 3, ALL},
    {{"two workers and one client", make_two_workers, world_check}, 0, 1, 3},
    {{"two clients and one worker", make_two_clients, world_check}, 0, 1, 3},
    {{"two threads of one client", make_two_threads, world_check}, 0, 1, 3},
    {{"two threads and one slot", make_one_slot, world_check}, 0, 1, 3},
    {{"a client that connects, calls and closes", make_connecting, world_check}, 0, 1, 2},
    {{"a worker that joins while its first call waits", make_joining, world_check}, 0, 2, 4},
    {{"a worker that leaves by itself", make_leaving, world_check}, 0, 1, 3},
    {{"a worker that is dismissed", make_dismissed, world_check}, 0, 1, 3},
    {{"a worker that is told to stop", make_told_to_stop, world_check}, 0, 1, 3},
    {{"a service that stops", make_stopping, world_check}, 0, 1, 2},
    {{"an idempotent call", make_repeated, world_check}, 0, 1, 3},
    {{"a lane that closes", make_closing, world_check}, 0, 1, 3},
};
const unsigned scenario_count = sizeof scenarios / sizeof scenarios[0];

#define BIT(process) (1u << (process))
#define EVERYBODY (BIT(HOST) | BIT(CLIENT) | BIT(WORKER))

#define DEADLY(name, set_up, ...)                                                                  \
    {                                                                                              \
        {name, set_up, world_check}, __VA_ARGS__                                                   \
    }

const struct deadly_scenario deadly_scenarios[] = {
    DEADLY("a worker dies in a call", make_call_2, BIT(WORKER), 1, 0, 0, 1),
    DEADLY("a worker dies in a call of another lane", make_other_lane, BIT(WORKER), 1, 0, 0, 1),
    DEADLY("a worker dies, two calls in flight", make_two_workers, BIT(WORKER), 1, 0, 0, 1),
    DEADLY("a worker dies in a call with notification", make_notified_2, BIT(WORKER), 1, 0, 0, 1),
    DEADLY("a worker dies in an abandoned call", make_abandoned_2, BIT(WORKER), 1, 0, 0, 1),
    DEADLY("a worker dies in a call that another thread cancels", make_cancelled_2, BIT(WORKER), 1,
           0, 0, 1),
    DEADLY("a worker dies in a call that expires", make_expired_2, BIT(WORKER), 1, 1, 0, 1),
    DEADLY("a worker dies at a ring full of cancelled calls", make_filled_2, BIT(WORKER), 1, 0, 0,
           1),
    DEADLY("a worker dies giving memory back", make_trimmed_2, BIT(WORKER), 1, 0, 0, 1),
    DEADLY("a worker dies in an idempotent call", make_repeated, BIT(WORKER), 1, 0, 0, 1),
    DEADLY("a worker dies while it leaves", make_leaving, BIT(WORKER), 1, 0, 0, 1),
    DEADLY("a worker dies while a client connects", make_connecting_2, BIT(WORKER), 1, 0, 0, 1),
    DEADLY("a client dies in a call", make_closing, BIT(CLIENT), 1, 0, 0, 1),
    DEADLY("a client with two threads dies", make_threads_and_client, BIT(CLIENT), 1, 0, 0, 1),
    DEADLY("a client dies while it connects, calls and closes", make_connecting, BIT(CLIENT_2), 1,
           0, 0, 1),
    DEADLY("a client and a worker die", make_closing_2, BIT(CLIENT) | BIT(WORKER), 2, 0, 0, 1),
    DEADLY("the host dies after a worker", make_call_2, BIT(HOST) | BIT(WORKER), 2, 0, 0, 1),
    DEADLY("the host dies while a client connects", make_connecting, BIT(HOST), 1, 0, 0, 1),
    DEADLY("the host dies while it stops", make_stopping, BIT(HOST), 1, 0, 0, 1),
    DEADLY("the recoverer dies and recovery runs again", make_recovered, BIT(WORKER), 2, 0, 0, 1),
    DEADLY("anybody dies, twice", make_closing_2, EVERYBODY, 2, 0, 0, 0),
};
const unsigned deadly_scenario_count = sizeof deadly_scenarios / sizeof deadly_scenarios[0];

const struct hostile_scenario hostile_scenarios[] = {
    {{"a hostile client", make_hostile_client, world_check_honest}, BIT(CLIENT), 500},
    {{"a hostile client with two slots", make_hostile_clients, world_check_honest},
     BIT(CLIENT),
     500},
    {{"a hostile worker", make_hostile_worker, world_check_alive}, BIT(WORKER), 36000},
    {{"a hostile worker beside another", make_hostile_workers, world_check_alive},
     BIT(WORKER),
     36000},
};
const unsigned hostile_scenario_count = sizeof hostile_scenarios / sizeof hostile_scenarios[0];
