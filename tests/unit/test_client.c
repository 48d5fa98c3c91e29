/* SPDX-License-Identifier: Apache-2.0
 *
 * test_client.c - connecting as a client and leaving, options, statistics, fork. */
#include "support.h"

#include "client.h"
#include "service.h"

#include <errno.h>
#include <unistd.h>

static struct carom_client_options options_of(uint32_t slots, uint64_t block_bytes)
{
    return (struct carom_client_options){
        .size = sizeof(struct carom_client_options),
        .slots = slots,
        .request_block_bytes = block_bytes,
        .reply_block_bytes = block_bytes,
    };
}

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    return rc;
}

#define started(test) cmocka_unit_test_setup_teardown(test, start, after_test)

/* ---------------------------------------------------------------- opening */

/* A new one whose first call a worker has answered, for which a busy machine may need too long. */
static struct carom_client *client_rehearsed(void)
{
    for (;;) {
        struct carom_client *client = client_open(4, 8192);
        uint64_t word = carom__lane_state(&client->lane, 0);
        if (carom__state_phase(word) == CAROM__DONE &&
            carom__state_owner(word) != CAROM__OWNER_CLIENT)
            return client;
        client_close(client);
    }
}

static void a_new_client_has_had_a_call_that_counts_nowhere(void **state)
{
    (void)state;
    struct carom_observer *observer;
    struct carom_worker_info info;
    worker_start();
    struct carom_client *client = client_rehearsed();
    assert_int_equal(carom__slots_free(&client->slots), 4);
    assert_int_equal(carom_observer_open(SERVICE, &observer), 0);
    assert_int_equal(carom_observer_workers(observer, &info, 1), 1);
    assert_int_equal(info.calls, 0);
    assert_int_equal(info.running_method, -1);
    carom_observer_close(observer);
    assert_echoes(client);
}

static void workers_that_are_busy_keep_no_client_from_connecting(void **state)
{
    (void)state;
    struct carom_request *request;
    struct carom_worker *worker = worker_open(); /* takes nothing */
    struct carom_client *client = client_open(4, 8192);
    assert_int_equal(carom__slots_free(&client->slots), 4);
    assert_int_equal(carom__state_phase(carom__lane_state(&client->lane, 0)), CAROM__DONE);
    /* and the call is nobody's any more */
    assert_int_equal(carom_worker_take(worker, 0, &request), -ETIMEDOUT);
}

static void the_defaults_are_256_slots_of_64_mebibytes(void **state)
{
    (void)state;
    struct carom_client *client;
    struct carom_call *call;
    size_t capacity;
    worker_start();
    assert_int_equal(carom_client_open(SERVICE, PATIENCE, NULL, &client), 0);
    client_know_methods(client);
    assert_int_equal(carom_client_slots(client), 256);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &call), 0);
    char *request = carom_call_request(call, &capacity);
    assert_int_equal(capacity, 64 << 20);
    assert_int_equal((uintptr_t)request % 64, 0);
    request[0] = 'a';
    request[capacity - 1] = 'z';
    carom_call_end(call);
    assert_echoes(client);
    carom_client_close(client);
}

static void a_service_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct carom_client *client = (void *)1;
    assert_int_equal(carom_client_open("elsewhere", 0, NULL, &client), -ENOENT);
    assert_null(client);
    assert_non_null(strstr(carom_error_detail(), "'elsewhere'"));
    assert_int_equal(carom_client_open("else where", 0, NULL, &client), -EINVAL);
    assert_int_equal(carom_client_open(NULL, 0, NULL, &client), -EINVAL);
}

static void a_service_without_workers_can_be_connected_to(void **state)
{
    (void)state;
    struct carom_client_statistics statistics;
    struct carom_client *client;
    assert_int_equal(carom_client_open(SERVICE, 0, NULL, &client), 0);
    assert_int_equal(carom_client_statistics(client, &statistics), 0);
    assert_true(statistics.connected);
    assert_int_equal(statistics.reconnects, 0);
    assert_int_equal(statistics.retries, 0);
    assert_true(statistics.connected_ns > 0 && statistics.connected_ns <= carom_now_ns());
    carom_client_close(client);
}

