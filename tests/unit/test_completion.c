/* SPDX-License-Identifier: Apache-2.0
 *
 * test_completion.c - calls with CAROM_NOTIFY and carom_client_next: each is returned once, none is
 * waited for in vain, and stale completion bits do nothing. */
#include "support.h"

#include "client.h"
#include "service.h"
#include "worker.h"

#include <stdlib.h>

#define SLOTS 8

static struct carom_client *client;
static struct carom_worker *worker; /* by hand */

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    worker = worker_open();
    client = client_open(SLOTS, 4096);
    return rc;
}

#define started(test) cmocka_unit_test_setup_teardown(test, start, after_test)

static struct carom_call *begin(int64_t timeout_ns)
{
    struct carom_call *call;
    assert_int_equal(carom_call_begin(client, ECHO, timeout_ns, CAROM_NOTIFY, &call), 0);
    return call;
}

static struct carom_call *submitted(void)
{
    struct carom_call *call = begin(CAROM_FOREVER);
    assert_int_equal(carom_call_submit(call, 4), 0);
    return call;
}

static void answer_one(void)
{
    struct carom_request *request;
    assert_int_equal(carom_worker_take(worker, PATIENCE, &request), 0);
    assert_int_equal(carom_request_reply(request, 0), 0);
}

static void assert_next(struct carom_call *expected)
{
    struct carom_call *call = NULL;
    assert_int_equal(carom_client_next(client, PATIENCE, &call), 0);
    assert_ptr_equal(call, expected);
    assert_int_equal(carom_call_poll(call), CAROM_OK);
}

static void assert_no_next(int error)
{
    struct carom_call *call = (void *)1;
    assert_int_equal(carom_client_next(client, 0, &call), error);
    assert_null(call);
}

/* ---------------------------------------------------------------- one thread */

static void without_such_calls_there_is_nothing_to_wait_for(void **state)
{
    (void)state;
    struct carom_call *call;
    assert_no_next(-ENODATA);
    struct carom_call *other = call_submitted(client, ECHO, 4); /* without NOTIFY */
    assert_int_equal(carom_client_next(client, CAROM_FOREVER, &call), -ENODATA);
    answer_one();
    assert_int_equal(carom_client_next(client, CAROM_FOREVER, &call), -ENODATA);
    carom_call_end(other);
}

static void a_call_in_flight_is_waited_for_as_long_as_asked(void **state)
{
    (void)state;
    struct carom_call *call = submitted(), *next;
    assert_no_next(-ETIMEDOUT);
    assert_int_equal(carom_client_next(client, 5 * MILLISECOND, &next), -ETIMEDOUT);
    assert_non_null(strstr(carom_error_detail(), "1 calls"));
    answer_one();
    assert_next(call);
    assert_no_next(-ENODATA);
    carom_call_end(call);
}

static void calls_found_one_by_one_come_in_the_order_of_their_end(void **state)
{
    (void)state;
    struct carom_call *calls[3] = {submitted(), submitted(), submitted()};
    struct carom_call *next;
    for (int i = 0; i < 3; i++) {
        answer_one();
        assert_next(calls[i]);
    }
    for (int i = 0; i < 3; i++)
        carom_call_end(calls[i]);
    assert_int_equal(carom_client_next(client, CAROM_FOREVER, &next), -ENODATA);
}

static void each_of_many_is_returned_once(void **state)
{
    (void)state;
    struct carom_call *calls[SLOTS], *call;
    int returned[SLOTS] = {0};
    for (int i = 0; i < SLOTS; i++) {
        calls[i] = submitted();
        carom_call_set_data(calls[i], &returned[i]);
    }
    for (int i = 0; i < SLOTS; i++)
        answer_one();
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(carom_client_next(client, PATIENCE, &call), 0);
        ++*(int *)carom_call_data(call);
    }
    assert_no_next(-ENODATA);
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(returned[i], 1);
        carom_call_end(calls[i]);
    }
}

