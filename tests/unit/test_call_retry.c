/* SPDX-License-Identifier: Apache-2.0
 *
 * test_call_retry.c - calls of idempotent methods that are made again: how often, for which
 * statuses, after which pauses, and what ends it. The worker is moved by hand. */
#include "support.h"

#include "client.h"
#include "service.h"

#include <signal.h>

/* Ids of the client: as asked for in start. */
enum { SAFE, UNSAFE };

static const struct carom_method methods[] = {
    {.name = "safe", .flags = CAROM_IDEMPOTENT},
    {.name = "unsafe"},
};

static struct carom_client *client;
static struct carom_worker *worker;

static void close_both(void)
{
    carom_client_close(client);
    carom_worker_close(worker);
    client = NULL;
    worker = NULL;
}

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    at_end_of_test(close_both);
    assert_int_equal(carom_worker_open(SERVICE, methods, 2, PATIENCE, NULL, &worker), 0);
    return rc;
}

#define started(test) cmocka_unit_test_setup_teardown(test, start, after_test)

/* Pauses of a nanosecond unless asked for. */
static void join(struct carom_client_options options)
{
    options.size = sizeof options;
    options.slots = 4;
    options.request_block_bytes = options.reply_block_bytes = 4096;
    if (options.retry_pause_ns == 0)
        options.retry_pause_ns = 1;
    assert_int_equal(carom_client_open(SERVICE, PATIENCE, &options, &client), 0);
    assert_int_equal(carom_client_method(client, "safe"), SAFE);
    assert_int_equal(carom_client_method(client, "unsafe"), UNSAFE);
}

static void join_with_defaults(void)
{
    join((struct carom_client_options){0});
}

static struct carom_call *submitted(int method, int64_t timeout_ns, unsigned flags)
{
    struct carom_call *call;
    assert_int_equal(carom_call_begin(client, method, timeout_ns, flags, &call), 0);
    memcpy(carom_call_request(call, NULL), "once more", 9);
    assert_int_equal(carom_call_submit(call, 9), 0);
    return call;
}

static struct carom_request *take(void)
{
    struct carom_request *request;
    size_t length;
    assert_int_equal(carom_worker_take(worker, PATIENCE, &request), 0);
    const char *data = carom_request_data(request, &length);
    assert_int_equal(length, 9);
    assert_memory_equal(data, "once more", 9); /* every attempt brings the same request */
    return request;
}

static void fail_one(int status)
{
    carom_request_fail(take(), status, "TestError", "not now", NULL);
}

static void assert_nothing_to_take(void)
{
    struct carom_request *request;
    assert_int_equal(carom_worker_take(worker, 0, &request), -ETIMEDOUT);
}

static uint64_t retries(void)
{
    struct carom_client_statistics statistics;
    assert_int_equal(carom_client_statistics(client, &statistics), 0);
    return statistics.retries;
}

/* The attempt fails, the call pauses, the next attempt is made. */
static void poll_to_the_next_attempt(struct carom_call *call)
{
    uint64_t before = retries();
    await(carom_call_poll(call) == -EAGAIN && retries() == before + 1);
}

/* ---------------------------------------------------------------- whether */

static void an_attempt_that_succeeds_is_the_last(void **state)
{
    (void)state;
    join_with_defaults();
    struct carom_call *call = submitted(SAFE, PATIENCE, 0);
    fail_one(CAROM_UNAVAILABLE);
    poll_to_the_next_attempt(call);
    struct carom_request *request = take();
    memcpy(carom_request_reply_block(request, NULL), "at last", 7);
    carom_request_reply(request, 7);
    assert_int_equal(carom_call_poll(call), CAROM_OK);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    size_t length;
    assert_memory_equal(carom_call_reply(call, &length), "at last", 7);
    assert_int_equal(length, 7);
    carom_call_end(call);
    assert_int_equal(retries(), 1);
    assert_nothing_to_take();
}

