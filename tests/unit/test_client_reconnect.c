/* SPDX-License-Identifier: Apache-2.0
 *
 * test_client_reconnect.c - a client whose host stops, dies, comes back: what is kept, what is made
 * new, who waits for whom, and that no thread ever looks at memory that is not there. */
#include "support.h"

#include "client.h"
#include "service.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static struct carom_client *client;
static struct carom_worker *worker;

static void leave(void)
{
    carom_client_close(client);
    client = NULL;
}

static void join_with(struct carom_client_options options)
{
    options.size = sizeof options;
    options.slots = 4;
    options.request_block_bytes = options.reply_block_bytes = 8192;
    at_end_of_test(leave);
    assert_int_equal(carom_client_open(SERVICE, PATIENCE, &options, &client), 0);
    client_know_methods(client);
}

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    worker = worker_start();
    join_with((struct carom_client_options){.reconnect_timeout_ns = PATIENCE});
    return rc;
}

#define started(test) cmocka_unit_test_setup_teardown(test, start, after_test)

static struct carom_client_statistics statistics(void)
{
    struct carom_client_statistics found;
    assert_int_equal(carom_client_statistics(client, &found), 0);
    return found;
}

/* The service ends, and another takes its name. */
static void stop(void)
{
    service_stop();
    worker_stop(worker);
}

static void restart(void)
{
    stop();
    service_start(NULL);
    worker = worker_start();
}

/* ---------------------------------------------------------------- one thread */

static void the_next_call_finds_the_new_host(void **state)
{
    (void)state;
    for (int i = 1; i <= 5; i++) {
        int64_t before_ns = statistics().connected_ns;
        assert_echoes(client);
        restart();
        assert_false(statistics().connected);
        assert_echoes(client);
        assert_int_equal(statistics().reconnects, i);
        assert_true(statistics().connected);
        assert_true(statistics().connected_ns > before_ns);
    }
    assert_int_equal(statistics().retries, 0);
}

static void nothing_moves_and_nothing_is_left_behind(void **state)
{
    (void)state;
    const struct carom_client before = *client;
    assert_echoes(client); /* the worker has mapped the lane */
    int fds = open_fds(), mappings = carom_mappings();
    for (int i = 0; i < 10; i++) {
        restart();
        assert_echoes(client);
        await(open_fds() == fds &&
              carom_mappings() == mappings); /* the worker is through as well */
    }
    assert_ptr_equal(client->lane.control, before.lane.control);
    assert_ptr_equal(client->directory, before.directory);
    assert_ptr_equal(client->bell, before.bell);
    assert_ptr_equal(client->requests, before.requests);
    assert_ptr_equal(client->replies, before.replies);
    assert_int_equal(client->connection.socket, before.connection.socket);
    assert_int_equal(client->connection.host_pidfd, before.connection.host_pidfd);
}

static void every_slot_comes_back_with_fresh_memory(void **state)
{
    (void)state;
    struct carom_call *calls[4], *none;
    for (int i = 0; i < 4; i++) {
        calls[i] = call_submitted(client, ECHO, 8192);
        assert_int_equal(carom_call_wait(calls[i]), CAROM_OK);
    }
    for (int i = 0; i < 4; i++)
        carom_call_end(calls[i]);
    restart();
    for (int i = 0; i < 4; i++) {
        assert_int_equal(carom_call_begin(client, ECHO, PATIENCE, 0, &calls[i]), 0);
        const char *request = carom_call_request(calls[i], NULL);
        for (int at = 0; at < 8192; at++)
            assert_int_equal(request[at], 0);
    }
    assert_int_equal(carom_call_begin(client, ECHO, 0, CAROM_NOWAIT, &none), -EAGAIN);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(carom_call_submit(calls[i], 0), 0);
        assert_int_equal(carom_call_wait(calls[i]), CAROM_OK);
        carom_call_end(calls[i]);
    }
    assert_echoes(client);
}

