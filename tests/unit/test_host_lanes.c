/* SPDX-License-Identifier: Apache-2.0
 *
 * test_host_lanes.c - what the host does with lanes when somebody comes, leaves or dies. The dead
 * are children killed with SIGKILL; they are forked before the host's thread starts and wait for
 * it. */
#include "support.h"

#include "bell.h"
#include "client.h"
#include "host.h"
#include "service.h"
#include "worker.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int clients_now(void)
{
    return (int)atomic_load(&service_host()->directory->client_count);
}

static int workers_now(void)
{
    return (int)atomic_load(&service_host()->directory->worker_count);
}

/* ---------------------------------------------------------------- clients die */

static struct carom_client *connect_as_child(void)
{
    struct carom_client_options options = {.size = sizeof options, .slots = 4};
    struct carom_client *client;
    options.request_block_bytes = options.reply_block_bytes = 8192;
    require(carom_client_open(SERVICE, PATIENCE, &options, &client) == 0);
    return client;
}

static int client_child(void *unused)
{
    (void)unused;
    await(value_of(&board->number[0]) > 0);
    connect_as_child();
    add_to(&board->ready, 1);
    await(value_of(&board->finish) > 0);
    return 0;
}

static void a_killed_client_is_cleared_away(void **state)
{
    (void)state;
    pid_t child = child_start(client_child, NULL);
    service_start(NULL);
    worker_start();
    struct carom_client *other = client_open(4, 8192);
    assert_echoes(other); /* the worker has its lane, and nothing on the way */
    int fds = open_fds();
    add_to(&board->number[0], 1);
    await(value_of(&board->ready) == 1);
    assert_int_equal(clients_now(), 2);
    child_kill(child);
    await(clients_now() == 1);
    await(open_fds() <= fds);
    assert_echoes(other);
}

/* A client with a child of its own, which keeps the socket open when the client dies. */
static int client_with_child(void *unused)
{
    (void)unused;
    connect_as_child();
    if (fork() == 0) {
        alarm(60);
        add_to(&board->ready, 1);
        await(value_of(&board->finish) > 0);
        _exit(0);
    }
    await(value_of(&board->finish) > 0);
    return 0;
}

static void a_killed_client_is_cleared_away_although_a_child_of_it_holds_the_socket(void **state)
{
    (void)state;
    pid_t child = child_start(client_with_child, NULL);
    service_start(NULL);
    worker_start();
    await(value_of(&board->ready) == 1 && clients_now() == 1);
    child_kill(child);
    await(clients_now() == 0);
    assert_echoes(client_open(4, 8192));
    add_to(&board->finish, 1);
}

static int calling_child(void *method)
{
    struct carom_client *client = connect_as_child();
    struct carom_call *call;
    int id = carom_client_method(client, service_methods[*(int *)method].name);
    require(id >= 0);
    for (int i = 0; i < 3; i++) { /* begins when there is a worker */
        require(carom_call_begin(client, id, CAROM_FOREVER, 0, &call) == 0);
        require(carom_call_submit(call, 4) == 0);
    }
    carom_call_wait(call);
    return 1;
}

static void the_calls_of_a_killed_client_end_in_the_workers_without_harm(void **state)
{
    (void)state;
    int method = HOLD;
    pid_t child = child_start(calling_child, &method);
    service_start(NULL);
    worker_start();
    await(value_of(&board->held) == 1);
    child_kill(child);
    await(clients_now() == 0);
    add_to(&board->release, 1); /* the worker replies into a lane that nobody reads */
    struct carom_client *client = client_open(4, 8192);
    assert_echoes(client);
    client_close(client);
}

static void a_handler_sees_that_its_client_has_died(void **state)
{
    (void)state;
    int method = OBEY;
    pid_t child = child_start(calling_child, &method);
    service_start(NULL);
    struct carom_worker *worker = worker_start();
    await(value_of(&board->held) == 1);
    child_kill(child);
    await(clients_now() == 0);
    worker_stop(worker); /* ends only when the handler does, which nobody else releases */
}

/* ---------------------------------------------------------------- workers die */

