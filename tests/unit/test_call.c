/* SPDX-License-Identifier: Apache-2.0
 *
 * test_call.c - the life of a call on the client's side: begin, submit, wait, reply, error, cancel,
 * deadline, end; slots that run out; memory that is given back. Where the order of things matters
 * the worker is moved by hand, by the test's own thread. */
#include "support.h"

#include "client.h"
#include "host.h"
#include "service.h"
#include "worker.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 8192u

static struct carom_client *client;
static struct carom_worker *worker; /* by hand */

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    return rc;
}

/* A worker on a thread, a client of four slots. */
static int start_running(void **state)
{
    int rc = start(state);
    worker_start();
    client = client_open(4, BLOCK);
    return rc;
}

/* A worker that the test moves by hand. */
static int start_by_hand(void **state)
{
    int rc = start(state);
    worker = worker_open();
    client = client_open(4, BLOCK);
    return rc;
}

#define running(test) cmocka_unit_test_setup_teardown(test, start_running, after_test)
#define by_hand(test) cmocka_unit_test_setup_teardown(test, start_by_hand, after_test)

static struct carom_request *take(void)
{
    struct carom_request *request;
    int rc = carom_worker_take(worker, PATIENCE, &request);
    if (rc < 0)
        print_error("carom_worker_take: %s\n", carom_error_detail());
    assert_int_equal(rc, 0);
    return request;
}

static void assert_nothing_to_take(void)
{
    struct carom_request *request;
    assert_int_equal(carom_worker_take(worker, 0, &request), -ETIMEDOUT);
}

static struct carom_call *begin_for(int method, int64_t timeout_ns)
{
    struct carom_call *call;
    assert_int_equal(carom_call_begin(client, method, timeout_ns, 0, &call), 0);
    return call;
}

/* ---------------------------------------------------------------- the usual way */

static void a_reply_is_what_the_handler_made_of_the_request(void **state)
{
    (void)state;
    size_t length = 1;
    const size_t lengths[] = {0, 1, 64, 4095, 4096, BLOCK};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct carom_call *call = call_submitted(client, ECHO, lengths[i]);
        assert_int_equal(carom_call_wait(call), CAROM_OK);
        const char *reply = carom_call_reply(call, &length);
        assert_non_null(reply);
        assert_int_equal(length, lengths[i]);
        assert_memory_equal(reply, carom_call_request(call, NULL), length);
        assert_int_equal(carom_call_wait(call), CAROM_OK); /* may be repeated */
        assert_int_equal(carom_call_poll(call), CAROM_OK);
        carom_call_end(call);
    }
}

static void calls_in_flight_together_keep_their_memory_apart(void **state)
{
    (void)state;
    struct carom_call *calls[4];
    for (int i = 0; i < 4; i++) {
        calls[i] = begin_for(ECHO, CAROM_FOREVER);
        memset(carom_call_request(calls[i], NULL), 'a' + i, BLOCK);
        assert_int_equal(carom_call_submit(calls[i], BLOCK), 0);
    }
    for (int i = 3; i >= 0; i--) {
        size_t length;
        assert_int_equal(carom_call_wait(calls[i]), CAROM_OK);
        const char *reply = carom_call_reply(calls[i], &length);
        assert_int_equal(length, BLOCK);
        for (size_t at = 0; at < length; at++)
            assert_int_equal(reply[at], 'a' + i);
    }
    for (int i = 0; i < 4; i++)
        carom_call_end(calls[i]);
}

static void one_slot_serves_very_many_calls(void **state)
{
    (void)state;
    struct carom_client *narrow = client_open(1, 4096);
    for (int i = 0; i < ROUNDS(20000); i++)
        assert_echoes(narrow);
}