static void ids_of_methods_stay_valid_when_the_directory_has_another_order(void **state)
{
    (void)state;
    const struct carom_method others[] = {{.name = "new"}, {.name = "echo"}, {.name = "other"}};
    struct carom_request *request;
    struct carom_call *call;
    struct carom_worker *by_hand;
    stop();
    service_start(NULL);
    assert_int_equal(carom_worker_open(SERVICE, others, 3, PATIENCE, NULL, &by_hand), 0);
    assert_int_equal(carom_call_begin(client, ECHO, PATIENCE, 0, &call), 0);
    assert_int_equal(carom_call_submit(call, 0), 0);
    assert_int_equal(carom_worker_take(by_hand, PATIENCE, &request), 0);
    assert_int_equal(carom_request_method(request), 1);
    carom_request_reply(request, 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
    assert_int_equal(carom_call_begin(client, HOLD, PATIENCE, 0, &call), -ENOSYS);
    assert_non_null(strstr(carom_error_detail(), "it has: new, echo, other"));
    assert_int_equal(carom_client_method(client, "echo"), ECHO);
    assert_int_equal(carom_client_method(client, "new"), METHODS);
    carom_worker_close(by_hand);
}

static void a_new_method_may_be_asked_for_while_the_service_is_away(void **state)
{
    (void)state;
    stop();
    int later = carom_client_method(client, "later");
    assert_int_equal(later, METHODS);
    service_start(NULL);
    worker = worker_start();
    struct carom_call *call;
    assert_int_equal(carom_call_begin(client, later, PATIENCE, 0, &call), -ENOSYS);
    assert_echoes(client);
}

static void a_new_host_without_workers_is_waited_for_like_the_first(void **state)
{
    (void)state;
    struct carom_call *call;
    stop();
    service_start(NULL);
    assert_int_equal(carom_call_begin(client, ECHO, MILLISECOND, 0, &call), -ETIMEDOUT);
    assert_non_null(strstr(carom_error_detail(), "ready in time"));
    assert_int_equal(statistics().reconnects, 1);
    assert_int_equal(carom_call_begin(client, ECHO, PATIENCE, CAROM_NOWAIT, &call), -EAGAIN);
    worker = worker_start();
    assert_echoes(client);
}

/* ---------------------------------------------------------------- when it cannot */

static void without_a_service_the_reason_is_told(void **state)
{
    (void)state;
    struct carom_call *call = (void *)1;
    stop();
    assert_int_equal(carom_call_begin(client, ECHO, 0, 0, &call), -ESHUTDOWN);
    assert_null(call);
    assert_non_null(strstr(carom_error_detail(), "cannot be reached again: no service 'unit'"));
    assert_int_equal(carom_call_begin(client, ECHO, 10 * MILLISECOND, 0, &call), -ESHUTDOWN);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, CAROM_NOWAIT, &call),
                     -ESHUTDOWN);
    assert_int_equal(statistics().reconnects, 0);
    service_start(NULL); /* and none of these attempts has spoiled anything */
    worker = worker_start();
    assert_int_equal(carom_call_begin(client, ECHO, PATIENCE, CAROM_NOWAIT, &call), 0);
    carom_call_end(call);
    assert_echoes(client);
}

static void a_client_may_be_told_never_to_connect_again(void **state)
{
    (void)state;
    struct carom_call *call;
    leave();
    join_with((struct carom_client_options){.reconnect_timeout_ns = -1});
    restart();
    assert_int_equal(carom_call_begin(client, ECHO, PATIENCE, 0, &call), -ESHUTDOWN);
    assert_int_equal(carom_client_method(client, "nonesuch"), -ENOSYS);
    assert_int_equal(statistics().reconnects, 0);
}

static void calls_of_the_lost_connection_have_to_be_ended(void **state)
{
    (void)state;
    struct carom_call *call;
    struct carom_call *held = call_submitted(client, ECHO, 100);
    assert_int_equal(carom_call_wait(held), CAROM_OK);
    restart();
    assert_int_equal(carom_call_begin(client, ECHO, 10 * MILLISECOND, 0, &call), -ESHUTDOWN);
    assert_non_null(strstr(carom_error_detail(), "end the calls of the lost connection first"));
    assert_int_equal(carom_call_begin(client, ECHO, PATIENCE, CAROM_NOWAIT, &call), -EAGAIN);
    assert_int_equal(((const char *)carom_call_reply(held, NULL))[1], 10); /* it is still there */
    carom_call_end(held);
    assert_echoes(client);
}

