/* SPDX-License-Identifier: Apache-2.0
 *
 * test_client_methods.c - names of methods and their ids, and calls that wait for the first worker.
 */
#include "support.h"

#include "client.h"
#include "service.h"

#include <signal.h>
#include <stdio.h>

static struct carom_client *client;

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    return rc;
}

#define started(test) cmocka_unit_test_setup_teardown(test, start, after_test)

/* A client that has not asked for any name. */
static void leave(void)
{
    carom_client_close(client);
    client = NULL;
}

static void join(void)
{
    struct carom_client_options options = {.size = sizeof options, .slots = 4};
    options.request_block_bytes = options.reply_block_bytes = 4096;
    at_end_of_test(leave);
    assert_int_equal(carom_client_open(SERVICE, PATIENCE, &options, &client), 0);
}

/* ---------------------------------------------------------------- ids */

static void an_id_is_given_once_per_name_in_the_order_of_asking(void **state)
{
    (void)state;
    worker_start();
    join();
    assert_int_equal(carom_client_method(client, "hold"), 0);
    assert_int_equal(carom_client_method(client, "echo"), 1);
    assert_int_equal(carom_client_method(client, "hold"), 0);
    assert_int_equal(carom_client_method(client, "echo"), 1);
    char reply[4];
    assert_int_equal(carom_invoke(client, 1, "echo", 4, reply, 4, NULL, PATIENCE), CAROM_OK);
    assert_memory_equal(reply, "echo", 4);
}

static void an_unknown_method_is_answered_with_the_list_of_those_there_are(void **state)
{
    (void)state;
    worker_start();
    join();
    const char *names[] = {"ech", "echo2", "Echo", "no such method at all"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(carom_client_method(client, names[i]), -ENOSYS);
        assert_non_null(strstr(carom_error_detail(), names[i]));
        assert_non_null(strstr(carom_error_detail(), "'unit'"));
        assert_non_null(strstr(carom_error_detail(), "echo, fail, hold, obey, forget"));
    }
    assert_int_equal(carom_client_method(client, "echo"), 0); /* they took no ids */
}

static void a_name_that_cannot_be_is_refused(void **state)
{
    (void)state;
    char name[CAROM_METHOD_NAME_MAX + 2] = "";
    join();
    assert_int_equal(carom_client_method(client, NULL), -EINVAL);
    assert_int_equal(carom_client_method(client, ""), -ENOSYS); /* none will ever have it */
    memset(name, 'n', sizeof name - 1);
    assert_int_equal(carom_client_method(client, name), -EINVAL);
    assert_non_null(strstr(carom_error_detail(), "103"));
    name[CAROM_METHOD_NAME_MAX] = '\0';
    assert_int_equal(carom_client_method(client, name), 0); /* no worker yet: it may come */
}

static void a_method_that_comes_with_a_later_worker_is_found_then(void **state)
{
    (void)state;
    struct carom_worker *later;
    const struct carom_method method = {.name = "later"};
    worker_start();
    join();
    assert_int_equal(carom_client_method(client, "later"), -ENOSYS);
    assert_int_equal(carom_worker_open(SERVICE, &method, 1, PATIENCE, NULL, &later), 0);
    assert_int_equal(carom_client_method(client, "later"), 0);
    carom_worker_close(later);
}

static void very_many_methods_do_not_overflow_the_sentence(void **state)
{
    (void)state;
    static char names[200][CAROM_METHOD_NAME_MAX + 1];
    struct carom_method methods[200] = {0};
    struct carom_worker *worker;
    for (int i = 0; i < 200; i++) {
        memset(names[i], 'm', CAROM_METHOD_NAME_MAX);
        snprintf(names[i] + 80, sizeof names[i] - 80, "%d", i);
        methods[i].name = names[i];
    }
    assert_int_equal(carom_worker_open(SERVICE, methods, 200, PATIENCE, NULL, &worker), 0);
    join();
    assert_int_equal(carom_client_method(client, "other"), -ENOSYS);
    assert_non_null(strstr(carom_error_detail(), names[0]));
    assert_int_equal(carom_client_method(client, names[199]), 0);
    carom_worker_close(worker);
}

static void a_client_knows_1024_names_and_no_more(void **state)
{
    (void)state;
    char name[32];
    join();
    for (int i = 0; i < (int)CAROM__MAX_METHODS; i++) {
        snprintf(name, sizeof name, "method %d", i);
        assert_int_equal(carom_client_method(client, name), i);
    }
    assert_int_equal(carom_client_method(client, "one more"), -ENOSPC);
    assert_non_null(strstr(carom_error_detail(), "1024"));
    assert_int_equal(carom_client_method(client, "method 1023"), 1023);
}

/* ---------------------------------------------------------------- before the first worker */

static void *echo_once(void *method)
{
    char reply[4];
    require(carom_invoke(client, *(int *)method, "wait", 4, reply, 4, NULL, PATIENCE) == CAROM_OK);
    require(memcmp(reply, "wait", 4) == 0);
    return NULL;
}