static void data_of_the_callers_own_is_kept_until_the_end(void **state)
{
    (void)state;
    int mark;
    struct carom_call *call = begin_for(ECHO, CAROM_FOREVER);
    assert_null(carom_call_data(call));
    carom_call_set_data(call, &mark);
    assert_int_equal(carom_call_submit(call, 0), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    assert_ptr_equal(carom_call_data(call), &mark);
    carom_call_end(call);
    call = begin_for(ECHO, CAROM_FOREVER);
    assert_null(carom_call_data(call));
    carom_call_end(call);
}

/* ---------------------------------------------------------------- wrong use */

static void what_cannot_be_begun_is_refused(void **state)
{
    (void)state;
    struct carom_call *call = (void *)1;
    assert_int_equal(carom_call_begin(client, -1, 0, 0, &call), -EINVAL);
    assert_null(call);
    assert_int_equal(carom_call_begin(client, -ENOSYS, 0, 0, &call), -EINVAL);
    assert_int_equal(carom_call_begin(client, ECHO, 0, 8, &call), -EINVAL);
    assert_int_equal(carom_call_begin(client, ECHO, 0, UINT32_MAX, &call), -EINVAL);
}

static void a_request_longer_than_its_block_is_refused_with_both_sizes(void **state)
{
    (void)state;
    struct carom_call *call = begin_for(ECHO, CAROM_FOREVER);
    assert_int_equal(carom_call_submit(call, BLOCK + 1), -EMSGSIZE);
    assert_non_null(strstr(carom_error_detail(), "8193"));
    assert_non_null(strstr(carom_error_detail(), "8192"));
    assert_int_equal(carom_call_submit(call, SIZE_MAX), -EMSGSIZE);
    assert_int_equal(carom_call_submit(call, BLOCK), 0); /* it was not submitted, now it is */
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

static void a_call_is_submitted_once(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    assert_int_equal(carom_call_submit(call, 4), -EALREADY);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    assert_int_equal(carom_call_submit(call, 4), -EALREADY);
    carom_call_end(call);
}

static void a_call_that_was_not_submitted_has_no_outcome(void **state)
{
    (void)state;
    struct carom_error error;
    size_t length = 1;
    struct carom_call *call = begin_for(ECHO, CAROM_FOREVER);
    assert_int_equal(carom_call_wait(call), -EINVAL);
    assert_int_equal(carom_call_poll(call), -EINVAL);
    assert_int_equal(carom_call_cancel(call), -EINVAL);
    assert_int_equal(carom_call_error(call, &error), -EINVAL);
    assert_null(carom_call_reply(call, &length));
    assert_int_equal(length, 0);
    carom_call_end(call);
    carom_call_end(NULL);
}

static void a_method_id_that_is_none_is_refused(void **state)
{
    (void)state;
    const int methods[] = {METHODS, 1023, 1024, INT32_MAX};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(carom_invoke(client, methods[i], NULL, 0, NULL, 0, NULL, PATIENCE),
                         -EINVAL);
    assert_echoes(client);
}

/* ---------------------------------------------------------------- errors */

static void a_remote_error_brings_its_status_type_message_and_traceback(void **state)
{
    (void)state;
    struct carom_error error;
    struct carom_call *call = begin_for(FAIL, CAROM_FOREVER);
    memset(carom_call_request(call, NULL), CAROM_OUT_OF_RANGE, 1);
    assert_int_equal(carom_call_submit(call, 1), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OUT_OF_RANGE);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(carom_call_error(call, &error), 0);
        assert_int_equal(error.status, CAROM_OUT_OF_RANGE);
        assert_int_equal(error.worker, 0);
        assert_string_equal(error.type, "TestError");
        assert_string_equal(error.message, "as it was told");
        assert_string_equal(error.traceback, "in fail\n");
    }
    assert_null(carom_call_reply(call, NULL));
    carom_call_end(call);
}

static void a_call_that_went_well_has_no_error(void **state)
{
    (void)state;
    struct carom_error error;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    assert_int_equal(carom_call_error(call, &error), -EINVAL);
    carom_call_end(call);
}

static void a_record_of_an_error_that_is_nonsense_leaves_empty_words(void **state)
{
    (void)state;
    struct carom_error error;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    memset(carom_request_reply_block(request, NULL), 0xff, 100);
    carom__request_finish(request, CAROM_INTERNAL, 100);
    assert_int_equal(carom_call_wait(call), CAROM_INTERNAL);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "");
    assert_string_equal(error.message, "");
    assert_string_equal(error.traceback, "");
    carom_call_end(call);
}