static void a_call_whose_worker_is_killed_ends_unavailable_and_the_others_go_on(void **state)
{
    (void)state;
    struct carom_error error;
    pid_t child = child_start(worker_child, NULL);
    service_start(NULL);
    struct carom_client *client = client_open(4, 8192);
    struct carom_call *call = call_submitted(client, HOLD, 4);
    await(value_of(&board->held) == 1);
    worker_start();
    struct carom_call *second = call_submitted(client, ECHO, 4);
    assert_int_equal(carom_call_wait(second), CAROM_OK);
    carom_call_end(second);
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    child_kill(child);
    assert_int_equal(carom_call_wait(call), CAROM_UNAVAILABLE);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "carom.WorkerDied");
    assert_int_equal(error.worker, 0);
    assert_null(carom_call_reply(call, NULL));
    carom_call_end(call);
    assert_int_equal(value_of(&board->held), 1); /* it was not begun again */
    await(workers_now() == 1);
    assert_echoes(client);
}

static void several_calls_of_several_killed_workers_end_each_for_its_own(void **state)
{
    (void)state;
    pid_t children[2];
    struct carom_call *calls[2];
    for (int i = 0; i < 2; i++)
        children[i] = child_start(worker_child, NULL);
    service_start(NULL);
    assert_int_equal(carom_host_wait_ready(service_host(), 2, PATIENCE), 0);
    struct carom_client *client = client_open(4, 8192);
    for (int i = 0; i < 2; i++)
        calls[i] = call_submitted(client, HOLD, 4);
    await(value_of(&board->held) == 2);
    child_kill(children[0]);
    await(carom_call_poll(calls[0]) != -EAGAIN || carom_call_poll(calls[1]) != -EAGAIN);
    int dead = carom_call_poll(calls[0]) == -EAGAIN ? 1 : 0;
    assert_int_equal(carom_call_wait(calls[dead]), CAROM_UNAVAILABLE);
    assert_int_equal(carom_call_poll(calls[1 - dead]), -EAGAIN);
    add_to(&board->release, 1);
    assert_int_equal(carom_call_wait(calls[1 - dead]), CAROM_OK);
    carom_call_end(calls[0]);
    carom_call_end(calls[1]);
}

static void a_sleeping_caller_is_woken_when_its_worker_is_killed(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    service_start(NULL);
    struct carom_client *client = client_open(4, 8192);
    struct carom_call *call, *next = NULL;
    assert_int_equal(carom_call_begin(client, HOLD, CAROM_FOREVER, CAROM_NOTIFY, &call), 0);
    assert_int_equal(carom_call_submit(call, 4), 0);
    await(value_of(&board->held) == 1);
    child_kill(child);
    assert_int_equal(carom_client_next(client, CAROM_FOREVER, &next), 0);
    assert_ptr_equal(next, call);
    assert_int_equal(carom_call_poll(call), CAROM_UNAVAILABLE);
    carom_call_end(call);
}

static void an_abandoned_call_of_a_killed_worker_gives_its_slot_back(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    service_start(NULL);
    struct carom_client *client = client_open(1, 8192);
    struct carom_call *call = call_submitted(client, HOLD, 4);
    await(value_of(&board->held) == 1);
    carom_call_end(call);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, CAROM_NOWAIT, &call), -EAGAIN);
    child_kill(child);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &call), 0);
    carom_call_end(call);
}

static void a_call_is_found_although_its_worker_died_while_it_cleared_the_ready_bit(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    service_start(NULL);
    client_open(4, 8192); /* lane 0, at which a new worker looks first */
    struct carom_client *client = client_open(4, 8192);
    assert_echoes(client);
    struct carom_worker *survivor = worker_open(); /* by hand: it does not look yet */
    await(workers_now() == 2);
    kill(child, SIGSTOP);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom__bell_clear_ready(client->bell, client->lane_id); /* as the stopped one's last act */
    child_kill(child);
    await(workers_now() == 1);
    struct carom_request *request;
    int rc = carom_worker_take(survivor, 2 * SECOND, &request);
    if (rc == 0)
        carom_request_reply(request, 0);
    carom_call_end(call);
    assert_int_equal(rc, 0);
}