static void a_call_may_be_ended_before_it_is_returned(void **state)
{
    (void)state;
    struct carom_call *calls[4] = {submitted(), submitted(), submitted(), submitted()};
    carom_call_end(calls[3]); /* withdrawn: nobody has taken it */
    for (int i = 0; i < 3; i++)
        answer_one();
    assert_next(calls[0]); /* collects the others into the queue */
    carom_call_end(calls[1]);
    assert_next(calls[2]);
    assert_no_next(-ENODATA);
    carom_call_end(calls[0]);
    carom_call_end(calls[2]);
}

/* Four calls are done and found together; the first that comes is returned, one of those in the
 * queue behind it is ended: the others still come, and so does one that is found later. */
static void leave_the_queue_at(int place)
{
    struct carom_call *next;
    for (int i = 0; i < 4; i++)
        submitted();
    for (int i = 0; i < 4; i++)
        answer_one();
    assert_int_equal(carom_client_next(client, PATIENCE, &next), 0);
    carom_call_end(next);
    next = client->completions.first;
    for (int i = 0; i < place; i++)
        next = next->next_done;
    carom_call_end(next);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(carom_client_next(client, PATIENCE, &next), 0);
        assert_int_equal(carom_call_poll(next), CAROM_OK);
        carom_call_end(next);
    }
    assert_no_next(-ENODATA);
    struct carom_call *after = submitted();
    answer_one();
    assert_next(after);
    carom_call_end(after);
}

static void every_place_in_the_queue_can_be_left(void **state)
{
    (void)state;
    for (int place = 0; place < 3; place++)
        leave_the_queue_at(place);
}

static void a_call_that_was_waited_for_is_returned_all_the_same(void **state)
{
    (void)state;
    struct carom_call *call = submitted();
    answer_one();
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    assert_next(call);
    assert_no_next(-ENODATA);
    carom_call_end(call);
}

static void a_cancelled_call_is_returned_as_cancelled(void **state)
{
    (void)state;
    struct carom_call *call = submitted(), *next;
    assert_int_equal(carom_call_cancel(call), 0);
    assert_int_equal(carom_client_next(client, PATIENCE, &next), 0);
    assert_ptr_equal(next, call);
    assert_int_equal(carom_call_poll(call), CAROM_CANCELLED);
    carom_call_end(call);
}

static void a_call_whose_deadline_passes_is_returned_in_time(void **state)
{
    (void)state;
    struct carom_call *call = begin(20 * MILLISECOND), *next = NULL;
    assert_int_equal(carom_call_submit(call, 4), 0);
    int rc = carom_client_next(client, 2 * SECOND, &next);
    int outcome = carom_call_poll(call);
    carom_call_end(call);
    assert_int_equal(outcome, -ETIMEDOUT);
    assert_int_equal(rc, 0);
    assert_ptr_equal(next, call);
}

static void a_call_that_was_never_submitted_is_not_in_flight(void **state)
{
    (void)state;
    struct carom_call *call = begin(CAROM_FOREVER), *next = NULL;
    int rc = carom_client_next(client, 5 * MILLISECOND, &next);
    carom_call_end(call);
    assert_int_equal(rc, -ENODATA);
}

static void a_submission_that_failed_is_not_in_flight(void **state)
{
    (void)state;
    struct carom_call *call = begin(CAROM_FOREVER), *next = NULL;
    assert_int_equal(carom_call_submit(call, 4097), -EMSGSIZE);
    carom_call_end(call);
    assert_int_equal(carom_client_next(client, CAROM_FOREVER, &next), -ENODATA);
}

static void an_abandoned_call_is_never_returned(void **state)
{
    (void)state;
    struct carom_request *request;
    struct carom_call *call = submitted();
    assert_int_equal(carom_worker_take(worker, PATIENCE, &request), 0);
    carom_call_end(call);
    assert_no_next(-ENODATA);
    struct carom_call *other = submitted();
    carom_request_reply(request, 0);
    assert_no_next(-ETIMEDOUT);
    answer_one();
    assert_next(other);
    carom_call_end(other);
}

static void stale_completion_bits_return_nothing(void **state)
{
    (void)state;
    struct carom_call *call = submitted(), *plain = call_submitted(client, ECHO, 4);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        carom__lane_notify(&client->lane, slot); /* a worker's repeated or late bits */
    atomic_fetch_or(&client->lane.control->completed[0], UINT64_MAX); /* and slots that are none */
    assert_no_next(-ETIMEDOUT);
    answer_one();
    answer_one();
    carom__lane_notify(&client->lane, call->submission.slot);
    assert_next(call);
    carom__lane_notify(&client->lane, call->submission.slot);
    assert_no_next(-ENODATA);
    carom_call_end(call);
    carom_call_end(plain);
}