static void there_are_three_attempts_and_the_last_one_counts(void **state)
{
    (void)state;
    struct carom_error error;
    join_with_defaults();
    struct carom_call *call = submitted(SAFE, PATIENCE, 0);
    for (int i = 0; i < 2; i++) {
        fail_one(CAROM_UNAVAILABLE);
        poll_to_the_next_attempt(call);
    }
    carom_request_fail(take(), CAROM_UNAVAILABLE, "LastError", "enough", NULL);
    assert_int_equal(carom_call_poll(call), CAROM_UNAVAILABLE);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "LastError");
    assert_string_equal(error.message, "enough");
    assert_int_equal(carom_call_poll(call), CAROM_UNAVAILABLE);
    carom_call_end(call);
    assert_int_equal(retries(), 2);
    assert_nothing_to_take();
}

static void a_method_that_is_not_idempotent_is_never_called_again(void **state)
{
    (void)state;
    join_with_defaults();
    struct carom_call *call = submitted(UNSAFE, PATIENCE, 0);
    fail_one(CAROM_UNAVAILABLE);
    assert_int_equal(carom_call_wait(call), CAROM_UNAVAILABLE);
    carom_call_end(call);
    assert_int_equal(retries(), 0);
    assert_nothing_to_take();
}

static void other_statuses_are_not_repeated(void **state)
{
    (void)state;
    join_with_defaults();
    for (int status = CAROM_CANCELLED; status <= CAROM_UNAUTHENTICATED; status++) {
        if (status == CAROM_UNAVAILABLE)
            continue;
        struct carom_call *call = submitted(SAFE, PATIENCE, 0);
        fail_one(status);
        assert_int_equal(carom_call_wait(call), status);
        carom_call_end(call);
    }
    assert_int_equal(retries(), 0);
}

static void attempts_and_statuses_are_the_callers_choice(void **state)
{
    (void)state;
    join((struct carom_client_options){
        .retry_attempts = 5,
        .retry_statuses = 1u << CAROM_RESOURCE_EXHAUSTED | 1u << CAROM_ABORTED,
    });
    struct carom_call *call = submitted(SAFE, PATIENCE, 0);
    for (int i = 0; i < 4; i++) {
        fail_one(i % 2 == 0 ? CAROM_ABORTED : CAROM_RESOURCE_EXHAUSTED);
        poll_to_the_next_attempt(call);
    }
    fail_one(CAROM_ABORTED);
    assert_int_equal(carom_call_wait(call), CAROM_ABORTED);
    carom_call_end(call);
    call = submitted(SAFE, PATIENCE, 0);
    fail_one(CAROM_UNAVAILABLE); /* not among them any more */
    assert_int_equal(carom_call_wait(call), CAROM_UNAVAILABLE);
    carom_call_end(call);
    assert_int_equal(retries(), 4);
}

static void one_attempt_means_no_repetition(void **state)
{
    (void)state;
    join((struct carom_client_options){.retry_attempts = 1});
    struct carom_call *call = submitted(SAFE, PATIENCE, 0);
    fail_one(CAROM_UNAVAILABLE);
    assert_int_equal(carom_call_wait(call), CAROM_UNAVAILABLE);
    carom_call_end(call);
    assert_nothing_to_take();
}

/* ---------------------------------------------------------------- when */

static void a_pause_that_would_pass_the_deadline_is_not_begun(void **state)
{
    (void)state;
    const int64_t hour_ns = 3600 * SECOND;
    join((struct carom_client_options){.retry_pause_ns = hour_ns});
    for (int i = 0; i < 20; i++) { /* a draw below a millisecond of an hour is no danger */
        struct carom_call *call = submitted(SAFE, MILLISECOND, 0);
        struct carom_request *request;
        if (carom_worker_take(worker, 0, &request) ==
            0) /* unless the deadline has passed already */
            carom_request_fail(request, CAROM_UNAVAILABLE, NULL, NULL, NULL);
        int rc = carom_call_wait(call);
        assert_true(rc == CAROM_UNAVAILABLE || rc == -ETIMEDOUT);
        carom_call_end(call);
    }
    assert_int_equal(retries(), 0);
}

