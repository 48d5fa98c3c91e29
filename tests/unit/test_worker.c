/* SPDX-License-Identifier: Apache-2.0
 *
 * test_worker.c - joining as a worker, taking calls, sleeping and being stopped, clients that write
 * nonsense. */
#include "support.h"

#include "bell.h"
#include "client.h"
#include "host.h"
#include "service.h"
#include "worker.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static struct carom_client *client;
static struct carom_worker *worker; /* by hand */

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    worker = worker_open();
    client = client_open(4, 8192);
    return rc;
}

#define started(test) cmocka_unit_test_setup_teardown(test, start, after_test)

static struct carom_request *take(void)
{
    struct carom_request *request;
    assert_int_equal(carom_worker_take(worker, PATIENCE, &request), 0);
    return request;
}

/* Number of a method in the directory, which is that of no worker and of no client. */
static int directory_id_of(const char *name)
{
    struct carom__directory *directory = service_host()->directory;
    uint32_t count = atomic_load(&directory->method_count);
    for (uint32_t id = 0; id < count; id++) {
        if (strcmp(directory->methods[id].name, name) == 0)
            return (int)id;
    }
    fail_msg("the directory has no method '%s'", name);
    return -1;
}

static void assert_take(int expected, int64_t timeout_ns)
{
    struct carom_request *request;
    assert_int_equal(carom_worker_take(worker, timeout_ns, &request), expected);
}

/* ---------------------------------------------------------------- joining */

static void assert_not_joined(const struct carom_method *methods, size_t count, int error)
{
    struct carom_worker *opened = (void *)1;
    assert_int_equal(carom_worker_open(SERVICE, methods, count, 0, NULL, &opened), error);
    assert_null(opened);
}

static void methods_without_a_proper_name_are_refused(void **state)
{
    (void)state;
    char name[CAROM_METHOD_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[CAROM_METHOD_NAME_MAX + 1] = '\0';
    const struct carom_method none = {0}, empty = {.name = ""}, longer = {.name = name};
    assert_not_joined(&none, 1, -EINVAL);
    assert_not_joined(&empty, 1, -EINVAL);
    assert_not_joined(&longer, 1, -EINVAL);
    assert_not_joined(NULL, 0, -EINVAL);
    static struct carom_method many[CAROM__MAX_METHODS + 1];
    assert_not_joined(many, CAROM__MAX_METHODS + 1, -EINVAL);
}

static void a_method_named_twice_is_refused(void **state)
{
    (void)state;
    const struct carom_method methods[] = {{.name = "a"}, {.name = "b"}, {.name = "a"}};
    assert_not_joined(methods, 3, -EEXIST);
    assert_non_null(strstr(carom_error_detail(), "'a'"));
}

static void the_longest_name_can_be_called(void **state)
{
    (void)state;
    char name[CAROM_METHOD_NAME_MAX + 1];
    struct carom_worker *other;
    struct carom_request *request;
    memset(name, 'n', sizeof name);
    name[CAROM_METHOD_NAME_MAX] = '\0';
    const struct carom_method method = {.name = name};
    worker_stop(worker);
    assert_int_equal(carom_worker_open(SERVICE, &method, 1, PATIENCE, NULL, &other), 0);
    memset(name, 'x', 5); /* names are copied */
    memset(name, 'n', 5);
    int id = carom_client_method(client, name);
    assert_true(id >= 0);
    struct carom_call *call = call_submitted(client, id, 4);
    assert_int_equal(carom_worker_take(other, PATIENCE, &request), 0);
    assert_int_equal(carom_request_method(request), 0);
    carom_request_reply(request, 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
    carom_worker_close(other);
}

static void a_service_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct carom_worker *opened;
    assert_int_equal(carom_worker_open("elsewhere", service_methods, METHODS, 0, NULL, &opened),
                     -ENOENT);
    assert_non_null(strstr(carom_error_detail(), "'elsewhere'"));
}

static void flags_of_a_method_that_nobody_knows_are_refused(void **state)
{
    (void)state;
    const unsigned wrong[] = {2, CAROM_IDEMPOTENT | 4, 0x80000000u, ~0u};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct carom_method method = {.name = "odd", .flags = wrong[i]};
        assert_not_joined(&method, 1, -EINVAL);
        assert_non_null(strstr(carom_error_detail(), "'odd'"));
        assert_non_null(strstr(carom_error_detail(), "CAROM_IDEMPOTENT"));
    }
}

static uint32_t flags_in_directory(int id)
{
    return atomic_load(&service_host()->directory->methods[id].flags);
}

static void the_host_learns_which_methods_are_idempotent(void **state)
{
    (void)state;
    const struct carom_method methods[] = {{.name = "again", .flags = CAROM_IDEMPOTENT},
                                           {.name = "once"}};
    struct carom_worker *other;
    assert_int_equal(carom_worker_open(SERVICE, methods, 2, PATIENCE, NULL, &other), 0);
    int again = directory_id_of("again"), once = directory_id_of("once");
    uint32_t flags[] = {flags_in_directory(again), flags_in_directory(once)};
    carom_worker_close(other);
    assert_int_equal(flags[0], CAROM_IDEMPOTENT);
    assert_int_equal(flags[1], 0);
}

