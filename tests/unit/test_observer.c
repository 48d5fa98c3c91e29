/* SPDX-License-Identifier: Apache-2.0
 *
 * test_observer.c - what tools see of a service: state, peers, methods, statistics, and its end. */
#include "support.h"

#include "service.h"

#include "host.h"
#include "layout.h"

#include <unistd.h>

static struct carom_observer *observer;
static struct carom_service_info info;

static void close_observer(void)
{
    carom_observer_close(observer);
    observer = NULL;
}

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    require(carom_observer_open(SERVICE, &observer) == 0);
    at_end_of_test(close_observer);
    return rc;
}

#define started(test) cmocka_unit_test_setup_teardown(test, start, after_test)

/* A worker that is welcome is counted a moment later. */
static void await_workers(uint32_t count)
{
    assert_int_equal(carom_host_wait_ready(service_host(), count, PATIENCE), 0);
}

static void look(void)
{
    assert_int_equal(carom_observer_service(observer, &info), 0);
}

static void a_service_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct carom_observer *none = (void *)1;
    assert_int_equal(carom_observer_open("elsewhere", &none), -ENOENT);
    assert_null(none);
    assert_non_null(strstr(carom_error_detail(), "'elsewhere'"));
    carom_observer_close(NULL);
}

static void a_service_without_workers_is_starting(void **state)
{
    (void)state;
    look();
    assert_string_equal(info.name, SERVICE);
    assert_int_equal(info.state, CAROM_STARTING);
    assert_int_equal(info.host_pid, getpid());
    assert_int_equal(info.method_count, 0);
    assert_int_equal(info.worker_count, 0);
    assert_int_equal(info.client_count, 0);
    assert_true(info.started_ns > 0 && info.started_ns <= carom_now_ns());
}

static void workers_and_clients_are_counted_as_they_come_and_go(void **state)
{
    (void)state;
    worker_open();
    await_workers(1);
    look();
    assert_int_equal(info.state, CAROM_READY);
    assert_int_equal(info.worker_count, 1);
    assert_int_equal(info.method_count, METHODS);
    struct carom_worker *second = worker_open();
    struct carom_client *client = client_open(2, 4096);
    await_workers(2);
    look();
    assert_int_equal(info.worker_count, 2);
    assert_int_equal(info.client_count, 1);
    worker_stop(second);
    client_close(client);
    await((look(), info.worker_count == 1 && info.client_count == 0));
    assert_int_equal(info.state, CAROM_READY);
}

static void peers_are_shown_as_the_kernel_knows_them(void **state)
{
    (void)state;
    struct carom_worker_info workers[4];
    struct carom_client_info clients[4];
    int64_t before = carom_now_ns();
    worker_open();
    worker_open();
    client_open(2, 4096);
    await_workers(2);
    assert_int_equal(carom_observer_workers(observer, workers, 4), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(workers[i].peer.id, i);
        assert_int_equal(workers[i].peer.pid, getpid());
        assert_int_equal(workers[i].peer.uid, geteuid());
        assert_true(workers[i].joined_ns >= before && workers[i].joined_ns <= carom_now_ns());
    }
    assert_int_equal(carom_observer_clients(observer, clients, 4), 1);
    assert_int_equal(clients[0].peer.id, 0);
    assert_int_equal(clients[0].peer.pid, getpid());
    assert_true(clients[0].joined_ns >= before);
}

static void more_peers_than_fit_are_counted_and_not_written(void **state)
{
    (void)state;
    struct carom_worker_info workers[2] = {[1] = {.calls = 77}};
    struct carom_client_info clients[2] = {[1] = {.joined_ns = 77}};
    for (int i = 0; i < 3; i++)
        worker_open();
    for (int i = 0; i < 3; i++)
        client_open(2, 4096);
    await_workers(3);
    assert_int_equal(carom_observer_workers(observer, NULL, 0), 3);
    assert_int_equal(carom_observer_workers(observer, workers, 1), 3);
    assert_int_equal(workers[1].calls, 77);
    assert_int_equal(carom_observer_clients(observer, NULL, 0), 3);
    assert_int_equal(carom_observer_clients(observer, clients, 1), 3);
    assert_int_equal(clients[1].joined_ns, 77);
}