static void a_worker_that_writes_nonsense_is_not_believed(void **state)
{
    (void)state;
    const struct {
        int status;
        uint64_t bytes;
    } nonsense[] = {{CAROM_OK, BLOCK + 1}, {CAROM_OK, UINT64_MAX}, {-1, 0}, {17, 0}};
    for (size_t i = 0; i < 4; i++) {
        struct carom_call *call = call_submitted(client, ECHO, 4);
        carom__request_finish(take(), nonsense[i].status, nonsense[i].bytes);
        assert_int_equal(carom_call_wait(call), -EPROTO);
        assert_null(carom_call_reply(call, NULL));
        carom_call_end(call);
    }
}

static void a_state_word_that_is_nonsense_is_an_error_and_the_slot_goes_on(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    _Atomic uint64_t *word = &client->lane.slots[call->submission.slot].state;
    uint64_t honest = atomic_load(word);
    atomic_store(word, carom__state(CAROM__FREE, 12345, 7));
    assert_int_equal(carom_call_wait(call), -EPROTO);
    atomic_store(word, honest);
    assert_int_equal(carom_request_reply(request, 0), 0);
    carom_call_end(call);
    call = call_submitted(client, ECHO, 4);
    carom_request_reply(take(), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

/* ---------------------------------------------------------------- polling, sleeping */

static void polling_says_again_until_the_call_is_done(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    struct carom_request *request = take();
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    assert_null(carom_call_reply(call, NULL));
    carom_request_reply(request, 0);
    assert_int_equal(carom_call_poll(call), CAROM_OK);
    assert_non_null(carom_call_reply(call, NULL));
    carom_call_end(call);
}

static void *wait_for_ok(void *call)
{
    require(carom_call_wait(call) == CAROM_OK);
    return NULL;
}

static void a_caller_that_sleeps_is_woken_by_the_reply(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    pthread_t waiter = thread_start(wait_for_ok, call);
    await_asleep(&client->lane.slots[call->submission.slot].state, 1);
    carom_request_reply(request, 0);
    thread_join(waiter);
    carom_call_end(call);
}

static void on_signal(int number)
{
    (void)number;
}

static void *wait_for_signal(void *call)
{
    require(carom_call_wait(call) == -EINTR);
    add_to(&board->number[0], 1);
    require(carom_call_wait(call) == CAROM_OK); /* the call goes on */
    return NULL;
}

static void a_signal_interrupts_the_wait_and_not_the_call(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal}, before;
    sigaction(SIGUSR1, &action, &before);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    const void *word = &client->lane.slots[call->submission.slot].state;
    pthread_t waiter = thread_start(wait_for_signal, call);
    await_asleep(word, 1);
    pthread_kill(waiter, SIGUSR1);
    await(value_of(&board->number[0]) == 1);
    carom_request_reply(request, 0);
    thread_join(waiter);
    sigaction(SIGUSR1, &before, NULL);
    carom_call_end(call);
}

static void *wait_for_the_end(void *call)
{
    require(carom_call_wait(call) == -ESHUTDOWN);
    add_to(&board->number[0], 1);
    return NULL;
}

/* By a hostile worker, for one, which outlives the service. */
static void a_caller_that_is_woken_for_nothing_notices_that_the_service_has_ended(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    _Atomic uint32_t *word = (_Atomic uint32_t *)&client->lane.slots[call->submission.slot].state;
    pthread_t waiter = thread_start(wait_for_the_end, call);
    await_asleep(word, 1);
    service_stop();
    while (value_of(&board->number[0]) == 0)
        carom__futex_wake(word, INT_MAX);
    thread_join(waiter);
    carom_request_reply(request, 0);
    carom_call_end(call);
}

/* ---------------------------------------------------------------- deadlines */

static void a_call_that_nobody_takes_ends_at_its_deadline_and_never_runs(void **state)
{
    (void)state;
    struct carom_call *call = begin_for(ECHO, 10 * MILLISECOND);
    int64_t began = carom_now_ns();
    assert_int_equal(carom_call_submit(call, 4), 0);
    assert_int_equal(carom_call_wait(call), -ETIMEDOUT);
    assert_true(carom_now_ns() - began >= 9 * MILLISECOND);
    assert_int_equal(carom_call_wait(call), -ETIMEDOUT);
    carom_call_end(call);
    assert_nothing_to_take();
}

static void a_timeout_of_zero_has_passed_already(void **state)
{
    (void)state;
    struct carom_call *call = begin_for(ECHO, 0);
    assert_int_equal(carom_call_submit(call, 4), 0);
    assert_int_equal(carom_call_wait(call), -ETIMEDOUT);
    carom_call_end(call);
    call = begin_for(ECHO, 0);
    assert_int_equal(carom_call_submit(call, 4), 0);
    assert_int_equal(carom_call_poll(call), -ETIMEDOUT);
    carom_call_end(call);
    assert_nothing_to_take();
}

static void a_caller_returns_at_its_deadline_whatever_the_worker_does(void **state)
{
    (void)state;
    struct carom_call *call = begin_for(ECHO, 10 * MILLISECOND);
    assert_int_equal(carom_call_submit(call, 4), 0);
    struct carom_request *request = take();
    assert_int_equal(carom_call_wait(call), -ETIMEDOUT);
    assert_true(carom_request_cancelled(request)); /* the handler is told */
    assert_null(carom_call_reply(call, NULL));
    carom_call_end(call);
    carom_request_reply(request, 4);
}

static void an_abandoned_slot_comes_back_when_the_worker_is_through(void **state)
{
    (void)state;
    struct carom_call *calls[4], *call;
    struct carom_request *request = NULL;
    for (int i = 0; i < 4; i++) {
        calls[i] = begin_for(ECHO, CAROM_FOREVER);
        assert_int_equal(carom_call_submit(calls[i], 4), 0);
    }
    request = take();
    for (int i = 0; i < 4; i++)
        carom_call_end(calls[i]); /* one is abandoned, three withdrawn */
    for (int i = 0; i < 3; i++)
        assert_int_equal(carom_call_begin(client, ECHO, 0, CAROM_NOWAIT, &calls[i]), 0);
    assert_int_equal(carom_call_begin(client, ECHO, 0, CAROM_NOWAIT, &call), -EAGAIN);
    assert_true(carom_request_cancelled(request));
    carom_request_reply(request, 4);
    assert_int_equal(carom_call_begin(client, ECHO, 0, CAROM_NOWAIT, &call), 0);
    carom_call_end(call);
    for (int i = 0; i < 3; i++)
        carom_call_end(calls[i]);
    assert_nothing_to_take();
}

static void a_reply_that_comes_after_the_deadline_does_not_reach_the_slots_next_call(void **state)
{
    (void)state;
    struct carom_client *narrow = client_open(1, 4096);
    struct carom_call *call;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(carom_call_begin(narrow, ECHO, MILLISECOND, 0, &call), 0);
        assert_int_equal(carom_call_submit(call, 4), 0);
        struct carom_request *request = NULL;
        int rc = carom_worker_take(worker, 0, &request);
        assert_int_equal(carom_call_wait(call), -ETIMEDOUT);
        carom_call_end(call);
        if (rc == 0)
            carom_request_fail(request, CAROM_DATA_LOSS, "Late", NULL, NULL);
        assert_int_equal(carom_call_begin(narrow, ECHO, CAROM_FOREVER, 0, &call), 0);
        memcpy(carom_call_request(call, NULL), "next", 4);
        assert_int_equal(carom_call_submit(call, 4), 0);
        request = take();
        memcpy(carom_request_reply_block(request, NULL), carom_request_data(request, NULL), 4);
        carom_request_reply(request, 4);
        assert_int_equal(carom_call_wait(call), CAROM_OK);
        assert_memory_equal(carom_call_reply(call, NULL), "next", 4);
        carom_call_end(call);
    }
}