static void a_stand_in_says_so(void **state)
{
    (void)state;
    struct carom_worker *other;
    struct carom_worker_options options = {.size = sizeof options, .stand_in = true};
    assert_int_equal(carom_host_wait_ready(service_host(), 1, PATIENCE), 0);
    assert_int_equal(
        carom_worker_open(SERVICE, service_methods, METHODS, PATIENCE, &options, &other), 0);
    struct carom__peer_entry *entries = service_host()->directory->workers;
    await(atomic_load(&entries[carom_worker_id(other)].present) != 0);
    uint32_t present = atomic_load(&entries[carom_worker_id(other)].present);
    carom_worker_close(other);
    assert_int_equal(present, CAROM__PRESENT_STAND_IN);
    assert_int_equal(atomic_load(&entries[carom_worker_id(worker)].present), CAROM__PRESENT);
}

static void options_of_an_unknown_size_are_refused(void **state)
{
    (void)state;
    struct carom_worker *opened;
    const size_t sizes[] = {0, 7, sizeof(struct carom_worker_options) + 1};
    for (size_t i = 0; i < 3; i++) {
        struct carom_worker_options options = {.size = sizes[i]};
        assert_int_equal(carom_worker_open(SERVICE, service_methods, METHODS, 0, &options, &opened),
                         -EINVAL);
    }
}

static void spinning_can_be_set_or_switched_off(void **state)
{
    (void)state;
    struct carom_worker *opened;
    struct carom_worker_options options = {.size = sizeof options, .spin_ns = 4321};
    assert_int_equal(
        carom_worker_open(SERVICE, service_methods, METHODS, PATIENCE, &options, &opened), 0);
    assert_int_equal(opened->spin.cap_ns, 4321);
    carom_worker_close(opened);
    options.no_spin = true;
    assert_int_equal(
        carom_worker_open(SERVICE, service_methods, METHODS, PATIENCE, &options, &opened), 0);
    assert_int_equal(opened->spin.cap_ns, 0);
    carom_worker_close(opened);
    carom_worker_close(NULL);
}

static void ids_are_given_in_turn_and_used_again(void **state)
{
    (void)state;
    assert_int_equal(carom_worker_id(worker), 0);
    struct carom_worker *second = worker_open(), *third = worker_open();
    assert_int_equal(carom_worker_id(second), 1);
    assert_int_equal(carom_worker_id(third), 2);
    assert_int_equal(carom_host_wait_ready(service_host(), 3, PATIENCE), 0);
    worker_stop(second);
    await(atomic_load(&service_host()->directory->worker_count) == 2);
    assert_int_equal(carom_worker_id(worker_open()), 1);
}

/* ---------------------------------------------------------------- taking */

static void without_a_call_it_waits_as_long_as_asked(void **state)
{
    (void)state;
    struct carom_request *request;
    int64_t began = carom_now_ns();
    assert_take(-ETIMEDOUT, 0);
    assert_take(-ETIMEDOUT, 5 * MILLISECOND);
    assert_true(carom_now_ns() - began >= 5 * MILLISECOND);
    assert_int_equal(carom_worker_poll(worker, 0, &request), -EAGAIN);
    assert_int_equal(carom_worker_poll(worker, 20000, &request), -EAGAIN);
    assert_int_equal(carom_worker_poll(worker, -1, &request), -EAGAIN);
}

static void a_call_that_is_there_is_taken_at_once_by_take_and_by_poll(void **state)
{
    (void)state;
    struct carom_request *request;
    struct carom_call *one = call_submitted(client, ECHO, 1),
                      *two = call_submitted(client, FAIL, 2);
    assert_int_equal(carom_worker_take(worker, 0, &request), 0);
    assert_int_equal(carom_request_method(request), ECHO);
    carom_request_reply(request, 0);
    assert_int_equal(carom_worker_poll(worker, 0, &request), 0);
    assert_int_equal(carom_request_method(request), FAIL);
    carom_request_reply(request, 0);
    assert_int_equal(carom_call_wait(one), CAROM_OK);
    assert_int_equal(carom_call_wait(two), CAROM_OK);
    carom_call_end(one);
    carom_call_end(two);
}

static void one_request_is_finished_before_the_next_is_taken(void **state)
{
    (void)state;
    struct carom_request *request, *other;
    struct carom_call *call = call_submitted(client, ECHO, 1);
    request = take();
    assert_int_equal(carom_worker_take(worker, 0, &other), -EBUSY);
    assert_int_equal(carom_worker_poll(worker, 0, &other), -EBUSY);
    assert_int_equal(carom_worker_run(worker), -EBUSY);
    carom_request_reply(request, 0);
    assert_take(-ETIMEDOUT, 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

static void clients_are_served_in_turn(void **state)
{
    (void)state;
    enum { CLIENTS = 3, CALLS = 64 };
    struct carom_client *clients[CLIENTS];
    struct carom_call *calls[CLIENTS][CALLS];
    int served[CLIENTS] = {0}, first_all = 0;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(CALLS, 4096);
        for (int j = 0; j < CALLS; j++)
            calls[i][j] = call_submitted(clients[i], ECHO, 0);
    }
    for (int n = 1; n <= CLIENTS * CALLS; n++) {
        struct carom_request *request = take();
        struct carom_peer peer;
        carom_request_client(request, &peer);
        served[peer.id - (int)clients[0]->lane_id]++;
        carom_request_reply(request, 0);
        if (first_all == 0 && served[0] && served[1] && served[2])
            first_all = n;
    }
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(served[i], CALLS);
        for (int j = 0; j < CALLS; j++)
            carom_call_end(calls[i][j]);
    }
    assert_true(first_all <= CALLS); /* nobody waited for all calls of another */
}