static void options_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct carom_client *client;
    const uint32_t slots[] = {3, 100, 8192, UINT32_MAX};
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        struct carom_client_options options = options_of(slots[i], 4096);
        assert_int_equal(carom_client_open(SERVICE, 0, &options, &client), -EINVAL);
        assert_non_null(strstr(carom_error_detail(), "power of two"));
    }
    const uint64_t blocks[] = {(UINT64_C(1) << 40) + 1, UINT64_MAX, UINT64_MAX - 4095};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        struct carom_client_options options = options_of(4, blocks[i]);
        assert_int_equal(carom_client_open(SERVICE, 0, &options, &client), -EINVAL);
    }
    const size_t sizes[] = {0, 7, sizeof(struct carom_client_options) + 8};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct carom_client_options options = {.size = sizes[i]};
        assert_int_equal(carom_client_open(SERVICE, 0, &options, &client), -EINVAL);
        assert_non_null(strstr(carom_error_detail(), "sizeof"));
    }
}

static void options_about_retries_that_contradict_are_refused(void **state)
{
    (void)state;
    struct carom_client *client;
    const uint32_t statuses[] = {1, 1u << 17, UINT32_MAX};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        struct carom_client_options options = options_of(4, 4096);
        options.retry_statuses = statuses[i];
        assert_int_equal(carom_client_open(SERVICE, 0, &options, &client), -EINVAL);
        assert_non_null(strstr(carom_error_detail(), "retry_statuses"));
    }
    const int64_t pauses[][2] = {{-1, 0}, {-1, -1}, {2, 1}, {1, -1}};
    for (size_t i = 0; i < sizeof pauses / sizeof pauses[0]; i++) {
        struct carom_client_options options = options_of(4, 4096);
        options.retry_pause_ns = pauses[i][0];
        options.retry_pause_most_ns = pauses[i][1];
        assert_int_equal(carom_client_open(SERVICE, 0, &options, &client), -EINVAL);
        assert_non_null(strstr(carom_error_detail(), "retry_pause_ns"));
    }
    struct carom_client_options options = options_of(4, 4096);
    options.retry_pause_ns = 5 * SECOND; /* longer than the default of the longest */
    assert_int_equal(carom_client_open(SERVICE, 0, &options, &client), 0);
    assert_int_equal(client->retry.pause_most_ns, 5 * SECOND);
    carom_client_close(client);
}

static void options_of_an_older_program_are_read_as_far_as_they_go(void **state)
{
    (void)state;
    struct carom_client *client;
    struct carom_client_options options = options_of(2, 4096);
    options.size = offsetof(struct carom_client_options, request_block_bytes);
    options.resident_bytes = 1;
    worker_start();
    assert_int_equal(carom_client_open(SERVICE, PATIENCE, &options, &client), 0);
    assert_int_equal(carom_client_slots(client), 2);
    assert_int_equal(client->lane.geometry.request_block_bytes, 64 << 20);
    carom_client_close(client);
}

static void blocks_are_rounded_up_to_pages(void **state)
{
    (void)state;
    struct carom_call *call;
    size_t capacity;
    worker_start();
    struct carom_client *client = client_open(2, 5000);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &call), 0);
    carom_call_request(call, &capacity);
    assert_int_equal(capacity, 8192);
    carom_call_end(call);
}

static void the_hosts_limits_come_back_in_its_own_words(void **state)
{
    (void)state;
    struct carom_client *client;
    struct carom_client_options options = options_of(4, UINT64_C(2) << 30);
    assert_int_equal(carom_client_open(SERVICE, 0, &options, &client), -EINVAL);
    assert_non_null(strstr(carom_error_detail(), "this service allows 1073741824"));
}

static void spinning_can_be_set_or_switched_off(void **state)
{
    (void)state;
    struct carom_client *client;
    struct carom_client_options options = options_of(2, 4096);
    worker_start();
    options.spin_ns = 12345;
    assert_int_equal(carom_client_open(SERVICE, PATIENCE, &options, &client), 0);
    assert_int_equal(client->spin.cap_ns, 12345);
    carom_client_close(client);
    options.no_spin = true;
    assert_int_equal(carom_client_open(SERVICE, PATIENCE, &options, &client), 0);
    assert_int_equal(client->spin.cap_ns, 0);
    client_know_methods(client);
    assert_echoes(client);
    carom_client_close(client);
    options.no_spin = false;
    options.spin_ns = 0;
    assert_int_equal(carom_client_open(SERVICE, PATIENCE, &options, &client), 0);
    assert_true(client->spin.cap_ns >= 5000);
    carom_client_close(client);
}