static void methods_are_named_by_their_ids(void **state)
{
    (void)state;
    worker_open();
    for (uint32_t method = 0; method < METHODS; method++)
        assert_string_equal(carom_observer_method(observer, method), service_methods[method].name);
    assert_string_equal(carom_observer_method(observer, METHODS), "");
    assert_string_equal(carom_observer_method(observer, CAROM__MAX_METHODS), "");
    assert_string_equal(carom_observer_method(observer, UINT32_MAX), "");
}

static void calls_errors_and_expired_ones_are_counted(void **state)
{
    (void)state;
    struct carom_worker_info worker;
    struct carom_call *expired;
    char wrong[1] = {CAROM_ABORTED};
    struct carom_worker *by_hand = worker_open();
    struct carom_client *client = client_open(4, 4096);
    assert_int_equal(carom_call_begin(client, ECHO, 0, 0, &expired), 0);
    assert_int_equal(carom_call_submit(expired, 0), 0);
    struct carom_request *request;
    assert_int_equal(carom_worker_take(by_hand, 0, &request), -ETIMEDOUT);
    carom_call_end(expired);
    assert_int_equal(carom_observer_workers(observer, &worker, 1), 1);
    assert_int_equal(worker.expired, 1);
    worker_stop(by_hand);
    await((look(), info.worker_count == 0));
    worker_start(); /* in the same place, with counters of its own */
    for (int i = 0; i < 7; i++)
        assert_echoes(client);
    for (int i = 0; i < 3; i++)
        carom_invoke(client, FAIL, wrong, 1, NULL, 0, NULL, PATIENCE);
    assert_int_equal(carom_observer_workers(observer, &worker, 1), 1);
    assert_int_equal(worker.calls, 10);
    assert_int_equal(worker.errors, 3);
    assert_int_equal(worker.expired, 0);
}

static void a_worker_is_shown_with_the_call_it_runs(void **state)
{
    (void)state;
    struct carom_worker_info worker;
    worker_start();
    await_workers(1);
    struct carom_client *client = client_open(4, 4096);
    assert_int_equal(carom_observer_workers(observer, &worker, 1), 1);
    assert_int_equal(worker.running_method, -1);
    assert_int_equal(worker.running_since_ns, 0);
    int64_t before = carom_now_ns();
    struct carom_call *call = call_submitted(client, HOLD, 0);
    await(value_of(&board->held) == 1);
    assert_int_equal(carom_observer_workers(observer, &worker, 1), 1);
    assert_string_equal(carom_observer_method(observer, (uint32_t)worker.running_method), "hold");
    assert_true(worker.running_since_ns >= before - 200 * MILLISECOND);
    assert_true(worker.running_since_ns <= carom_now_ns());
    add_to(&board->release, 1);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
    assert_int_equal(carom_observer_workers(observer, &worker, 1), 1);
    assert_int_equal(worker.running_method, -1); /* it said so before the reply */
}

static void a_method_that_cannot_be_is_not_shown_as_running(void **state)
{
    (void)state;
    struct carom_worker_info worker;
    worker_open();
    await_workers(1);
    const uint32_t nonsense[] = {CAROM__MAX_METHODS + 1, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        atomic_store(&service_host()->statistics->workers[0].running, nonsense[i]);
        assert_int_equal(carom_observer_workers(observer, &worker, 1), 1);
        assert_int_equal(worker.running_method, -1);
    }
}

static void stand_ins_are_not_listed(void **state)
{
    (void)state;
    struct carom_worker_info workers[2];
    struct carom_worker_options options = {.size = sizeof options, .stand_in = true};
    struct carom_worker *stand_in;
    assert_int_equal(
        carom_worker_open(SERVICE, service_methods, METHODS, PATIENCE, &options, &stand_in), 0);
    struct carom__peer_entry *entries = service_host()->directory->workers;
    await(atomic_load(&entries[0].present) != 0);
    int alone = carom_observer_workers(observer, workers, 2);
    worker_open();
    await_workers(1);
    int beside = carom_observer_workers(observer, workers, 2);
    carom_worker_close(stand_in);
    assert_int_equal(alone, 0);
    assert_int_equal(beside, 1);
    assert_int_equal(workers[0].peer.id, 1);
}