static void calls_wait_for_the_first_worker(void **state)
{
    (void)state;
    pthread_t threads[3];
    join();
    int method = carom_client_method(client, "echo");
    assert_int_equal(method, 0);
    for (int i = 0; i < 3; i++)
        threads[i] = thread_start(echo_once, &method);
    await_asleep(&client->directory->change, 3);
    worker_start();
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
}

static void calls_that_wait_for_a_worker_end_at_their_deadline(void **state)
{
    (void)state;
    struct carom_call *call = (void *)1;
    join();
    int method = carom_client_method(client, "echo");
    assert_int_equal(carom_call_begin(client, method, 0, 0, &call), -ETIMEDOUT);
    assert_null(call);
    int64_t began = carom_now_ns();
    assert_int_equal(carom_call_begin(client, method, 10 * MILLISECOND, 0, &call), -ETIMEDOUT);
    assert_true(carom_now_ns() - began >= 10 * MILLISECOND);
    assert_non_null(strstr(carom_error_detail(), "no worker of service 'unit' was ready in time"));
    assert_int_equal(carom_call_begin(client, method, CAROM_FOREVER, CAROM_NOWAIT, &call), -EAGAIN);
    assert_int_equal(carom_call_begin(client, method + 1, 0, 0, &call), -EINVAL);
}

static void a_name_that_turns_out_wrong_is_told_when_a_call_begins(void **state)
{
    (void)state;
    struct carom_call *call;
    join();
    int wrong = carom_client_method(client, "nonesuch"), echo = carom_client_method(client, "echo");
    assert_int_equal(wrong, 0);
    worker_start();
    assert_int_equal(carom_call_begin(client, wrong, PATIENCE, 0, &call), -ENOSYS);
    assert_non_null(strstr(carom_error_detail(), "'nonesuch'"));
    assert_non_null(strstr(carom_error_detail(), "echo, fail"));
    assert_int_equal(carom_client_method(client, "nonesuch"), -ENOSYS);
    echo_once(&echo);
}

static void *begin_and_be_told_of_the_stop(void *method)
{
    struct carom_call *call;
    require(carom_call_begin(client, *(int *)method, CAROM_FOREVER, 0, &call) == -ESHUTDOWN);
    return NULL;
}

static void calls_that_wait_for_a_worker_learn_of_the_stop(void **state)
{
    (void)state;
    join();
    client->reconnect.timeout_ns = -1; /* they would look for the next host */
    int method = carom_client_method(client, "echo");
    pthread_t waiter = thread_start(begin_and_be_told_of_the_stop, &method);
    await_asleep(&client->directory->change, 1);
    carom_host_stop(service_host());
    thread_join(waiter);
}

static void on_signal(int number)
{
    (void)number;
}

static void *begin_until_a_signal(void *method)
{
    struct carom_call *call;
    require(carom_call_begin(client, *(int *)method, CAROM_FOREVER, CAROM_INTERRUPTIBLE, &call) ==
            -EINTR);
    return NULL;
}

static void a_signal_ends_the_wait_for_a_worker_when_asked_for(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal}, before;
    sigaction(SIGUSR1, &action, &before);
    join();
    int method = carom_client_method(client, "echo");
    pthread_t waiter = thread_start(begin_until_a_signal, &method);
    await_asleep(&client->directory->change, 1);
    pthread_kill(waiter, SIGUSR1);
    thread_join(waiter);
    sigaction(SIGUSR1, &before, NULL);
}

/* ---------------------------------------------------------------- threads */

static void *ask_for_all(void *unused)
{
    char name[32];
    (void)unused;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "method %d", i);
        int first = carom_client_method(client, name);
        require(first >= 0 && first < 200);
        require(carom_client_method(client, name) == first);
    }
    return NULL;
}

static void threads_that_ask_for_the_same_names_get_the_same_ids(void **state)
{
    (void)state;
    char name[32];
    bool seen[200] = {false};
    join();
    run_together(4, ask_for_all, NULL);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "method %d", i);
        int method = carom_client_method(client, name);
        assert_true(method >= 0 && method < 200 && !seen[method]);
        seen[method] = true;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        started(an_id_is_given_once_per_name_in_the_order_of_asking),
        started(an_unknown_method_is_answered_with_the_list_of_those_there_are),
        started(a_name_that_cannot_be_is_refused),
        started(a_method_that_comes_with_a_later_worker_is_found_then),
        started(very_many_methods_do_not_overflow_the_sentence),
        started(a_client_knows_1024_names_and_no_more),
        started(calls_wait_for_the_first_worker),
        started(calls_that_wait_for_a_worker_end_at_their_deadline),
        started(a_name_that_turns_out_wrong_is_told_when_a_call_begins),
        started(calls_that_wait_for_a_worker_learn_of_the_stop),
        started(a_signal_ends_the_wait_for_a_worker_when_asked_for),
        started(threads_that_ask_for_the_same_names_get_the_same_ids),
    };
    return RUN(tests);
}