/* ---------------------------------------------------------------- cancelling */

static void a_call_cancelled_before_it_is_taken_never_runs(void **state)
{
    (void)state;
    struct carom_error error;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    assert_int_equal(carom_call_cancel(call), 0);
    assert_int_equal(carom_call_cancel(call), 0);
    assert_int_equal(carom_call_wait(call), CAROM_CANCELLED);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_int_equal(error.status, CAROM_CANCELLED);
    assert_int_equal(error.worker, -1);
    assert_string_equal(error.type, "carom.Cancelled");
    carom_call_end(call);
    assert_nothing_to_take();
}

static void a_call_cancelled_while_it_runs_ends_as_its_handler_decides(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    assert_false(carom_request_cancelled(request));
    assert_int_equal(carom_call_cancel(call), 0);
    assert_true(carom_request_cancelled(request));
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    carom_request_reply(request, 0); /* it had the result already */
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    assert_int_equal(carom_call_cancel(call), 0); /* too late, and no harm */
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
}

static void *wait_for_cancelled(void *call)
{
    require(carom_call_wait(call) == CAROM_CANCELLED);
    return NULL;
}

static void another_thread_may_cancel_what_one_waits_for(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct carom_call *waiting = call_submitted(client, ECHO, 4);
        pthread_t waiter = thread_start(wait_for_cancelled, waiting);
        if (i % 2 == 0)
            await_asleep(&client->lane.slots[waiting->submission.slot].state, 1);
        assert_int_equal(carom_call_cancel(waiting), 0);
        thread_join(waiter);
        carom_call_end(waiting);
    }
    assert_nothing_to_take();
}