/* ---------------------------------------------------------------- description */

static char text[CAROM_DESCRIPTION_MAX + 1];

static int describe_and_read(const char *description)
{
    assert_int_equal(carom_host_describe(service_host(), CAROM_DEGRADED, description), 0);
    return carom_observer_description(observer, text, sizeof text);
}

static void a_service_of_which_nothing_was_said_has_an_empty_description(void **state)
{
    (void)state;
    memset(text, 'x', sizeof text);
    assert_int_equal(carom_observer_description(observer, text, sizeof text), 0);
    assert_string_equal(text, "");
}

static void what_the_keeper_says_is_read_whole(void **state)
{
    (void)state;
    static char longest[CAROM_DESCRIPTION_MAX + 1];
    assert_int_equal(describe_and_read("{}"), 2);
    assert_string_equal(text, "{}");
    look();
    assert_int_equal(info.state, CAROM_DEGRADED);
    for (size_t length = 0; length < 20; length++) {
        memset(longest, 'd', length);
        longest[length] = '\0';
        assert_int_equal(describe_and_read(longest), length);
        assert_string_equal(text, longest);
    }
    memset(longest, 'e', CAROM_DESCRIPTION_MAX);
    assert_int_equal(describe_and_read(longest), CAROM_DESCRIPTION_MAX);
    assert_string_equal(text, longest);
    assert_int_equal(describe_and_read(""), 0);
    assert_string_equal(text, "");
}

static void a_buffer_that_is_too_small_is_refused_and_not_written(void **state)
{
    (void)state;
    char small[12] = "untouched";
    assert_int_equal(carom_host_describe(service_host(), CAROM_READY, "eleven more"), 0);
    for (size_t capacity = 0; capacity <= 11; capacity++)
        assert_int_equal(carom_observer_description(observer, small, capacity), -ENOBUFS);
    assert_string_equal(small, "untouched");
    assert_non_null(strstr(carom_error_detail(), "11 bytes"));
    assert_int_equal(carom_observer_description(observer, NULL, 0), -ENOBUFS);
    assert_int_equal(carom_observer_description(observer, small, 12), 11);
    assert_string_equal(small, "eleven more");
}

static void a_description_that_is_never_complete_is_given_up(void **state)
{
    (void)state;
    struct carom__directory *directory = service_host()->directory;
    assert_int_equal(describe_and_read("whole"), 5);
    uint32_t version = atomic_load(&directory->description_version);
    atomic_store(&directory->description_version, version + 1); /* its host writes for ever */
    memset(text, 'x', 8);
    assert_int_equal(carom_observer_description(observer, text, sizeof text), -EAGAIN);
    assert_memory_equal(text, "xxxxxxxx", 8);
    atomic_store(&directory->description_version, version + 2);
    assert_int_equal(carom_observer_description(observer, text, sizeof text), 5);
    assert_string_equal(text, "whole");
}

static void a_length_beyond_the_memory_is_refused(void **state)
{
    (void)state;
    const uint32_t lengths[] = {CAROM_DESCRIPTION_MAX + 1, CAROM__DESCRIPTION_BYTES, 0x80000000u,
                                UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        atomic_store(&service_host()->directory->description_bytes, lengths[i]);
        assert_int_equal(carom_observer_description(observer, text, SIZE_MAX), -EPROTO);
    }
    atomic_store(&service_host()->directory->description_bytes, 0);
}

static void *describe_again_and_again(void *unused)
{
    char description[4001];
    (void)unused;
    for (int i = 0; value_of(&board->finish) == 0; i++) {
        size_t length = (size_t)(i % 40) * 100 + 1;
        memset(description, 'a' + i % 26, length);
        description[length] = '\0';
        require(carom_host_describe(service_host(), CAROM_READY, description) == 0);
    }
    return NULL;
}

