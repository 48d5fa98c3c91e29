/* SPDX-License-Identifier: Apache-2.0
 *
 * host_ops.c - what a host is killed in the middle of: opening, letting peers in, burying them,
 * closing. */
#include "host_scene.h"
#include "puppet.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

static struct carom_host *host;

/* ---------------------------------------------------------------- the host */

static void open_it(void)
{
    struct carom_host_options options = {
        .size = sizeof options, .max_clients = 6, .max_workers = 4};
    marker();
    int rc = carom_host_open(SERVICE, &options, &host);
    marker();
    require(rc == 0);
}

static void run_it(void)
{
    require(signal(SIGUSR1, subject_mark) != SIG_ERR);
    host = open_host();
    add_to(&board->up, 1);
    carom_host_run(host);
}

static void mark_and_stop(int signal)
{
    subject_mark(signal);
    carom_host_stop(host);
}

static void stop_it(void)
{
    require(signal(SIGUSR1, mark_and_stop) != SIG_ERR);
    host = open_host();
    add_to(&board->up, 1);
    carom_host_run(host);
    carom_host_close(host);
    marker();
}

/* ---------------------------------------------------------------- peers */

/* A client comes, and makes a call when the host is dead: on the next one. */
static void client_peer(struct puppet *me)
{
    (void)me;
    uint32_t gate = board->wanted;
    struct carom_client *client = open_client();
    add_to(&board->arrived, 1);
    gate_pass(gate);
    for (int rc = -EHOSTDOWN; rc != 0;) {
        struct order order = {.number = new_number()}, reply;
        rc = carom_invoke(client, ECHO, &order, sizeof order, &reply, sizeof reply, NULL,
                          CAROM_FOREVER);
        require(rc == 0 || rc == -EHOSTDOWN);
    }
    carom_client_close(client);
}

static void worker_peer(struct puppet *me)
{
    (void)me;
    uint32_t gate = board->wanted;
    struct carom_worker *worker = open_worker();
    add_to(&board->arrived, 1);
    gate_pass(gate);
    carom_worker_close(worker);
}

static void observer_peer(struct puppet *me)
{
    (void)me;
    uint32_t gate = board->wanted;
    struct carom_observer *observer;
    struct carom_service_info info;
    int rc;
    do { /* a host that is stepped may take longer than it has */
        rc = carom_observer_open(SERVICE, &observer);
    } while (rc == -ECONNREFUSED || rc == -ENOENT || rc == -EHOSTDOWN || rc == -ETIMEDOUT);
    require(rc == 0);
    add_to(&board->arrived, 1);
    gate_pass(gate);
    rc = carom_observer_service(observer, &info);
    require(rc == 0 || rc == -EHOSTDOWN);
    carom_observer_close(observer);
}

/* One that runs calls, until it is killed. */
static void working_peer(struct puppet *me)
{
    (void)me;
    struct carom_worker *worker = open_worker();
    struct carom_request *request;
    add_to(&board->arrived, 1);
    while (carom_worker_take(worker, CAROM_FOREVER, &request) == 0)
        serve(request);
}

/* One with calls that run and calls that wait, until it is killed. */
static void calling_peer(struct puppet *me)
{
    uint32_t number, held = value_of(&board->held);
    (void)me;
    struct carom_client *client = open_client();
    submit_call(client, HOLD, CAROM_FOREVER, 0, &number);
    while (value_of(&board->held) == held)
        pause_briefly();
    submit_call(client, ECHO, CAROM_FOREVER, 0, &number);
    submit_call(client, ECHO, CAROM_FOREVER, CAROM_NOTIFY, &number);
    add_to(&board->arrived, 1);
    gate_pass(board->wanted + 1);
}

/* One that leaves in order when it is told. */
static void leaving_client(struct puppet *me)
{
    (void)me;
    struct carom_client *client = open_client();
    add_to(&board->arrived, 1);
    while (value_of(&board->finish) == 0)
        word_wait(&board->finish, 0);
    carom_client_close(client);
}

/* ---------------------------------------------------------------- events */

static uint32_t expected;