static void a_wake_that_a_killed_worker_took_along_is_given_again(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    service_start(NULL);
    struct carom_client *client = client_open(4, 8192);
    assert_echoes(client);
    await(atomic_load(&client->bell->parked[0]) == 1); /* the only worker sleeps */
    kill(child, SIGSTOP);
    struct carom_call *call = call_submitted(client, ECHO,
                                             4); /* the wake goes to the stopped one */
    worker_start();
    child_kill(child);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

static void the_dead_are_not_shown_parked(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    service_start(NULL);
    struct carom_client *client = client_open(4, 8192);
    assert_echoes(client);
    await(atomic_load(&client->bell->parked[0]) == 1);
    child_kill(child);
    await(workers_now() == 0);
    await(atomic_load(&client->bell->parked[0]) == 0);
}

/* ---------------------------------------------------------------- the host dies */

static int host_child(void *unused)
{
    struct carom_host *host;
    (void)unused;
    require(carom_host_open(SERVICE, NULL, &host) == 0);
    return carom_host_run(host);
}

static void when_the_host_is_killed_everybody_learns_of_it(void **state)
{
    (void)state;
    struct carom_request *request;
    struct carom_call *other, *next;
    pid_t host = child_start(host_child, NULL);
    struct carom_worker *worker = worker_open();
    struct carom_client *client = client_open(2, 8192);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, CAROM_NOTIFY, &other), 0);
    assert_int_equal(carom_call_submit(other, 4), 0);
    child_kill(host);
    assert_int_equal(carom_client_next(client, CAROM_FOREVER, &next), -EHOSTDOWN);
    assert_int_equal(carom_call_wait(call), -EHOSTDOWN);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &next), -EHOSTDOWN);
    carom_call_end(call);
    carom_call_end(other);
    int rc;
    while ((rc = carom_worker_take(worker, CAROM_FOREVER, &request)) == 0)
        carom_request_reply(request, 0);
    assert_int_equal(rc, -EHOSTDOWN);
    client_close(client);
    service_start(NULL); /* takes the name over, and its files away in the end */
}

static void who_polls_learns_that_the_host_was_killed(void **state)
{
    (void)state;
    pid_t host = child_start(host_child, NULL);
    worker_open();
    struct carom_client *client = client_open(2, 8192);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    child_kill(host);
    int64_t give_up = carom_now_ns() + 2 * SECOND;
    await(carom_call_poll(call) != -EAGAIN || carom_now_ns() > give_up);
    int rc = carom_call_poll(call);
    carom_call_end(call);
    service_start(NULL);
    assert_int_equal(rc, -EHOSTDOWN);
}

/* Waits for a slot or for a reply, whichever it comes to. */
static void *wait_for_call(void *client)
{
    struct carom_call *call;
    int rc = carom_call_begin(client, HOLD, CAROM_FOREVER, 0, &call);
    if (rc == 0) {
        require(carom_call_submit(call, 4) == 0);
        add_to(&board->number[0], 1);
        rc = carom_call_wait(call);
    }
    require(rc == -ESHUTDOWN || rc == -EHOSTDOWN);
    carom_call_end(call);
    return NULL;
}

static void callers_return_when_the_host_is_closed(void **state)
{
    (void)state;
    pthread_t threads[6];
    service_start(NULL);
    worker_start();
    struct carom_client *client = client_open(4, 8192);
    for (int i = 0; i < 4; i++)
        threads[i] = thread_start(wait_for_call, client);
    await(value_of(&board->number[0]) == 4 && value_of(&board->held) == 1);
    for (int i = 4; i < 6; i++)
        threads[i] = thread_start(wait_for_call, client);
    await_asleep(&client->lane.control->event, 2);
    service_stop();
    for (int i = 0; i < 6; i++)
        thread_join(threads[i]);
    add_to(&board->release, 1);
}

/* ---------------------------------------------------------------- lanes come and go */

static void a_worker_that_comes_later_is_told_of_every_lane(void **state)
{
    (void)state;
    pid_t child = child_start(worker_child, NULL);
    service_start(NULL);
    await(workers_now() == 1); /* so that the methods are known */
    struct carom_client *first = client_open(2, 8192), *second = client_open(2, 8192);
    child_kill(child);
    await(workers_now() == 0);
    struct carom_call *one = call_submitted(first, ECHO, 4), *two = call_submitted(second, ECHO, 4);
    worker_start();
    assert_int_equal(carom_call_wait(one), CAROM_OK);
    assert_int_equal(carom_call_wait(two), CAROM_OK);
    carom_call_end(one);
    carom_call_end(two);
}