static void a_call_that_ran_when_the_service_went_away_counts_as_ended_once_it_is(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, HOLD, 100);
    await(value_of(&board->held) == 1);
    service_stop();
    assert_int_equal(carom_call_wait(call), -ESHUTDOWN);
    carom_call_end(call); /* abandoned: the worker still runs it */
    service_start(NULL);
    struct carom_worker *old = worker;
    worker = worker_start();
    assert_echoes(client);
    struct carom_call *calls[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(carom_call_begin(client, ECHO, PATIENCE, CAROM_NOWAIT, &calls[i]), 0);
    add_to(&board->release, 1); /* now it answers, into memory that is its own alone */
    worker_stop(old);
    for (int i = 0; i < 4; i++)
        carom_call_end(calls[i]);
    assert_echoes(client);
}

static int begin_in_child(void *unused)
{
    struct carom_call *call;
    (void)unused;
    return carom_call_begin(client, ECHO, PATIENCE, 0, &call) == -ECHILD ? 0 : 1;
}

static void a_forked_child_does_not_connect_again(void **state)
{
    (void)state;
    restart();
    int in_its_child = in_child(begin_in_child, NULL);
    assert_echoes(client);
    assert_int_equal(in_its_child, 0);
}

static void on_signal(int number)
{
    (void)number;
}

static void *begin_until_a_signal(void *unused)
{
    struct carom_call *call;
    (void)unused;
    require(carom_call_begin(client, ECHO, CAROM_FOREVER, CAROM_INTERRUPTIBLE, &call) == -EINTR);
    add_to(&board->number[0], 1);
    return NULL;
}

static void a_signal_ends_the_search_when_asked_for(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal}, before;
    pthread_t threads[2];
    sigaction(SIGUSR1, &action, &before);
    stop();
    for (int i = 0; i < 2; i++)
        threads[i] = thread_start(begin_until_a_signal, NULL);
    while (value_of(&board->number[0]) < 2) {
        for (int i = 0; i < 2; i++)
            pthread_kill(threads[i], SIGUSR1); /* of a thread that has not been joined */
        pause_briefly();
    }
    for (int i = 0; i < 2; i++)
        thread_join(threads[i]);
    sigaction(SIGUSR1, &before, NULL);
}

/* ---------------------------------------------------------------- a host that dies */

static struct carom_host *own_host;

static int host_child(void *unused)
{
    (void)unused;
    require(carom_host_open(SERVICE, NULL, &own_host) == 0);
    add_to(&board->ready, 1);
    return carom_host_run(own_host);
}

/* Hosts as children, begun before this process has threads, each at its turn. */
static int host_child_at_its_turn(void *turn)
{
    await(value_of(&board->number[7]) == (int)(intptr_t)turn);
    return host_child(NULL);
}

static void *serve_until_the_host_dies(void *opened)
{
    int rc = carom_worker_run(opened);
    require(rc == -EHOSTDOWN || rc == 0);
    carom_worker_close(opened);
    return NULL;
}

static pthread_t serve(void)
{
    struct carom_worker *opened;
    require(carom_worker_open(SERVICE, service_methods, METHODS, PATIENCE, NULL, &opened) == 0);
    return thread_start(serve_until_the_host_dies, opened);
}

static void remove_socket(void)
{
    char path[300];
    snprintf(path, sizeof path, "%s/" SERVICE ".sock", test_folder());
    unlink(path);
    snprintf(path, sizeof path, "%s/" SERVICE ".sock.lock", test_folder());
    unlink(path);
}

static void a_killed_host_is_found_again_by_the_next_call(void **state)
{
    (void)state;
    struct carom_call *call;
    pid_t hosts[2] = {child_start(host_child_at_its_turn, (void *)0),
                      child_start(host_child_at_its_turn, (void *)1)};
    at_end_of_test(remove_socket);
    await(value_of(&board->ready) == 1);
    pthread_t server = serve();
    join_with((struct carom_client_options){.reconnect_timeout_ns = PATIENCE});
    assert_echoes(client);
    child_kill(hosts[0]);
    thread_join(server);
    assert_false(statistics().connected); /* it looks */
    assert_int_equal(carom_call_begin(client, ECHO, 0, 0, &call), -EHOSTDOWN);
    assert_non_null(strstr(carom_error_detail(), "host died"));
    add_to(&board->number[7], 1);
    await(value_of(&board->ready) == 2);
    server = serve();
    assert_echoes(client);
    assert_int_equal(statistics().reconnects, 1);
    child_kill(hosts[1]);
    thread_join(server);
}