static void start_peer(void (*body)(struct puppet *))
{
    expected = value_of(&board->arrived) + 1;
    set_to(&board->finish, 0);
    puppet_start(FILLER, body);
}

static bool peer_is_in(void)
{
    return value_of(&board->arrived) == expected;
}

static void client_comes(void)
{
    start_peer(client_peer);
}

static void worker_comes(void)
{
    start_peer(worker_peer);
}

static void observer_comes(void)
{
    start_peer(observer_peer);
}

static void peer_dies(void)
{
    puppet_stop(FILLER);
}

static void peer_leaves(void)
{
    set_to(&board->finish, 1);
    word_wake(&board->finish);
    await(waitpid(board->puppets[FILLER].pid, NULL, 0) > 0);
    board->puppets[FILLER].pid = 0;
}

/* ---------------------------------------------------------------- before */

static void await_peer(void)
{
    if (!await(peer_is_in()))
        bad("the peer does not come");
}

static void with_calling_client(void)
{
    start_peer(calling_peer);
    await_peer();
}

static void with_leaving_client(void)
{
    start_peer(leaving_client);
    await_peer();
}

static void with_idle_worker(void)
{
    start_peer(working_peer);
    await_peer();
}

/* The surviving worker is busy: the other one takes the client's call. */
static void with_running_worker(void)
{
    with_idle_worker();
    uint32_t held = value_of(&board->held);
    ask(CALLER, SUBMIT, 1, HOLD, 0);
    if (!await(value_of(&board->held) == held + 1))
        bad("the other worker does not take a call");
    tell_caller(SETTLE);
}

/* One call runs, others wait, and the client with them. */
static void with_calls(void)
{
    ask(CALLER, SUBMIT, 3, ECHO, 0);
    tell_caller(SETTLE);
}

static bool client_is_buried(void)
{
    return host_has_fds(-5); /* socket, pidfd, three objects */
}

static bool worker_is_buried(void)
{
    return host_has_fds(-2);
}

const struct scenario host_scenarios[] = {
    {.name = "host open, name of a dead one", .host = true, .opens = true, .body = open_it},
    {.name = "host stop and close", .host = true, .body = stop_it},
    {.name = "host stop and close, calls waiting",
     .host = true,
     .body = stop_it,
     .busy = true,
     .before = with_calls},
    {.name = "host admits a client",
     .host = true,
     .body = run_it,
     .when = WHEN_ASLEEP,
     .event = client_comes,
     .done = peer_is_in},
    {.name = "host admits a worker",
     .host = true,
     .body = run_it,
     .when = WHEN_ASLEEP,
     .event = worker_comes,
     .done = peer_is_in},
    {.name = "host admits a worker, calls waiting",
     .host = true,
     .body = run_it,
     .busy = true,
     .before = with_calls,
     .when = WHEN_ASLEEP,
     .event = worker_comes,
     .done = peer_is_in},
    {.name = "host admits an observer",
     .host = true,
     .body = run_it,
     .when = WHEN_ASLEEP,
     .event = observer_comes,
     .done = peer_is_in},
    {.name = "host buries a client, calls running and waiting",
     .host = true,
     .body = run_it,
     .before = with_calling_client,
     .when = WHEN_ASLEEP,
     .event = peer_dies,
     .done = client_is_buried,
     .victim = true},
    {.name = "host sees a client leave",
     .host = true,
     .body = run_it,
     .before = with_leaving_client,
     .when = WHEN_ASLEEP,
     .event = peer_leaves,
     .done = client_is_buried},
    {.name = "host buries a worker, asleep",
     .host = true,
     .body = run_it,
     .before = with_idle_worker,
     .when = WHEN_ASLEEP,
     .event = peer_dies,
     .done = worker_is_buried,
     .victim = true},
    {.name = "host buries a worker, a call running, client asleep",
     .host = true,
     .body = run_it,
     .busy = true,
     .before = with_running_worker,
     .when = WHEN_ASLEEP,
     .event = peer_dies,
     .done = worker_is_buried,
     .victim = true},
    {.name = NULL},
};