static void
a_lane_id_used_again_is_served_although_a_worker_cleared_the_bit_for_the_old_lane(void **state)
{
    (void)state;
    struct carom_request *request;
    service_start(NULL);
    struct carom_worker *worker = worker_open();
    client_close(client_open(2, 8192));
    client_close(client_open(2, 8192));
    await(clients_now() == 0);
    struct carom_client *keeper = client_open(2, 8192); /* lane 0, which is always looked at */
    client_close(client_open(2, 8192));
    await(clients_now() == 1);
    assert_int_equal(carom_worker_take(worker, 0, &request), -ETIMEDOUT); /* has seen lane 1 go */
    struct carom_client *client = client_open(2, 8192);
    assert_int_equal(client->lane_id, 1);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom__bell_clear_ready(client->bell,
                            1); /* a worker that has not heard of the new client yet */
    int rc = carom_worker_take(worker, 2 * SECOND, &request);
    if (rc == 0)
        carom_request_reply(request, 0);
    carom_call_end(call);
    client_close(keeper);
    assert_int_equal(rc, 0);
}

static void a_new_lane_in_an_old_place_is_fresh_memory(void **state)
{
    (void)state;
    service_start(NULL);
    worker_start();
    for (int i = 0; i < 5; i++) {
        struct carom_client *client = client_open(2, 8192);
        assert_int_equal(client->lane_id, 0);
        char *request = carom_call_request(&client->calls[0], NULL);
        for (size_t at = 0; at < 8192; at++)
            assert_int_equal(request[at], 0);
        memset(request, 0xee, 8192);
        /* slot 0 has had its rehearsal */
        assert_int_equal(atomic_load(&client->lane.slots[1].state), 0);
        assert_echoes(client);
        client_close(client);
        await(clients_now() == 0);
    }
}

static void a_worker_that_reads_late_is_told_all_in_the_end(void **state)
{
    (void)state;
    enum { LATE = 400 }; /* more news than fit a socket */
    struct carom_request *request;
    service_start(NULL);
    struct carom_worker *worker = worker_open(); /* reads nothing yet */
    for (int i = 0; i < LATE; i++)
        client_close(client_open(1, 4096));
    struct carom_client *client = client_open(2, 8192);
    struct carom_call *call = call_submitted(client, ECHO, 0);
    assert_int_equal(carom_worker_take(worker, PATIENCE, &request), 0);
    assert_int_equal(carom_request_reply(request, 0), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sentence(a_killed_client_is_cleared_away),
        sentence(a_killed_client_is_cleared_away_although_a_child_of_it_holds_the_socket),
        sentence(the_calls_of_a_killed_client_end_in_the_workers_without_harm),
        sentence(a_handler_sees_that_its_client_has_died),
        sentence(a_call_whose_worker_is_killed_ends_unavailable_and_the_others_go_on),
        sentence(several_calls_of_several_killed_workers_end_each_for_its_own),
        sentence(a_sleeping_caller_is_woken_when_its_worker_is_killed),
        sentence(an_abandoned_call_of_a_killed_worker_gives_its_slot_back),
        sentence(a_call_is_found_although_its_worker_died_while_it_cleared_the_ready_bit),
        sentence(a_wake_that_a_killed_worker_took_along_is_given_again),
        sentence(the_dead_are_not_shown_parked),
        sentence(when_the_host_is_killed_everybody_learns_of_it),
        sentence(who_polls_learns_that_the_host_was_killed),
        sentence(callers_return_when_the_host_is_closed),
        sentence(a_worker_that_comes_later_is_told_of_every_lane),
        sentence(a_lane_id_used_again_is_served_although_a_worker_cleared_the_bit_for_the_old_lane),
        sentence(a_new_lane_in_an_old_place_is_fresh_memory),
        sentence(a_worker_that_reads_late_is_told_all_in_the_end),
    };
    return RUN(tests);
}