static void a_handler_that_obeys_ends_when_it_is_cancelled(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, OBEY, 4);
    await(value_of(&board->held) == 1);
    assert_int_equal(carom_call_cancel(call), 0);
    assert_int_equal(carom_call_wait(call), CAROM_CANCELLED);
    carom_call_end(call);
}

/* ---------------------------------------------------------------- slots run out */

static void without_a_slot_nowait_says_again_and_a_deadline_passes(void **state)
{
    (void)state;
    struct carom_call *calls[4], *call;
    for (int i = 0; i < 4; i++)
        calls[i] = begin_for(ECHO, CAROM_FOREVER);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, CAROM_NOWAIT, &call), -EAGAIN);
    assert_null(call);
    assert_non_null(strstr(carom_error_detail(), "all 4 slots"));
    assert_int_equal(carom_call_begin(client, ECHO, 0, 0, &call), -ETIMEDOUT);
    assert_int_equal(carom_call_begin(client, ECHO, 5 * MILLISECOND, 0, &call), -ETIMEDOUT);
    carom_call_end(calls[2]);
    assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, CAROM_NOWAIT, &call), 0);
    assert_ptr_equal(call, calls[2]);
    for (int i = 0; i < 4; i++)
        carom_call_end(calls[i]);
}

static void *begin_and_end(void *unused)
{
    (void)unused;
    carom_call_end(begin_for(ECHO, CAROM_FOREVER));
    return NULL;
}

static void threads_that_wait_for_a_slot_get_it_when_one_is_given_back(void **state)
{
    (void)state;
    struct carom_call *calls[4];
    pthread_t threads[3];
    for (int i = 0; i < 4; i++)
        calls[i] = begin_for(ECHO, CAROM_FOREVER);
    for (int i = 0; i < 3; i++)
        threads[i] = thread_start(begin_and_end, NULL);
    await_asleep(&client->lane.control->event, 3);
    carom_call_end(calls[0]); /* one slot goes from hand to hand */
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
    for (int i = 1; i < 4; i++)
        carom_call_end(calls[i]);
}

static void a_thread_that_waits_for_a_slot_gets_that_of_an_abandoned_call(void **state)
{
    (void)state;
    struct carom_client *narrow = client;
    client = client_open(1, 4096);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    carom_call_end(call);
    pthread_t waiter = thread_start(begin_and_end, NULL);
    await_asleep(&client->lane.control->event, 1);
    carom_request_reply(request, 0);
    thread_join(waiter);
    client = narrow;
}

static void *begin_until_a_signal(void *flags)
{
    struct carom_call *call;
    int rc = carom_call_begin(client, ECHO, CAROM_FOREVER, *(unsigned *)flags, &call);
    if (*(unsigned *)flags != 0) {
        require(rc == -EINTR && call == NULL);
        add_to(&board->number[0], 1);
        rc = carom_call_begin(client, ECHO, CAROM_FOREVER, 0, &call);
    }
    require(rc == 0);
    carom_call_end(call);
    return NULL;
}