/* ---------------------------------------------------------------- on the next connection */

static const struct carom_method safe_methods[] = {
    {.name = "safe", .flags = CAROM_IDEMPOTENT},
    {.name = "unsafe"},
};

static void *invoke(void *method)
{
    char reply[8] = "";
    size_t length = 0;
    int rc = carom_invoke(client, *(int *)method, "moved", 5, reply, 8, &length, PATIENCE);
    add_to(&board->number[0], rc);
    require(rc != CAROM_OK || (length == 5 && memcmp(reply, "moved", 5) == 0));
    return NULL;
}

static void answer(struct carom_worker *by_hand)
{
    struct carom_request *request;
    size_t length;
    assert_int_equal(carom_worker_take(by_hand, PATIENCE, &request), 0);
    const void *data = carom_request_data(request, &length);
    memcpy(carom_request_reply_block(request, NULL), data, length);
    carom_request_reply(request, length);
}

static void an_idempotent_call_moves_to_the_next_connection(void **state)
{
    (void)state;
    struct carom_worker *first, *second;
    struct carom_request *request;
    stop();
    service_start(NULL);
    assert_int_equal(carom_worker_open(SERVICE, safe_methods, 2, PATIENCE, NULL, &first), 0);
    int safe = carom_client_method(client, "safe");
    assert_true(safe >= 0);
    pthread_t caller = thread_start(invoke, &safe);
    assert_int_equal(carom_worker_take(first, PATIENCE, &request), 0);
    service_stop();
    service_start(NULL);
    assert_int_equal(carom_worker_open(SERVICE, safe_methods, 2, PATIENCE, NULL, &second), 0);
    answer(second);
    thread_join(caller);
    assert_int_equal(value_of(&board->number[0]), CAROM_OK);
    assert_int_equal(statistics().retries, 1);
    assert_int_equal(statistics().reconnects, 2);
    carom_request_fail(request, CAROM_ABORTED, NULL, NULL, NULL);
    carom_worker_close(first);
    carom_worker_close(second);
}

static void a_call_that_is_not_idempotent_does_not(void **state)
{
    (void)state;
    struct carom_worker *first, *second;
    struct carom_request *request;
    stop();
    service_start(NULL);
    assert_int_equal(carom_worker_open(SERVICE, safe_methods, 2, PATIENCE, NULL, &first), 0);
    int unsafe = carom_client_method(client, "unsafe");
    pthread_t caller = thread_start(invoke, &unsafe);
    assert_int_equal(carom_worker_take(first, PATIENCE, &request), 0);
    service_stop();
    service_start(NULL);
    assert_int_equal(carom_worker_open(SERVICE, safe_methods, 2, PATIENCE, NULL, &second), 0);
    thread_join(caller);
    assert_int_equal(value_of(&board->number[0]), -ESHUTDOWN);
    assert_int_equal(carom_worker_take(second, 0, &request), -ETIMEDOUT);
    assert_int_equal(statistics().retries, 0);
    carom_worker_close(first);
    carom_worker_close(second);
}

/* ---------------------------------------------------------------- many threads */

static _Atomic bool over;

/* Everything that a thread may do with a client, while it loses its host again and again. */
static void *call_and_look(void *unused)
{
    struct carom_client_statistics found;
    struct carom_call *call;
    unsigned seed = (unsigned)atomic_fetch_add(&board->number[0], 1);
    (void)unused;
    while (!atomic_load(&over)) {
        seed = seed * 1103515245u + 12345u;
        unsigned flags = seed >> 16 & 1 ? CAROM_NOTIFY : 0;
        require(carom_client_statistics(client, &found) == 0);
        require(carom_client_method(client, "hold") == HOLD);
        int rc = carom_call_begin(client, ECHO, PATIENCE, flags, &call);
        require(rc == 0 || rc == -EHOSTDOWN || rc == -ESHUTDOWN);
        if (rc < 0)
            continue;
        memcpy(carom_call_request(call, NULL), &seed, sizeof seed);
        require(carom_call_submit(call, sizeof seed) == 0);
        if ((seed >> 20) % 8 == 0)
            carom_call_cancel(call);
        rc = (seed >> 24) % 4 == 0 ? -EAGAIN : carom_call_wait(call);
        if (rc == CAROM_OK) {
            require(memcmp(carom_call_reply(call, NULL), &seed, sizeof seed) == 0);
            add_to(&board->number[1], 1);
        }
        require(rc == CAROM_OK || rc == CAROM_CANCELLED || rc == CAROM_UNAVAILABLE ||
                rc == -EAGAIN || rc == -EHOSTDOWN || rc == -ESHUTDOWN);
        carom_call_end(call);
    }
    return NULL;
}