static void polling_through_a_pause_says_again(void **state)
{
    (void)state;
    const int64_t hour_ns = 3600 * SECOND;
    join((struct carom_client_options){.retry_pause_ns = hour_ns});
    struct carom_call *call = submitted(SAFE, CAROM_FOREVER, 0);
    fail_one(CAROM_UNAVAILABLE);
    for (int i = 0; i < 10; i++)
        assert_int_equal(carom_call_poll(call), -EAGAIN);
    assert_int_equal(call->progress, CAROM__PAUSED);
    assert_nothing_to_take();
    assert_int_equal(retries(), 0);
    assert_int_equal(carom_call_cancel(call), 0);
    assert_int_equal(carom_call_poll(call), CAROM_CANCELLED);
    carom_call_end(call);
}

static void a_call_may_be_ended_in_its_pause(void **state)
{
    (void)state;
    struct carom_call *calls[4];
    join((struct carom_client_options){.retry_pause_ns = 3600 * SECOND});
    struct carom_call *call = submitted(SAFE, CAROM_FOREVER, 0);
    fail_one(CAROM_UNAVAILABLE);
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    carom_call_end(call);
    for (int i = 0; i < 4; i++)
        assert_int_equal(carom_call_begin(client, SAFE, 0, CAROM_NOWAIT, &calls[i]), 0);
    for (int i = 0; i < 4; i++)
        carom_call_end(calls[i]);
    assert_nothing_to_take();
}

static void the_longest_pause_doubles_up_to_a_most(void **state)
{
    (void)state;
    join((struct carom_client_options){.retry_attempts = 64, .retry_pause_ns = 1000});
    client->retry.pause_most_ns = 5000;
    struct carom_call *call = submitted(SAFE, CAROM_FOREVER, 0);
    const int64_t most_ns[] = {1000, 2000, 4000, 5000, 5000, 5000};
    for (int i = 0; i < 6; i++) {
        int64_t longest_ns = 0;
        call->repeats = (uint32_t)i;
        for (int draw = 0; draw < 200; draw++) {
            int64_t before = carom_now_ns();
            assert_true(carom__retry_plan(call, CAROM_UNAVAILABLE));
            int64_t pause_ns = call->resume_ns - before;
            /* the clock goes on between the two readings, so only the lower end is exact */
            if (call->resume_ns - carom_now_ns() > longest_ns)
                longest_ns = call->resume_ns - carom_now_ns();
            assert_true(pause_ns >= 0);
        }
        assert_true(longest_ns <= most_ns[i]);
    }
    call->progress = CAROM__SENT; /* as it was before it was only asked for */
    call->repeats = 0;
    fail_one(CAROM_ABORTED);
    assert_int_equal(carom_call_wait(call), CAROM_ABORTED);
    carom_call_end(call);
}

/* ---------------------------------------------------------------- waiting */

static void *wait_for_ok(void *call)
{
    require(carom_call_wait(call) == CAROM_OK);
    return NULL;
}

static void waiting_lasts_to_the_end_of_the_last_attempt(void **state)
{
    (void)state;
    join((struct carom_client_options){.retry_pause_ns = 3 * MILLISECOND});
    for (int i = 0; i < 20; i++) {
        struct carom_call *call = submitted(SAFE, PATIENCE, 0);
        pthread_t waiter = thread_start(wait_for_ok, call);
        fail_one(CAROM_UNAVAILABLE);
        fail_one(CAROM_UNAVAILABLE);
        carom_request_reply(take(), 0);
        thread_join(waiter);
        assert_non_null(carom_call_reply(call, NULL));
        carom_call_end(call);
    }
    assert_int_equal(retries(), 40);
}

static void *wait_for_cancelled(void *call)
{
    require(carom_call_wait(call) == CAROM_CANCELLED);
    return NULL;
}