static void a_quiet_lane_loses_its_ready_bit_and_is_heard_again(void **state)
{
    (void)state;
    struct carom_client *quiet = client_open(2, 4096);
    struct carom_call *call = call_submitted(quiet, ECHO, 0);
    carom_request_reply(take(), 0);
    carom_call_end(call);
    assert_true(carom__bell_ready_word(quiet->bell, 0) >> quiet->lane_id & 1);
    assert_take(-ETIMEDOUT, 5 * MILLISECOND); /* it has been asleep */
    assert_false(carom__bell_ready_word(quiet->bell, 0) >> quiet->lane_id & 1);
    call = call_submitted(quiet, ECHO, 0);
    carom_request_reply(take(), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

/* Every client of the service can write them. */
static void a_ready_bit_that_somebody_cleared_is_set_again(void **state)
{
    (void)state;
    struct carom_client *victim = client_open(2, 4096);
    struct carom_call *call = call_submitted(client, ECHO, 0);
    carom_request_reply(take(), 0);
    carom_call_end(call);
    assert_int_equal(worker->current, client->lane_id); /* looked at without a bit */
    call = call_submitted(victim, ECHO, 0);
    carom__bell_clear_ready(victim->bell, victim->lane_id);
    carom_request_reply(take(), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

/* ---------------------------------------------------------------- expired, unknown */

static void an_expired_call_is_answered_and_never_returned(void **state)
{
    (void)state;
    struct carom_call *call;
    struct carom_request *request;
    assert_int_equal(carom_call_begin(client, ECHO, 0, 0, &call), 0);
    assert_int_equal(carom_call_submit(call, 4), 0);
    assert_int_equal(carom_worker_poll(worker, 0, &request), -EAGAIN);
    assert_int_equal(carom__state_phase(atomic_load(&client->lane.slots[0].state)), CAROM__DONE);
    assert_int_equal(atomic_load(&worker->stats->expired), 1);
    assert_int_equal(carom_call_wait(call), -ETIMEDOUT);
    carom_call_end(call);
}

static void behind_an_expired_call_the_next_is_found(void **state)
{
    (void)state;
    struct carom_call *expired, *call;
    assert_int_equal(carom_call_begin(client, ECHO, 0, 0, &expired), 0);
    assert_int_equal(carom_call_submit(expired, 4), 0);
    call = call_submitted(client, FAIL, 4);
    struct carom_request *request = take();
    assert_int_equal(carom_request_method(request), FAIL);
    carom_request_reply(request, 0);
    carom_call_end(expired);
    carom_call_end(call);
}

/* Short calls, so that the worker has no reason to look at the clock for some time. */
static void take_short_calls(int count)
{
    struct carom_request *request;
    for (int i = 0; i < count; i++) {
        struct carom_call *call = call_submitted(client, ECHO, 0);
        while (carom_worker_poll(worker, 0, &request) != 0)
            continue;
        carom_request_reply(request, 0);
        carom_call_end(call);
    }
}

static void a_call_that_expired_during_a_long_one_never_runs(void **state)
{
    (void)state;
    struct carom_call *expires, *call;
    struct carom_request *request;
    take_short_calls(20);
    call = call_submitted(client, ECHO, 0);
    assert_int_equal(carom_worker_poll(worker, 0, &request), 0);
    assert_int_equal(carom_call_begin(client, ECHO, SECOND + 200 * MILLISECOND, 0, &expires), 0);
    assert_int_equal(carom_call_submit(expires, 0), 0);
    int64_t deadline_ns = expires->submission.deadline_ns;
    await(carom_now_ns() > deadline_ns); /* that long the handler takes */
    carom_request_reply(request, 0);
    int rc = carom_worker_poll(worker, 0, &request);
    if (rc == 0)
        carom_request_reply(request, 0);
    carom_call_end(expires);
    carom_call_end(call);
    assert_int_equal(rc, -EAGAIN);
}

static void a_deadline_before_the_beginning_of_time_has_passed(void **state)
{
    (void)state;
    const int64_t deadlines[] = {INT64_MIN, INT64_MIN + 1, -1, 0};
    struct carom_request *request;
    for (size_t i = 0; i < 4; i++) {
        struct carom_call *call = call_begin(client, ECHO, 0);
        call->submission.deadline_ns = deadlines[i];
        assert_int_equal(carom_call_submit(call, 0), 0);
        assert_int_equal(carom_worker_poll(worker, 0, &request), -EAGAIN);
        assert_int_equal(carom_call_wait(call), -ETIMEDOUT);
        carom_call_end(call);
    }
}

/* A call of a number that the library would refuse to write. */
static struct carom_call *call_number(uint32_t method)
{
    struct carom_call *call = call_begin(client, ECHO, 0);
    call->submission.method = method;
    assert_int_equal(carom_call_submit(call, 0), 0);
    return call;
}

static void an_unknown_method_is_answered_and_never_returned(void **state)
{
    (void)state;
    const uint32_t methods[] = {METHODS, CAROM__MAX_METHODS - 1, CAROM__MAX_METHODS, INT32_MAX,
                                UINT32_MAX - 1};
    struct carom_error error;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct carom_call *call = call_number(methods[i]);
        assert_take(-ETIMEDOUT, 0);
        assert_int_equal(carom_call_wait(call), CAROM_UNIMPLEMENTED);
        assert_int_equal(carom_call_error(call, &error), 0);
        assert_string_equal(error.type, "carom.UnknownMethod");
        assert_non_null(strstr(error.message, "the service has no method of number"));
        carom_call_end(call);
    }
}

static void a_method_that_only_another_worker_serves_is_answered_by_its_name(void **state)
{
    (void)state;
    struct carom_worker *other;
    struct carom_error error;
    const struct carom_method method = {.name = "special"};
    assert_int_equal(carom_worker_open(SERVICE, &method, 1, PATIENCE, NULL, &other), 0);
    struct carom_call *call = call_submitted(client, carom_client_method(client, "special"), 0);
    assert_take(-ETIMEDOUT, 0);
    assert_int_equal(carom_call_wait(call), CAROM_UNIMPLEMENTED);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.message, "this worker does not serve the method 'special', which "
                                       "another worker of the service does");
    carom_call_end(call);
    carom_worker_close(other);
}

static void workers_of_different_methods_share_a_service(void **state)
{
    (void)state;
    struct carom_worker *other;
    const struct carom_method method = {.name = "special"};
    struct carom_request *request;
    assert_int_equal(carom_worker_open(SERVICE, &method, 1, PATIENCE, NULL, &other), 0);
    int id = carom_client_method(client, "special");
    assert_int_equal(id, METHODS);
    struct carom_call *call = call_submitted(client, id, 0);
    assert_int_equal(carom_worker_take(other, PATIENCE, &request), 0);
    assert_int_equal(carom_request_method(request), 0); /* index of its own */
    carom_request_reply(request, 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
    carom_worker_close(other);
}

/* ---------------------------------------------------------------- what runs */

static int running_of(const struct carom_worker *of)
{
    int64_t since_ns = -1;
    int method = carom_worker_running(of, &since_ns);
    assert_true(method < 0 ? since_ns == 0 : since_ns > 0 && since_ns <= carom_now_ns());
    assert_int_equal(carom_worker_running(of, NULL), method);
    return method;
}

static void a_worker_knows_which_call_it_runs_and_since_when(void **state)
{
    (void)state;
    int64_t since_ns, before = carom_now_ns();
    assert_int_equal(running_of(worker), -1);
    struct carom_call *call = call_submitted(client, FAIL, 4);
    struct carom_request *request = take();
    assert_int_equal(carom_worker_running(worker, &since_ns), FAIL);
    assert_true(since_ns >= before - 200 * MILLISECOND && since_ns <= carom_now_ns());
    assert_int_equal(running_of(worker), FAIL);
    assert_int_equal(atomic_load(&worker->stats->running), FAIL + 1);
    carom_request_reply(request, 0);
    assert_int_equal(running_of(worker), -1);
    carom_call_end(call);
}

static void a_call_that_failed_or_was_left_or_whose_memory_was_kept_runs_no_more(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom_request_fail(take(), CAROM_ABORTED, NULL, NULL, NULL);
    assert_int_equal(running_of(worker), -1);
    carom_call_end(call);
    call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    void *kept = (void *)(uintptr_t)carom_request_data(request, NULL);
    assert_int_equal(carom_request_detach(request, CAROM_REQUEST_BLOCK, 4), 0);
    assert_int_equal(running_of(worker), ECHO);
    carom_call_cancel(call);
    assert_int_equal(running_of(worker), ECHO); /* cancelled is not finished */
    carom_request_reply(request, 0);
    assert_int_equal(running_of(worker), -1);
    carom_call_end(call);
    carom_detached_free(kept, 4);
    call = call_submitted(client, ECHO, 4);
    take();
    struct carom__worker_stats *record =
        &service_host()->statistics->workers[carom_worker_id(worker)];
    assert_int_equal(atomic_load(&record->running), ECHO + 1);
    worker_stop(worker); /* in the middle of a request */
    assert_int_equal(atomic_load(&record->running), 0);
    carom_call_end(call);
}

static void calls_that_the_library_answers_itself_do_not_run(void **state)
{
    (void)state;
    struct carom_call *expired;
    assert_int_equal(carom_call_begin(client, ECHO, 0, 0, &expired), 0);
    assert_int_equal(carom_call_submit(expired, 4), 0);
    struct carom_call *unknown = call_number(METHODS);
    assert_take(-ETIMEDOUT, 0);
    assert_int_equal(running_of(worker), -1);
    carom_call_end(expired);
    carom_call_end(unknown);
}

static void what_runs_is_an_index_of_the_workers_own_methods(void **state)
{
    (void)state;
    struct carom_worker *other;
    struct carom_request *request;
    const struct carom_method methods[] = {{.name = "other"}, {.name = "special"}};
    assert_int_equal(carom_worker_open(SERVICE, methods, 2, PATIENCE, NULL, &other), 0);
    struct carom_call *call = call_submitted(client, carom_client_method(client, "special"), 0);
    assert_int_equal(carom_worker_take(other, PATIENCE, &request), 0);
    int running = running_of(other);
    uint32_t recorded = atomic_load(&other->stats->running);
    carom_request_reply(request, 0);
    carom_call_end(call);
    int number = directory_id_of("special");
    carom_worker_close(other);
    assert_int_equal(running, 1);
    assert_int_equal(recorded, number + 1);
}

/* Another worker maps the same memory and may write anything. */
static void nonsense_in_the_record_is_no_method(void **state)
{
    (void)state;
    const uint32_t nonsense[] = {METHODS + 1, CAROM__MAX_METHODS, CAROM__MAX_METHODS + 1,
                                 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        atomic_store(&worker->stats->running, nonsense[i]);
        assert_int_equal(carom_worker_running(worker, NULL), -1);
    }
}

/* The exact clock is ahead of the one that a call not timed for the statistics is dated by. */
static void a_call_is_never_dated_before_the_one_before_it(void **state)
{
    (void)state;
    int64_t exact_ns, since_ns;
    struct carom_call *call = call_submitted(client, ECHO, 0);
    worker->until_timed = 1;
    worker->claimed_ns = 0;
    worker->now_ns = exact_ns = carom_now_ns();
    struct carom_request *request = take();
    assert_int_equal(carom_worker_running(worker, &since_ns), ECHO);
    assert_true(since_ns >= exact_ns);
    carom_request_reply(request, 0);
    carom_call_end(call);
}

static void *watch_running(void *unused)
{
    int64_t since_ns, latest_ns = 0;
    (void)unused;
    while (value_of(&board->finish) == 0) {
        int method = carom_worker_running(worker, &since_ns);
        require(method == -1 || method == ECHO);
        if (method == -1)
            continue;
        require(since_ns >= latest_ns); /* no call looks older than one seen before it */
        latest_ns = since_ns;
    }
    return NULL;
}

static void another_thread_can_look_while_calls_come_and_go(void **state)
{
    (void)state;
    worker_stop(worker);
    worker = worker_start();
    pthread_t thread = thread_start(watch_running, NULL);
    for (int i = 0; i < ROUNDS(20000); i++)
        assert_echoes(client);
    add_to(&board->finish, 1);
    thread_join(thread);
}

/* ---------------------------------------------------------------- sleeping */

static void *take_one(void *unused)
{
    (void)unused;
    carom_request_reply(take(), 0);
    return NULL;
}

static void a_worker_that_sleeps_is_woken_by_a_call(void **state)
{
    (void)state;
    pthread_t thread = thread_start(take_one, NULL);
    await_asleep(&worker->bell->parks[worker->id].word, 1);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    thread_join(thread);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

static void *call_once_more(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS(3000); i++) {
        if (i % 50 == 0)
            await(atomic_load(&worker->bell->parked[0]) != 0);
        char reply[4];
        require(carom_invoke(client, ECHO, "abc", 4, reply, 4, NULL, PATIENCE) == CAROM_OK);
    }
    return NULL;
}

static void workers_that_fall_asleep_again_and_again_miss_no_call(void **state)
{
    (void)state;
    worker_start();
    worker_stop(worker);
    worker = worker_start();
    run_together(3, call_once_more, NULL);
}

static void on_signal(int number)
{
    (void)number;
}

static void *take_until_signal(void *unused)
{
    (void)unused;
    assert_take(-EINTR, CAROM_FOREVER);
    return NULL;
}

static void a_signal_interrupts_a_worker_that_sleeps(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigaction(SIGUSR1, &action, &before);
    pthread_t thread = thread_start(take_until_signal, NULL);
    await_asleep(&worker->bell->parks[worker->id].word, 1);
    pthread_kill(thread, SIGUSR1);
    thread_join(thread);
    sigaction(SIGUSR1, &before, NULL);
    assert_int_equal(atomic_load(&worker->bell->parked[0]), 0); /* it does not look asleep */
}

/* ---------------------------------------------------------------- stopping */

static void a_worker_told_to_stop_takes_nothing_more(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom_worker_stop(worker);
    assert_take(-ESHUTDOWN, CAROM_FOREVER);
    assert_take(-ESHUTDOWN, 0);
    assert_int_equal(carom_worker_run(worker), 0);
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    carom_call_end(call);
}

static void *take_until_stop(void *unused)
{
    (void)unused;
    assert_take(-ESHUTDOWN, CAROM_FOREVER);
    return NULL;
}

static void a_worker_that_sleeps_is_stopped_from_another_thread(void **state)
{
    (void)state;
    pthread_t thread = thread_start(take_until_stop, NULL);
    await_asleep(&worker->bell->parks[worker->id].word, 1);
    carom_worker_stop(worker);
    thread_join(thread);
}

static void the_call_that_woke_a_stopped_worker_is_taken_by_another(void **state)
{
    (void)state;
    pthread_t thread = thread_start(take_until_stop, NULL);
    await_asleep(&worker->bell->parks[worker->id].word, 1);
    atomic_store(&worker->stop, true); /* told, not woken yet */
    struct carom_call *call = call_submitted(client, ECHO, 4);
    thread_join(thread);
    worker_start();
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

/* ---------------------------------------------------------------- asked to leave */

static void *take_until_asked_to_leave(void *unused)
{
    (void)unused;
    assert_take(-ESHUTDOWN, CAROM_FOREVER);
    require(strstr(carom_error_detail(), "the host asked this worker to leave") != NULL);
    return NULL;
}

/* As the host does it, to one worker of this process. */
static void ask_to_leave(struct carom_worker *asked)
{
    struct carom_host *host = service_host();
    uint32_t id = (uint32_t)carom_worker_id(asked);
    struct carom__header header;
    carom__header_set(&header, CAROM__LEAVE, sizeof header);
    pthread_mutex_lock(&host->lock);
    require(carom__send(host->workers[id]->socket, &header, sizeof header, NULL, 0, false) == 0);
    carom__host_changed(host);
    carom__bell_wake_worker(host->bell, id);
    pthread_mutex_unlock(&host->lock);
}

static void a_worker_that_is_asked_to_leave_finishes_its_call_and_takes_no_other(void **state)
{
    (void)state;
    struct carom_request *request, *other;
    struct carom_call *call = call_submitted(client, ECHO, 4), *next;
    request = take();
    ask_to_leave(worker);
    next = call_submitted(client, ECHO, 4);
    assert_int_equal(carom_call_poll(call), -EAGAIN); /* it is asked, not stopped */
    assert_int_equal(carom_request_reply(request, 0), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    assert_int_equal(carom_worker_poll(worker, 0, &other), -ESHUTDOWN);
    assert_take(-ESHUTDOWN, CAROM_FOREVER);
    assert_non_null(strstr(carom_error_detail(), "the host asked this worker to leave"));
    assert_int_equal(carom_worker_run(worker), 0);
    assert_int_equal(carom_call_poll(next), -EAGAIN);
    worker_start(); /* whoever takes its place finds the call */
    assert_int_equal(carom_call_wait(next), CAROM_OK);
    carom_call_end(call);
    carom_call_end(next);
}

static void a_worker_that_sleeps_is_asked_to_leave(void **state)
{
    (void)state;
    pthread_t thread = thread_start(take_until_asked_to_leave, NULL);
    await_asleep(&worker->bell->parks[worker->id].word, 1);
    assert_int_equal(carom_host_dismiss(service_host(), getpid()), 1);
    thread_join(thread);
}

static void the_call_that_woke_a_worker_which_leaves_is_taken_by_another(void **state)
{
    (void)state;
    struct carom_worker *second = worker_start();
    await_asleep(&second->bell->parks[second->id].word, 1);
    pthread_t thread = thread_start(take_until_asked_to_leave, NULL);
    await_asleep(&worker->bell->parks[worker->id].word, 1);
    struct carom_host *host = service_host();
    struct carom__header header;
    carom__header_set(&header, CAROM__LEAVE, sizeof header);
    pthread_mutex_lock(&host->lock);
    require(carom__send(host->workers[worker->id]->socket, &header, sizeof header, NULL, 0,
                        false) == 0);
    carom__host_changed(host); /* asked, not woken yet: the call does that */
    pthread_mutex_unlock(&host->lock);
    atomic_fetch_and(&worker->bell->parked[0], ~(UINT64_C(1) << second->id)); /* not the other */
    struct carom_call *call = call_submitted(client, ECHO, 4);
    thread_join(thread);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

static void orders_of_a_wrong_size_are_ignored(void **state)
{
    (void)state;
    struct carom_host *host = service_host();
    struct {
        struct carom__header header;
        uint64_t more;
    } message = {.more = 1};
    carom__header_set(&message.header, CAROM__LEAVE, sizeof message);
    pthread_mutex_lock(&host->lock);
    require(carom__send(host->workers[worker->id]->socket, &message, sizeof message, NULL, 0,
                        false) == 0);
    carom__host_changed(host);
    pthread_mutex_unlock(&host->lock);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom_request_reply(take(), 0);
    carom_call_end(call);
}

static void a_request_left_open_is_answered_when_the_worker_leaves(void **state)
{
    (void)state;
    struct carom_error error;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    take();
    worker_stop(worker);
    assert_int_equal(carom_call_wait(call), CAROM_INTERNAL);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "carom.Unfinished");
    carom_call_end(call);
}

static void run_gives_each_call_to_its_handler(void **state)
{
    (void)state;
    struct carom_call *call;
    worker_stop(worker);
    worker_start();
    assert_echoes(client);
    call = call_submitted(client, FORGET, 4);
    assert_int_equal(carom_call_wait(call), CAROM_INTERNAL); /* the handler finished nothing */
    carom_call_end(call);
    call = call_submitted(client, TWICE, 4);
    assert_int_equal(carom_call_wait(call), CAROM_OK); /* the second finish does not count */
    carom_call_end(call);
    assert_echoes(client);
}

static void a_method_without_a_handler_is_answered_by_run(void **state)
{
    (void)state;
    const struct carom_method method = {.name = "bare"};
    struct carom_worker *bare;
    assert_int_equal(carom_worker_open(SERVICE, &method, 1, PATIENCE, NULL, &bare), 0);
    int id = carom_client_method(client, "bare");
    struct carom_call *call = call_submitted(client, id, 0), *other = NULL;
    struct carom_request *request;
    assert_int_equal(carom_worker_take(bare, PATIENCE, &request), 0);
    carom_request_fail(request, CAROM_ABORTED, NULL, NULL, NULL);
    other = call_submitted(client, id, 0);
    carom_worker_stop(bare);
    assert_int_equal(carom_worker_run(bare), 0);
    carom_worker_close(bare);
    assert_int_equal(carom_call_wait(call), CAROM_ABORTED);
    carom_call_end(call);
    carom_call_end(other);
}

/* ---------------------------------------------------------------- hostile clients */

static void await_disconnected(struct carom_client *hostile)
{
    await(carom__client_host_gone(hostile));
}

static void assert_others_are_served(struct carom_client *hostile)
{
    await_disconnected(hostile);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom_request_reply(take(), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
    client_close(hostile);
    assert_take(-ETIMEDOUT, 0);
}

static void a_request_length_beyond_the_block_disconnects_that_client_only(void **state)
{
    (void)state;
    struct carom_client *hostile = client_open(2, 8192);
    struct carom_call *call = call_submitted(hostile, ECHO, 4);
    atomic_store(&hostile->lane.slots[0].request_bytes, UINT64_MAX);
    assert_take(-ETIMEDOUT, 0);
    await_disconnected(hostile);
    assert_int_equal(carom_call_wait(call), -EHOSTDOWN);
    assert_others_are_served(hostile);
}

static void a_cell_that_names_no_slot_disconnects_that_client_only(void **state)
{
    (void)state;
    struct carom_client *hostile = client_open(2, 8192);
    require(carom__ring_append(&hostile->lane.ring, &hostile->producer, 0, 0xffff));
    carom__bell_ready(hostile->bell, hostile->lane_id);
    assert_take(-ETIMEDOUT, 0);
    assert_others_are_served(hostile);
}

static void a_state_changed_under_a_running_call_disconnects_that_client_only(void **state)
{
    (void)state;
    struct carom_client *hostile = client_open(2, 8192);
    call_submitted(hostile, ECHO, 4);
    struct carom_request *request = take();
    atomic_store(&hostile->lane.slots[0].state, carom__state(CAROM__RUNNING, 77, 1));
    carom_request_reply(request, 0);
    assert_others_are_served(hostile);
}

static void geometry_in_shared_memory_is_not_believed(void **state)
{
    (void)state;
    struct carom_client *hostile = client_open(2, 8192);
    hostile->lane.control->slots = UINT32_MAX;
    hostile->lane.control->ring_cells = UINT32_MAX;
    hostile->lane.control->request_block_bytes = UINT64_MAX;
    hostile->lane.control->reply_block_bytes = UINT64_MAX;
    struct carom_call *call = call_submitted(hostile, ECHO, 8192);
    struct carom_request *request = take();
    assert_int_equal(carom_request_reply(request, 8193), -EMSGSIZE);
    carom_request_reply(request, 8192);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

static void a_bell_full_of_lies_costs_looks_and_nothing_else(void **state)
{
    (void)state;
    struct carom__bell *bell = client->bell;
    for (uint32_t word = 0; word < CAROM__LANE_WORDS; word++)
        atomic_store(&bell->ready[word], UINT64_MAX);
    for (uint32_t word = 0; word < CAROM__WORKER_WORDS; word++)
        atomic_store(&bell->parked[word], UINT64_MAX);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom_request_reply(take(), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
    assert_take(-ETIMEDOUT, 5 * MILLISECOND);
    for (uint32_t word = 0; word < CAROM__WORKER_WORDS; word++)
        atomic_store(&bell->parked[word], 0);
}

static void a_client_may_give_its_own_replies_back_at_any_time(void **state)
{
    (void)state;
    struct carom_call *call = call_begin(client, ECHO, 4);
    call->submission.method = CAROM__METHOD_TRIM; /* what the library sends for itself */
    assert_int_equal(carom_call_submit(call, 4), 0);
    assert_take(-ETIMEDOUT, 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

static void what_the_library_sends_for_itself_counts_nowhere_even_late(void **state)
{
    (void)state;
    struct carom_call *call;
    assert_int_equal(carom_call_begin(client, ECHO, 0, 0, &call), 0);
    call->submission.method = CAROM__METHOD_TRIM;
    assert_int_equal(carom_call_submit(call, 0), 0);
    assert_take(-ETIMEDOUT, 0);
    assert_int_equal(carom__state_phase(atomic_load(&client->lane.slots[0].state)), CAROM__DONE);
    assert_int_equal(atomic_load(&worker->stats->calls), 0);
    assert_int_equal(atomic_load(&worker->stats->errors), 0);
    assert_int_equal(atomic_load(&worker->stats->expired), 0);
    carom_call_end(call);
}

/* Somebody clears every bit of the bell as soon as it is set. */
static void calls_are_found_whose_ready_bit_has_been_cleared(void **state)
{
    (void)state;
    struct carom_client *silenced[] = {client_open(2, 4096), client_open(2, 4096)};
    struct carom_call *calls[2];
    for (int i = 0; i < 2; i++)
        calls[i] = call_submitted(silenced[i], ECHO, 0);
    for (int i = 0; i < 2; i++) {
        atomic_store(&client->bell->ready[0], 0);
        carom_request_reply(take(), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(carom_call_wait(calls[i]), CAROM_OK);
        carom_call_end(calls[i]);
    }
}

/* ---------------------------------------------------------------- fork */

static int use_in_child(void *unused)
{
    struct carom_request *request;
    (void)unused;
    if (carom_worker_take(worker, 0, &request) != -ECHILD ||
        carom_worker_poll(worker, 0, &request) != -ECHILD || carom_worker_run(worker) != -ECHILD ||
        carom_worker_running(worker, NULL) != -1)
        return 1;
    carom_worker_close(worker);
    return 0;
}

static int stop_in_child(void *unused)
{
    (void)unused;
    carom_worker_stop(worker); /* as an inherited signal handler would */
    return 0;
}

static void a_forked_child_can_neither_use_nor_disturb_the_worker(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    assert_int_equal(in_child(use_in_child, NULL), 0);
    carom_request_reply(take(), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
    assert_int_equal(in_child(stop_in_child, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        started(methods_without_a_proper_name_are_refused),
        started(a_method_named_twice_is_refused),
        started(the_longest_name_can_be_called),
        started(a_service_that_is_not_there_is_named),
        started(flags_of_a_method_that_nobody_knows_are_refused),
        started(the_host_learns_which_methods_are_idempotent),
        started(a_stand_in_says_so),
        started(options_of_an_unknown_size_are_refused),
        started(spinning_can_be_set_or_switched_off),
        started(ids_are_given_in_turn_and_used_again),
        started(without_a_call_it_waits_as_long_as_asked),
        started(a_call_that_is_there_is_taken_at_once_by_take_and_by_poll),
        started(one_request_is_finished_before_the_next_is_taken),
        started(clients_are_served_in_turn),
        started(a_quiet_lane_loses_its_ready_bit_and_is_heard_again),
        started(a_ready_bit_that_somebody_cleared_is_set_again),
        started(an_expired_call_is_answered_and_never_returned),
        started(behind_an_expired_call_the_next_is_found),
        started(a_call_that_expired_during_a_long_one_never_runs),
        started(a_deadline_before_the_beginning_of_time_has_passed),
        started(an_unknown_method_is_answered_and_never_returned),
        started(a_method_that_only_another_worker_serves_is_answered_by_its_name),
        started(workers_of_different_methods_share_a_service),
        started(a_worker_knows_which_call_it_runs_and_since_when),
        started(a_call_that_failed_or_was_left_or_whose_memory_was_kept_runs_no_more),
        started(calls_that_the_library_answers_itself_do_not_run),
        started(what_runs_is_an_index_of_the_workers_own_methods),
        started(nonsense_in_the_record_is_no_method),
        started(a_call_is_never_dated_before_the_one_before_it),
        started(another_thread_can_look_while_calls_come_and_go),
        started(a_worker_that_sleeps_is_woken_by_a_call),
        started(workers_that_fall_asleep_again_and_again_miss_no_call),
        started(a_signal_interrupts_a_worker_that_sleeps),
        started(a_worker_told_to_stop_takes_nothing_more),
        started(a_worker_that_sleeps_is_stopped_from_another_thread),
        started(the_call_that_woke_a_stopped_worker_is_taken_by_another),
        started(a_worker_that_is_asked_to_leave_finishes_its_call_and_takes_no_other),
        started(a_worker_that_sleeps_is_asked_to_leave),
        started(the_call_that_woke_a_worker_which_leaves_is_taken_by_another),
        started(orders_of_a_wrong_size_are_ignored),
        started(a_request_left_open_is_answered_when_the_worker_leaves),
        started(calls_are_found_whose_ready_bit_has_been_cleared),
        started(run_gives_each_call_to_its_handler),
        started(a_method_without_a_handler_is_answered_by_run),
        started(a_request_length_beyond_the_block_disconnects_that_client_only),
        started(a_cell_that_names_no_slot_disconnects_that_client_only),
        started(a_state_changed_under_a_running_call_disconnects_that_client_only),
        started(geometry_in_shared_memory_is_not_believed),
        started(a_bell_full_of_lies_costs_looks_and_nothing_else),
        started(a_client_may_give_its_own_replies_back_at_any_time),
        started(what_the_library_sends_for_itself_counts_nowhere_even_late),
        started(a_forked_child_can_neither_use_nor_disturb_the_worker),
    };
    return RUN(tests);
}