static void a_description_that_changes_is_seen_whole_or_not_at_all(void **state)
{
    (void)state;
    int seen = 0;
    pthread_t thread = thread_start(describe_again_and_again, NULL);
    for (int i = 0; i < ROUNDS(20000) || seen < 10; i++) {
        int length = carom_observer_description(observer, text, sizeof text);
        if (length == -EAGAIN || length == 0)
            continue;
        bool whole = length > 0 && (size_t)length == strlen(text) && length % 100 == 1 &&
                     strspn(text, (char[]){text[0], '\0'}) == (size_t)length;
        if (!whole)
            add_to(&board->finish, 1);
        assert_true(whole);
        seen++;
    }
    add_to(&board->finish, 1);
    thread_join(thread);
}

/* ---------------------------------------------------------------- time */

static void the_time_in_calls_is_measured(void **state)
{
    (void)state;
    struct carom_worker_info worker = {0};
    worker_start();
    struct carom_client *client = client_open(4, 4096);
    for (int i = 0; i < 3; i++) {
        struct carom_call *call = call_submitted(client, HOLD, 0);
        await(value_of(&board->held) == i + 1);
        int64_t until = carom_now_ns() + 2 * MILLISECOND;
        await(carom_now_ns() > until);
        add_to(&board->release, 1);
        assert_int_equal(carom_call_wait(call), CAROM_OK);
        add_to(&board->release, -1);
        carom_call_end(call);
    }
    /* a call's time is written when its worker looks for the next one */
    await(carom_observer_workers(observer, &worker, 1) == 1 && worker.busy_ns >= 6 * MILLISECOND);
    assert_true(worker.handler_p50_ns >= 1500000);
    assert_true(worker.handler_p99_ns >= worker.handler_p50_ns);
}

static void short_calls_are_measured_too(void **state)
{
    (void)state;
    struct carom_worker_info worker = {0};
    worker_start();
    struct carom_client *client = client_open(4, 4096);
    for (int i = 0; i < 200; i++)
        assert_echoes(client);
    assert_int_equal(carom_observer_workers(observer, &worker, 1), 1);
    assert_int_equal(worker.calls, 200);
    assert_true(worker.busy_ns > 0 && worker.handler_p50_ns > 0);
}

static void the_end_of_the_service_is_seen(void **state)
{
    (void)state;
    worker_start();
    service_stop();
    assert_int_equal(carom_observer_service(observer, &info), -EHOSTDOWN);
}

static void a_service_that_was_told_to_stop_is_stopping(void **state)
{
    (void)state;
    carom_host_stop(service_host());
    await((look(), info.state == CAROM_STOPPING));
}

static int use_in_child(void *unused)
{
    struct carom_worker_info worker;
    struct carom_client_info client;
    (void)unused;
    if (carom_observer_service(observer, &info) != -ECHILD ||
        carom_observer_workers(observer, &worker, 1) != -ECHILD ||
        carom_observer_clients(observer, &client, 1) != -ECHILD ||
        carom_observer_description(observer, text, sizeof text) != -ECHILD ||
        carom_observer_method(observer, 0)[0] != '\0')
        return 1;
    carom_observer_close(observer);
    return 0;
}

static void a_forked_child_sees_nothing(void **state)
{
    (void)state;
    assert_int_equal(in_child(use_in_child, NULL), 0);
    look();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        started(a_service_that_is_not_there_is_named),
        started(a_service_without_workers_is_starting),
        started(workers_and_clients_are_counted_as_they_come_and_go),
        started(peers_are_shown_as_the_kernel_knows_them),
        started(more_peers_than_fit_are_counted_and_not_written),
        started(methods_are_named_by_their_ids),
        started(calls_errors_and_expired_ones_are_counted),
        started(a_worker_is_shown_with_the_call_it_runs),
        started(a_method_that_cannot_be_is_not_shown_as_running),
        started(stand_ins_are_not_listed),
        started(a_service_of_which_nothing_was_said_has_an_empty_description),
        started(what_the_keeper_says_is_read_whole),
        started(a_buffer_that_is_too_small_is_refused_and_not_written),
        started(a_description_that_is_never_complete_is_given_up),
        started(a_length_beyond_the_memory_is_refused),
        started(a_description_that_changes_is_seen_whole_or_not_at_all),
        started(the_time_in_calls_is_measured),
        started(short_calls_are_measured_too),
        started(the_end_of_the_service_is_seen),
        started(a_service_that_was_told_to_stop_is_stopping),
        started(a_forked_child_sees_nothing),
    };
    return RUN(tests);
}