static void cancelling_ends_the_pause_and_the_call(void **state)
{
    (void)state;
    struct carom_error error;
    join((struct carom_client_options){.retry_pause_ns = 3600 * SECOND});
    struct carom_call *call = submitted(SAFE, CAROM_FOREVER, 0);
    pthread_t waiter = thread_start(wait_for_cancelled, call);
    fail_one(CAROM_UNAVAILABLE);
    await_asleep(&call->cancelled, 1);
    assert_int_equal(carom_call_cancel(call), 0);
    thread_join(waiter);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "carom.Cancelled");
    assert_non_null(strstr(error.message, "between two attempts"));
    assert_int_equal(error.worker, -1);
    carom_call_end(call);
    assert_nothing_to_take();
}

static void a_call_that_was_cancelled_is_not_made_again(void **state)
{
    (void)state;
    join_with_defaults();
    struct carom_call *call = submitted(SAFE, PATIENCE, 0);
    struct carom_request *request = take();
    assert_int_equal(carom_call_cancel(call), 0);
    carom_request_fail(request, CAROM_UNAVAILABLE, NULL, NULL, NULL);
    assert_int_equal(carom_call_wait(call), CAROM_UNAVAILABLE);
    carom_call_end(call);
    assert_nothing_to_take();
    call = submitted(SAFE, PATIENCE, 0); /* the next life of the slot knows nothing of that */
    fail_one(CAROM_UNAVAILABLE);
    poll_to_the_next_attempt(call);
    carom_request_reply(take(), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

static void on_signal(int number)
{
    (void)number;
}

static void *wait_twice(void *call)
{
    require(carom_call_wait(call) == -EINTR);
    add_to(&board->number[0], 1);
    require(carom_call_wait(call) == CAROM_CANCELLED); /* the pause went on */
    return NULL;
}

static void a_signal_interrupts_the_wait_and_not_the_pause(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal}, before;
    sigaction(SIGUSR1, &action, &before);
    join((struct carom_client_options){.retry_pause_ns = 3600 * SECOND});
    struct carom_call *call = submitted(SAFE, CAROM_FOREVER, 0);
    pthread_t waiter = thread_start(wait_twice, call);
    fail_one(CAROM_UNAVAILABLE);
    await_asleep(&call->cancelled, 1);
    pthread_kill(waiter, SIGUSR1);
    await(value_of(&board->number[0]) == 1);
    await_asleep(&call->cancelled, 1);
    assert_int_equal(carom_call_cancel(call), 0);
    thread_join(waiter);
    carom_call_end(call);
    sigaction(SIGUSR1, &before, NULL);
}

static void *cancel_soon(void *call)
{
    for (int i = value_of(&board->number[1]); i > 0; i--)
        sched_yield();
    require(carom_call_cancel(call) == 0);
    return NULL;
}

/* The cancelling thread meets the waiting one everywhere between two attempts. */
static void cancelling_races_with_the_next_attempt(void **state)
{
    (void)state;
    join((struct carom_client_options){.retry_attempts = 1000, .retry_pause_ns = 1000});
    for (int i = 0; i < ROUNDS(400); i++) {
        struct carom_call *call = submitted(SAFE, PATIENCE, 0);
        add_to(&board->number[1], i % 30 - value_of(&board->number[1]));
        pthread_t canceller = thread_start(cancel_soon, call);
        int rc = -EAGAIN;
        while (rc == -EAGAIN) {
            struct carom_request *request;
            if (carom_worker_take(worker, 0, &request) == 0)
                carom_request_fail(request, CAROM_UNAVAILABLE, NULL, NULL, NULL);
            rc = carom_call_poll(call);
        }
        assert_true(rc == CAROM_CANCELLED || rc == CAROM_UNAVAILABLE);
        thread_join(canceller);
        carom_call_end(call);
    }
    assert_nothing_to_take();
    carom_call_end(submitted(UNSAFE, 0, 0));
}

/* ---------------------------------------------------------------- CAROM_NOTIFY */

static struct carom_call *next(void)
{
    struct carom_call *call;
    assert_int_equal(carom_client_next(client, PATIENCE, &call), 0);
    return call;
}

static void a_call_with_notify_is_returned_once_per_attempt(void **state)
{
    (void)state;
    struct carom_call *none;
    join((struct carom_client_options){.retry_pause_ns = 3600 * SECOND}); /* it makes none */
    struct carom_call *call = submitted(SAFE, CAROM_FOREVER, CAROM_NOTIFY);
    for (int i = 0; i < 2; i++) {
        fail_one(CAROM_UNAVAILABLE);
        assert_ptr_equal(next(), call);
        assert_int_equal(carom_call_poll(call), -EAGAIN);
        assert_int_equal(retries(), i + 1);
    }
    assert_int_equal(carom_client_next(client, 0, &none), -ETIMEDOUT);
    carom_request_reply(take(), 0);
    assert_ptr_equal(next(), call);
    assert_int_equal(carom_call_poll(call), CAROM_OK);
    assert_int_equal(carom_client_next(client, 0, &none), -ENODATA);
    carom_call_end(call);
}

static void a_call_with_notify_that_nobody_was_given_is_owed_once(void **state)
{
    (void)state;
    struct carom_call *none;
    join_with_defaults();
    struct carom_call *call = submitted(SAFE, CAROM_FOREVER, CAROM_NOTIFY);
    fail_one(CAROM_UNAVAILABLE);
    carom__client_collect(client);                    /* it is in the queue */
    assert_int_equal(carom_call_poll(call), -EAGAIN); /* and made again */
    assert_int_equal(carom_client_next(client, 0, &none), -ETIMEDOUT);
    carom_request_reply(take(), 0);
    assert_ptr_equal(next(), call);
    assert_int_equal(carom_client_next(client, 0, &none), -ENODATA);
    assert_int_equal(carom_call_poll(call), CAROM_OK);
    carom_call_end(call);
}

/* ---------------------------------------------------------------- deaths */

static uint32_t deaths_of(const struct carom_call *call)
{
    return atomic_load(&client->lane.slots[call->submission.slot].deaths);
}

static int die_in_a_call(void *unused)
{
    struct carom_request *request;
    (void)unused;
    require(carom_worker_open(SERVICE, methods, 2, PATIENCE, NULL, &worker) == 0);
    add_to(&board->ready, 1);
    require(carom_worker_take(worker, PATIENCE, &request) == 0);
    raise(SIGKILL);
    return 0;
}

/* Children are forked before the service has threads. */
static int start_with_children(void **state)
{
    return before_test(state);
}

static void start_service_with_the_dying(int count)
{
    pid_t children[2];
    for (int i = 0; i < count; i++)
        children[i] = child_start(die_in_a_call, NULL);
    service_start(NULL);
    at_end_of_test(close_both);
    await(value_of(&board->ready) == count);
    (void)children;
}

static void a_worker_that_dies_leaves_the_call_to_another_at_once(void **state)
{
    (void)state;
    start_service_with_the_dying(1);
    join((struct carom_client_options){.retry_pause_ns = 3600 * SECOND});
    struct carom_call *call = submitted(SAFE, CAROM_FOREVER, 0);
    await(carom_call_poll(call) == -EAGAIN && retries() == 1); /* without the hour's pause */
    assert_int_equal(deaths_of(call), 1);                      /* the host goes on counting */
    assert_int_equal(carom_worker_open(SERVICE, methods, 2, PATIENCE, NULL, &worker), 0);
    carom_request_reply(take(), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    assert_int_equal(deaths_of(call), 0); /* the slot's next request has killed nobody */
    carom_call_end(call);
}

static void a_request_that_killed_two_workers_is_not_sent_to_a_third(void **state)
{
    (void)state;
    struct carom_error error;
    start_service_with_the_dying(2);
    join((struct carom_client_options){
        .retry_attempts = 10,
        .retry_statuses = 1u << CAROM_UNAVAILABLE | 1u << CAROM_ABORTED,
    });
    assert_int_equal(carom_worker_open(SERVICE, methods, 2, PATIENCE, NULL, &worker), 0);
    carom_worker_close(worker); /* so that the service has been ready for sure */
    worker = NULL;
    struct carom_call *call = submitted(SAFE, CAROM_FOREVER, 0);
    assert_int_equal(carom_call_wait(call), CAROM_ABORTED);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "carom.PoisonRequest");
    assert_int_equal(retries(), 1);
    assert_int_equal(deaths_of(call), 2);
    carom_call_end(call);
    assert_int_equal(deaths_of(call), 0);
}

static void a_call_that_is_not_repeated_leaves_no_deaths_behind(void **state)
{
    (void)state;
    start_service_with_the_dying(1);
    join_with_defaults();
    struct carom_call *call = submitted(UNSAFE, CAROM_FOREVER, 0);
    assert_int_equal(carom_call_wait(call), CAROM_UNAVAILABLE);
    assert_int_equal(deaths_of(call), 1);
    carom_call_end(call);
    assert_int_equal(deaths_of(call), 0);
}

/* ---------------------------------------------------------------- threads */

static _Atomic bool workers_go_on;

static void *fail_two_of_three(void *opened)
{
    struct carom_request *request;
    for (unsigned i = 0; atomic_load(&workers_go_on); i++) {
        if (carom_worker_take(opened, 10 * MILLISECOND, &request) != 0)
            continue;
        if (i % 3 != 0)
            carom_request_fail(request, CAROM_UNAVAILABLE, "TestError", "not now", NULL);
        else
            carom_request_reply(request, 0);
    }
    return NULL;
}

static void *call_until_ok(void *rounds)
{
    for (int i = 0; i < *(int *)rounds; i++)
        require(carom_invoke(client, SAFE, "once more", 9, NULL, 0, NULL, PATIENCE) == CAROM_OK);
    return NULL;
}

static void threads_repeat_their_calls_side_by_side(void **state)
{
    (void)state;
    int rounds = ROUNDS(2000);
    join((struct carom_client_options){
        .retry_attempts = UINT32_MAX, .retry_pause_ns = 20000, .retry_pause_most_ns = 40000});
    atomic_store(&workers_go_on, true);
    pthread_t server = thread_start(fail_two_of_three, worker);
    run_together(6, call_until_ok, &rounds); /* more threads than slots */
    atomic_store(&workers_go_on, false);
    thread_join(server);
    assert_true(retries() >= (uint64_t)rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        started(an_attempt_that_succeeds_is_the_last),
        started(there_are_three_attempts_and_the_last_one_counts),
        started(a_method_that_is_not_idempotent_is_never_called_again),
        started(other_statuses_are_not_repeated),
        started(attempts_and_statuses_are_the_callers_choice),
        started(one_attempt_means_no_repetition),
        started(a_pause_that_would_pass_the_deadline_is_not_begun),
        started(polling_through_a_pause_says_again),
        started(a_call_may_be_ended_in_its_pause),
        started(the_longest_pause_doubles_up_to_a_most),
        started(waiting_lasts_to_the_end_of_the_last_attempt),
        started(cancelling_ends_the_pause_and_the_call),
        started(a_call_that_was_cancelled_is_not_made_again),
        started(a_signal_interrupts_the_wait_and_not_the_pause),
        started(cancelling_races_with_the_next_attempt),
        started(a_call_with_notify_is_returned_once_per_attempt),
        started(a_call_with_notify_that_nobody_was_given_is_owed_once),
        cmocka_unit_test_setup_teardown(a_worker_that_dies_leaves_the_call_to_another_at_once,
                                        start_with_children, after_test),
        cmocka_unit_test_setup_teardown(a_request_that_killed_two_workers_is_not_sent_to_a_third,
                                        start_with_children, after_test),
        cmocka_unit_test_setup_teardown(a_call_that_is_not_repeated_leaves_no_deaths_behind,
                                        start_with_children, after_test),
        started(threads_repeat_their_calls_side_by_side),
    };
    return RUN(tests);
}