static void closing_nothing_is_allowed(void **state)
{
    (void)state;
    carom_client_close(NULL);
}

static void a_client_may_close_while_its_calls_run(void **state)
{
    (void)state;
    worker_start();
    struct carom_client *client = client_open(4, 4096);
    call_submitted(client, HOLD, 4);
    call_submitted(client, ECHO, 4);
    await(value_of(&board->held) == 1);
    client_close(client);
    add_to(&board->release, 1);
    assert_echoes(client_open(4, 4096));
}

/* ---------------------------------------------------------------- fork */

static struct carom_call *done, *running;

static int use_in_child(void *client)
{
    struct carom_call *call;
    struct carom_error error;
    struct carom_client_statistics statistics;
    char reply[8];
    bool refused = carom_call_begin(client, ECHO, 0, 0, &call) == -ECHILD &&
                   carom_client_method(client, "echo") == -ECHILD &&
                   carom_client_statistics(client, &statistics) == -ECHILD &&
                   carom_client_next(client, 0, &call) == -ECHILD &&
                   carom_call_wait(running) == -ECHILD && carom_call_poll(done) == -ECHILD &&
                   carom_call_submit(running, 0) == -ECHILD &&
                   carom_call_cancel(running) == -ECHILD &&
                   carom_invoke(client, ECHO, "x", 1, reply, 8, NULL, 0) == -ECHILD;
    carom_call_end(running);
    carom_call_end(done);
    if (carom_call_error(running, &error) >= 0)
        return 2;
    carom_client_close(client);
    return refused ? 0 : 1;
}

static void a_forked_child_is_refused_everything_and_may_close(void **state)
{
    (void)state;
    worker_start();
    struct carom_client *client = client_open(4, 4096);
    done = call_submitted(client, ECHO, 4);
    assert_int_equal(carom_call_wait(done), CAROM_OK);
    running = call_submitted(client, HOLD, 4);
    int in_its_child = in_child(use_in_child, client);
    add_to(&board->release, 1);
    assert_int_equal(carom_call_wait(running), CAROM_OK); /* nothing has happened to the parent's */
    carom_call_end(running);
    carom_call_end(done);
    assert_echoes(client);
    assert_int_equal(in_its_child, 0);
}

static int ask_for_error(void *call)
{
    struct carom_error error;
    return carom_call_error(call, &error) == -ECHILD ? 0 : 1;
}

static int ask_for_reply(void *call)
{
    size_t length = 5;
    return carom_call_reply(call, &length) == NULL && length == 0 ? 0 : 1;
}

static void a_forked_child_gets_no_pointers_into_memory_it_does_not_have(void **state)
{
    (void)state;
    worker_start();
    struct carom_client *client = client_open(4, 4096);
    done = call_submitted(client, ECHO, 4);
    assert_int_equal(carom_call_wait(done), CAROM_OK);
    struct carom_call *wrong = call_begin(client, FAIL, 1);
    memset(carom_call_request(wrong, NULL), CAROM_ABORTED, 1);
    assert_int_equal(carom_call_submit(wrong, 1), 0);
    assert_int_equal(carom_call_wait(wrong), CAROM_ABORTED);
    int reply = in_child(ask_for_reply, done), error = in_child(ask_for_error, wrong);
    carom_call_end(done);
    carom_call_end(wrong);
    assert_int_equal(error, 0);
    assert_int_equal(reply, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        started(a_new_client_has_had_a_call_that_counts_nowhere),
        started(workers_that_are_busy_keep_no_client_from_connecting),
        started(the_defaults_are_256_slots_of_64_mebibytes),
        started(a_service_that_is_not_there_is_named),
        started(a_service_without_workers_can_be_connected_to),
        started(options_that_cannot_be_are_refused),
        started(options_about_retries_that_contradict_are_refused),
        started(options_of_an_older_program_are_read_as_far_as_they_go),
        started(blocks_are_rounded_up_to_pages),
        started(the_hosts_limits_come_back_in_its_own_words),
        started(spinning_can_be_set_or_switched_off),
        started(closing_nothing_is_allowed),
        started(a_client_may_close_while_its_calls_run),
        started(a_forked_child_is_refused_everything_and_may_close),
        started(a_forked_child_gets_no_pointers_into_memory_it_does_not_have),
    };
    return RUN(tests);
}