static void a_signal_ends_the_wait_for_a_slot_only_of_who_asked_for_that(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal}, before;
    struct carom_call *calls[4];
    unsigned flags[2] = {0, CAROM_INTERRUPTIBLE};
    sigaction(SIGUSR1, &action, &before);
    for (int i = 0; i < 4; i++)
        calls[i] = begin_for(ECHO, CAROM_FOREVER);
    pthread_t patient = thread_start(begin_until_a_signal, &flags[0]);
    pthread_t other = thread_start(begin_until_a_signal, &flags[1]);
    await_asleep(&client->lane.control->event, 2);
    pthread_kill(patient, SIGUSR1);
    pthread_kill(other, SIGUSR1);
    await(value_of(&board->number[0]) == 1);
    await_asleep(&client->lane.control->event, 2);
    for (int i = 0; i < 4; i++)
        carom_call_end(calls[i]);
    thread_join(patient);
    thread_join(other);
    sigaction(SIGUSR1, &before, NULL);
}

/* ---------------------------------------------------------------- many abandoned and withdrawn */

static void withdrawn_calls_without_number_do_no_harm_while_no_worker_looks(void **state)
{
    (void)state;
    struct carom_call *waiting = call_submitted(client, ECHO, 8);
    for (int i = 0; i < 5000; i++) {
        struct carom_call *call = call_submitted(client, ECHO, 4);
        if (i % 2 == 0)
            assert_int_equal(carom_call_cancel(call), 0);
        carom_call_end(call);
    }
    struct carom_request *request = take();
    size_t length;
    carom_request_data(request, &length);
    assert_int_equal(length, 8);
    carom_request_reply(request, 0);
    assert_int_equal(carom_call_wait(waiting), CAROM_OK);
    carom_call_end(waiting);
    assert_nothing_to_take();
}

static void abandoned_calls_without_number_give_their_slots_back(void **state)
{
    (void)state;
    struct carom_call *call;
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(carom_call_begin(client, ECHO, CAROM_FOREVER, CAROM_NOWAIT, &call), 0);
        assert_int_equal(carom_call_submit(call, 4), 0);
        struct carom_request *request = take();
        carom_call_end(call);
        if (i % 3 == 0)
            carom_request_fail(request, CAROM_INTERNAL, NULL, NULL, NULL);
        else
            carom_request_reply(request, 0);
    }
    assert_nothing_to_take();
}

/* ---------------------------------------------------------------- memory is given back */

#define BIG (UINT64_C(8) << 20)

/* Memory in use by the largest object of a name that this process has open: the host's thread keeps
 * descriptors of every lane. */
static int64_t kept_bytes(const char *name)
{
    int64_t most = 0;
    char path[64], target[128];
    struct stat status;
    for (int fd = 3; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        if (strstr(target, name) != NULL && stat(path, &status) == 0 &&
            (int64_t)status.st_blocks * 512 > most)
            most = (int64_t)status.st_blocks * 512;
    }
    return most;
}

static void large_requests_and_replies_give_their_memory_back(void **state)
{
    (void)state;
    struct carom_client_options options = {
        .size = sizeof options, .slots = 2, .resident_bytes = 2 << 20};
    options.request_block_bytes = options.reply_block_bytes = BIG;
    client_close(client);
    await(atomic_load(&service_host()->directory->client_count) == 0);
    assert_int_equal(carom_client_open(SERVICE, PATIENCE, &options, &client), 0);
    client_know_methods(client);
    for (int i = 0; i < 3; i++) {
        struct carom_call *call = begin_for(ECHO, CAROM_FOREVER);
        memset(carom_call_request(call, NULL), i + 1, BIG);
        assert_int_equal(carom_call_submit(call, BIG), 0);
        assert_int_equal(carom_call_wait(call), CAROM_OK);
        assert_int_equal(((const char *)carom_call_reply(call, NULL))[BIG - 1], i + 1);
        assert_true(kept_bytes("carom-requests") >= (int64_t)BIG);
        assert_true(kept_bytes("carom-replies") >= (int64_t)BIG);
        carom_call_end(call);
        /* the replies are trimmed by a worker, a little later */
        await(kept_bytes("carom-replies") <= 2 * (int64_t)CAROM__KEEP_BYTES);
        assert_echoes(client);
        struct carom_call *both[2] = {begin_for(ECHO, PATIENCE), begin_for(ECHO, PATIENCE)};
        carom_call_end(both[0]); /* both slots were there, so the trimmed one has come back */
        carom_call_end(both[1]);
        assert_true(kept_bytes("carom-requests") <= 2 * (int64_t)CAROM__KEEP_BYTES);
    }
    carom_client_close(client);
}