/* ---------------------------------------------------------------- threads */

static void *next_forever(void *expected)
{
    struct carom_call *call;
    require(carom_client_next(client, CAROM_FOREVER, &call) == 0);
    require(call == expected);
    return NULL;
}

static void who_sleeps_for_the_next_call_is_woken_by_its_end(void **state)
{
    (void)state;
    struct carom_call *call = submitted();
    pthread_t waiter = thread_start(next_forever, call);
    await_asleep(&client->lane.control->event, 1);
    answer_one();
    thread_join(waiter);
    carom_call_end(call);
}

static void *next_or_none(void *unused)
{
    struct carom_call *call;
    (void)unused;
    require(carom_client_next(client, CAROM_FOREVER, &call) == -ENODATA);
    return NULL;
}

static void who_sleeps_goes_home_when_the_last_call_is_ended_by_another(void **state)
{
    (void)state;
    struct carom_call *call = submitted();
    pthread_t waiter = thread_start(next_or_none, NULL);
    await_asleep(&client->lane.control->event, 1);
    carom_call_end(call);
    thread_join(waiter);
}

/* Submits and collects, with workers on threads; calls go from thread to thread. */
static void *submit_and_collect(void *rounds)
{
    struct carom_call *call;
    for (int i = 0; i < *(int *)rounds; i++) {
        int rc = carom_call_begin(client, ECHO, CAROM_FOREVER, CAROM_NOTIFY | CAROM_NOWAIT, &call);
        if (rc == 0) {
            int number = atomic_fetch_add(&board->number[0], 1);
            memcpy(carom_call_request(call, NULL), &number, sizeof number);
            require(carom_call_submit(call, sizeof number) == 0);
            continue;
        }
        require(rc == -EAGAIN);
        rc = carom_client_next(client, CAROM_FOREVER, &call);
        if (rc == -ENODATA) /* the others have them all */
            continue;
        require(rc == 0 && carom_call_poll(call) == CAROM_OK);
        require(memcmp(carom_call_reply(call, NULL), carom_call_request(call, NULL), 4) == 0);
        carom_call_end(call);
        add_to(&board->number[1], 1);
    }
    return NULL;
}

static void threads_return_each_call_once_among_them(void **state)
{
    (void)state;
    struct carom_call *call;
    int rounds = ROUNDS(40000);
    worker_stop(worker);
    worker_start();
    worker_start();
    run_together(3, submit_and_collect, &rounds);
    int rc;
    while ((rc = carom_client_next(client, CAROM_FOREVER, &call)) == 0) {
        carom_call_end(call);
        add_to(&board->number[1], 1);
    }
    assert_int_equal(rc, -ENODATA);
    assert_int_equal(value_of(&board->number[0]), value_of(&board->number[1]));
    assert_true(value_of(&board->number[0]) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        started(without_such_calls_there_is_nothing_to_wait_for),
        started(a_call_in_flight_is_waited_for_as_long_as_asked),
        started(calls_found_one_by_one_come_in_the_order_of_their_end),
        started(each_of_many_is_returned_once),
        started(a_call_may_be_ended_before_it_is_returned),
        started(every_place_in_the_queue_can_be_left),
        started(a_call_that_was_waited_for_is_returned_all_the_same),
        started(a_cancelled_call_is_returned_as_cancelled),
        started(a_call_whose_deadline_passes_is_returned_in_time),
        started(a_call_that_was_never_submitted_is_not_in_flight),
        started(a_submission_that_failed_is_not_in_flight),
        started(an_abandoned_call_is_never_returned),
        started(stale_completion_bits_return_nothing),
        started(who_sleeps_for_the_next_call_is_woken_by_its_end),
        started(who_sleeps_goes_home_when_the_last_call_is_ended_by_another),
        started(threads_return_each_call_once_among_them),
    };
    return RUN(tests);
}