/* With a thread in carom_client_next, whose calls are its own only for a moment. */
static void *take_completions(void *unused)
{
    (void)unused;
    while (!atomic_load(&over)) {
        struct carom_call *call;
        int rc = carom_call_begin(client, ECHO, PATIENCE, CAROM_NOTIFY, &call);
        if (rc == 0) {
            require(carom_call_submit(call, 0) == 0);
            (void)carom_call_wait(call);
            carom_call_end(call);
        }
        rc = carom_client_next(client, 0, &call);
        require(rc == -ENODATA || rc == -ETIMEDOUT || rc == -EHOSTDOWN || rc == 0);
    }
    return NULL;
}

static void threads_call_on_while_the_service_is_restarted_again_and_again(void **state)
{
    (void)state;
    pthread_t threads[4];
    atomic_store(&over, false);
    for (int i = 0; i < 4; i++)
        threads[i] = thread_start(call_and_look, NULL);
    for (int round = 0; round < ROUNDS(100); round++) {
        uint64_t reconnects = statistics().reconnects;
        restart();
        await(statistics().reconnects > reconnects);
        int before = value_of(&board->number[1]);
        await(value_of(&board->number[1]) > before + 3);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 4; i++)
        thread_join(threads[i]);
    assert_echoes(client);
    assert_true(statistics().reconnects >= (unsigned)ROUNDS(100));
}

static void one_thread_takes_completions_while_the_service_is_restarted(void **state)
{
    (void)state;
    atomic_store(&over, false);
    pthread_t taker = thread_start(take_completions, NULL);
    for (int round = 0; round < ROUNDS(30); round++) {
        uint64_t before = statistics().reconnects;
        restart();
        await(statistics().reconnects > before);
    }
    atomic_store(&over, true);
    thread_join(taker);
    assert_echoes(client);
}

static void *echo_once(void *unused)
{
    (void)unused;
    require(carom_invoke(client, ECHO, "x", 1, &(char){0}, 1, NULL, PATIENCE) == CAROM_OK);
    return NULL;
}

static void of_many_threads_one_connects_and_all_go_on(void **state)
{
    (void)state;
    for (int round = 1; round <= 5; round++) {
        restart();
        run_together(8, echo_once, NULL);
        assert_int_equal(statistics().reconnects, round);
    }
}

static void threads_that_wait_for_a_host_find_it_when_it_comes(void **state)
{
    (void)state;
    pthread_t threads[3];
    stop();
    for (int i = 0; i < 3; i++)
        threads[i] = thread_start(echo_once, NULL);
    await(value_of((_Atomic int *)&client->reconnect.busy) == 1);
    service_start(NULL);
    worker = worker_start();
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
    assert_int_equal(statistics().reconnects, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        started(the_next_call_finds_the_new_host),
        started(nothing_moves_and_nothing_is_left_behind),
        started(every_slot_comes_back_with_fresh_memory),
        started(ids_of_methods_stay_valid_when_the_directory_has_another_order),
        started(a_new_method_may_be_asked_for_while_the_service_is_away),
        started(a_new_host_without_workers_is_waited_for_like_the_first),
        started(without_a_service_the_reason_is_told),
        started(a_client_may_be_told_never_to_connect_again),
        started(calls_of_the_lost_connection_have_to_be_ended),
        started(a_call_that_ran_when_the_service_went_away_counts_as_ended_once_it_is),
        started(a_forked_child_does_not_connect_again),
        started(a_signal_ends_the_search_when_asked_for),
        sentence(a_killed_host_is_found_again_by_the_next_call),
        started(an_idempotent_call_moves_to_the_next_connection),
        started(a_call_that_is_not_idempotent_does_not),
        started(threads_call_on_while_the_service_is_restarted_again_and_again),
        started(one_thread_takes_completions_while_the_service_is_restarted),
        started(of_many_threads_one_connects_and_all_go_on),
        started(threads_that_wait_for_a_host_find_it_when_it_comes),
    };
    return RUN(tests);
}