static void memory_within_the_budget_is_kept_for_the_next_call(void **state)
{
    (void)state;
    struct carom_client *big = client_open(2, BIG);
    struct carom_call *call = call_submitted(big, ECHO, BIG);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_end(call);
    for (int i = 0; i < 100; i++)
        assert_echoes(big);
    assert_true(kept_bytes("carom-requests") >= (int64_t)BIG);
    assert_true(kept_bytes("carom-replies") >= (int64_t)BIG);
}

/* ---------------------------------------------------------------- invoke */

static void invoke_copies_in_and_out(void **state)
{
    (void)state;
    char reply[8] = "???????";
    size_t length = 99;
    assert_int_equal(carom_invoke(client, ECHO, "abcd", 4, reply, 8, &length, PATIENCE), CAROM_OK);
    assert_int_equal(length, 4);
    assert_memory_equal(reply, "abcd???", 8);
    assert_int_equal(carom_invoke(client, ECHO, NULL, 0, NULL, 0, NULL, PATIENCE), CAROM_OK);
}

static void invoke_tells_how_large_the_reply_was_that_did_not_fit(void **state)
{
    (void)state;
    char reply[8] = "???????";
    size_t length = 0;
    assert_int_equal(carom_invoke(client, ECHO, "abcdefgh", 8, reply, 7, &length, PATIENCE),
                     -ENOBUFS);
    assert_int_equal(length, 8);
    assert_memory_equal(reply, "???????", 8);
    assert_int_equal(carom_invoke(client, ECHO, "abcdefgh", 8, NULL, 0, NULL, PATIENCE), -ENOBUFS);
}

static void invoke_brings_errors_of_every_kind(void **state)
{
    (void)state;
    char request[1] = {CAROM_ABORTED};
    size_t length = 99;
    assert_int_equal(carom_invoke(client, FAIL, request, 1, NULL, 0, &length, PATIENCE),
                     CAROM_ABORTED);
    assert_string_equal(carom_error_detail(), "TestError: as it was told");
    assert_int_equal(length, 0);
    assert_int_equal(carom_invoke(client, ECHO, request, BLOCK + 1, NULL, 0, NULL, PATIENCE),
                     -EMSGSIZE);
    assert_int_equal(carom_invoke(client, -3, request, 1, NULL, 0, NULL, PATIENCE), -EINVAL);
    assert_int_equal(carom_invoke(client, HOLD, request, 1, NULL, 0, NULL, MILLISECOND),
                     -ETIMEDOUT);
    add_to(&board->release, 1);
    assert_echoes(client);
}

/* ---------------------------------------------------------------- threads */

static void *call_much(void *rounds)
{
    char seed = (char)atomic_fetch_add(&board->number[0], 1), request[64], reply[64];
    size_t length;
    for (int i = 0; i < *(int *)rounds; i++) {
        memset(request, seed + i, sizeof request);
        size_t bytes = (size_t)i % sizeof request;
        int rc = carom_invoke(client, ECHO, request, bytes, reply, sizeof reply, &length, PATIENCE);
        if (rc != CAROM_OK) {
            add_to(&board->number[1], 1);
            continue;
        }
        require(length == bytes && memcmp(request, reply, bytes) == 0);
    }
    return NULL;
}

static void many_threads_share_a_client(void **state)
{
    (void)state;
    int rounds = ROUNDS(20000);
    worker_start();
    run_together(6, call_much, &rounds); /* more threads than slots */
    assert_int_equal(value_of(&board->number[1]), 0);
}

/* Calls that are cancelled, time out, are left alone or waited for, all at once. */
static void *call_wildly(void *rounds)
{
    unsigned seed = (unsigned)atomic_fetch_add(&board->number[0], 1);
    for (int i = 0; i < *(int *)rounds; i++) {
        struct carom_call *call;
        seed = seed * 1103515245u + 12345u;
        int64_t timeout_ns = seed >> 16 & 1 ? CAROM_FOREVER : (int64_t)(seed % 200000);
        int rc = carom_call_begin(client, ECHO, timeout_ns, 0, &call);
        if (rc == -ETIMEDOUT)
            continue;
        require(rc == 0);
        memcpy(carom_call_request(call, NULL), &seed, sizeof seed);
        if (carom_call_submit(call, sizeof seed) < 0)
            add_to(&board->number[1], 1);
        if (seed >> 20 & 1)
            require(carom_call_cancel(call) >= -EINVAL);
        if (seed >> 18 & 3) {
            rc = carom_call_wait(call);
            if (rc == CAROM_OK)
                require(memcmp(carom_call_reply(call, NULL), &seed, sizeof seed) == 0);
            else
                require(rc == -ETIMEDOUT || rc == CAROM_CANCELLED || rc == -EINVAL);
        }
        carom_call_end(call);
    }
    return NULL;
}

static void threads_that_cancel_and_leave_at_random_lose_no_slot(void **state)
{
    (void)state;
    struct carom_call *calls[4];
    int rounds = ROUNDS(20000);
    worker_start();
    run_together(5, call_wildly, &rounds);
    assert_int_equal(value_of(&board->number[1]), 0); /* no submission was refused */
    for (int i = 0; i < 4; i++)
        calls[i] = begin_for(ECHO, PATIENCE);
    for (int i = 0; i < 4; i++)
        carom_call_end(calls[i]);
    assert_echoes(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        running(a_reply_is_what_the_handler_made_of_the_request),
        running(calls_in_flight_together_keep_their_memory_apart),
        running(one_slot_serves_very_many_calls),
        running(data_of_the_callers_own_is_kept_until_the_end),
        running(what_cannot_be_begun_is_refused),
        running(a_request_longer_than_its_block_is_refused_with_both_sizes),
        running(a_call_is_submitted_once),
        running(a_call_that_was_not_submitted_has_no_outcome),
        running(a_method_id_that_is_none_is_refused),
        running(a_remote_error_brings_its_status_type_message_and_traceback),
        running(a_call_that_went_well_has_no_error),
        by_hand(a_record_of_an_error_that_is_nonsense_leaves_empty_words),
        by_hand(a_worker_that_writes_nonsense_is_not_believed),
        by_hand(a_state_word_that_is_nonsense_is_an_error_and_the_slot_goes_on),
        by_hand(polling_says_again_until_the_call_is_done),
        by_hand(a_caller_that_sleeps_is_woken_by_the_reply),
        by_hand(a_signal_interrupts_the_wait_and_not_the_call),
        by_hand(a_caller_that_is_woken_for_nothing_notices_that_the_service_has_ended),
        by_hand(a_call_that_nobody_takes_ends_at_its_deadline_and_never_runs),
        by_hand(a_timeout_of_zero_has_passed_already),
        by_hand(a_caller_returns_at_its_deadline_whatever_the_worker_does),
        by_hand(an_abandoned_slot_comes_back_when_the_worker_is_through),
        by_hand(a_reply_that_comes_after_the_deadline_does_not_reach_the_slots_next_call),
        by_hand(a_call_cancelled_before_it_is_taken_never_runs),
        by_hand(a_call_cancelled_while_it_runs_ends_as_its_handler_decides),
        by_hand(another_thread_may_cancel_what_one_waits_for),
        running(a_handler_that_obeys_ends_when_it_is_cancelled),
        by_hand(without_a_slot_nowait_says_again_and_a_deadline_passes),
        by_hand(threads_that_wait_for_a_slot_get_it_when_one_is_given_back),
        by_hand(a_thread_that_waits_for_a_slot_gets_that_of_an_abandoned_call),
        by_hand(a_signal_ends_the_wait_for_a_slot_only_of_who_asked_for_that),
        by_hand(withdrawn_calls_without_number_do_no_harm_while_no_worker_looks),
        by_hand(abandoned_calls_without_number_give_their_slots_back),
        running(large_requests_and_replies_give_their_memory_back),
        running(memory_within_the_budget_is_kept_for_the_next_call),
        running(invoke_copies_in_and_out),
        running(invoke_tells_how_large_the_reply_was_that_did_not_fit),
        running(invoke_brings_errors_of_every_kind),
        running(many_threads_share_a_client),
        running(threads_that_cancel_and_leave_at_random_lose_no_slot),
    };
    return RUN(tests);
}
