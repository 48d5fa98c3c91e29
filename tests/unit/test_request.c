/* SPDX-License-Identifier: Apache-2.0
 *
 * test_request.c - what a handler does with its call: read, reply, fail, look who calls and whether
 * it still wants the answer, keep memory beyond the end. */
#include "support.h"

#include "client.h"
#include "service.h"
#include "worker.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 16384u

static struct carom_client *client;
static struct carom_worker *worker; /* by hand */

static int start(void **state)
{
    int rc = before_test(state);
    service_start(NULL);
    worker = worker_open();
    client = client_open(4, BLOCK);
    return rc;
}

#define started(test) cmocka_unit_test_setup_teardown(test, start, after_test)

static struct carom_request *take(void)
{
    struct carom_request *request;
    assert_int_equal(carom_worker_take(worker, PATIENCE, &request), 0);
    return request;
}

static void assert_outcome(struct carom_call *call, int status)
{
    assert_int_equal(carom_call_wait(call), status);
    carom_call_end(call);
}

/* ---------------------------------------------------------------- reading and replying */

static void the_request_is_read_in_place_and_cannot_be_written(void **state)
{
    (void)state;
    size_t length;
    struct carom_call *call = call_submitted(client, HOLD, 100);
    struct carom_request *request = take();
    assert_int_equal(carom_request_method(request), HOLD);
    const char *data = carom_request_data(request, &length);
    assert_int_equal(length, 100);
    assert_memory_equal(data, carom_call_request(call, NULL), length);
    assert_int_equal((uintptr_t)data % 64, 0);
    assert_ptr_equal(carom_request_data(request, NULL), data);
    void *page = (void *)((uintptr_t)data & ~(uintptr_t)4095);
    assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_WRITE), -1);
    assert_int_equal(errno, EACCES);
    carom_request_reply(request, 0);
    assert_outcome(call, CAROM_OK);
}

static void the_client_cannot_write_the_reply(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom_request_reply(take(), 4);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    const char *reply = carom_call_reply(call, NULL);
    void *page = (void *)((uintptr_t)reply & ~(uintptr_t)4095);
    assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_WRITE), -1);
    carom_call_end(call);
}

static void the_reply_block_is_all_the_handlers(void **state)
{
    (void)state;
    size_t capacity, length;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    char *block = carom_request_reply_block(request, &capacity);
    assert_int_equal(capacity, BLOCK);
    assert_int_equal((uintptr_t)block % 64, 0);
    assert_ptr_equal(carom_request_reply_block(request, NULL), block);
    memset(block, 'r', capacity);
    assert_int_equal(carom_request_reply(request, capacity), 0);
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    const char *reply = carom_call_reply(call, &length);
    assert_int_equal(length, BLOCK);
    assert_true(reply[0] == 'r' && reply[BLOCK - 1] == 'r');
    carom_call_end(call);
}

static void a_reply_too_large_is_refused_and_the_request_stays_open(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    assert_int_equal(carom_request_reply(request, BLOCK + 1), -EMSGSIZE);
    assert_non_null(strstr(carom_error_detail(), "16385"));
    assert_int_equal(carom_request_reply(request, SIZE_MAX), -EMSGSIZE);
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    assert_int_equal(carom_request_reply(request, BLOCK), 0);
    assert_outcome(call, CAROM_OK);
}

static void a_handler_whose_reply_is_too_large_can_say_so(void **state)
{
    (void)state;
    struct carom_error error;
    worker_stop(worker);
    worker_start();
    struct carom_call *call = call_submitted(client, OVERFLOW_, 4);
    assert_int_equal(carom_call_wait(call), CAROM_RESOURCE_EXHAUSTED);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "Refused");
    assert_non_null(strstr(error.message, "reply_block_bytes"));
    carom_call_end(call);
}

static void only_the_first_finish_counts(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    assert_int_equal(carom_request_reply(request, 3), 0);
    assert_int_equal(carom_request_reply(request, 4), 0);
    carom_request_fail(request, CAROM_INTERNAL, "Late", "too late", NULL);
    size_t length;
    assert_int_equal(carom_call_wait(call), CAROM_OK);
    carom_call_reply(call, &length);
    assert_int_equal(length, 3);
    carom_call_end(call);
    call = call_submitted(client, ECHO, 4);
    request = take();
    carom_request_fail(request, CAROM_ABORTED, "First", NULL, NULL);
    carom_request_fail(request, CAROM_INTERNAL, "Second", NULL, NULL);
    assert_int_equal(carom_request_reply(request, 0), 0);
    struct carom_error error;
    assert_int_equal(carom_call_wait(call), CAROM_ABORTED);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "First");
    carom_call_end(call);
}

/* ---------------------------------------------------------------- failing */

static void every_status_arrives_and_what_is_none_becomes_unknown(void **state)
{
    (void)state;
    for (int status = -2; status <= 20; status++) {
        bool is_error = status >= CAROM_CANCELLED && status <= CAROM_UNAUTHENTICATED;
        struct carom_call *call = call_submitted(client, ECHO, 4);
        carom_request_fail(take(), status, "Type", "message", "traceback");
        assert_outcome(call, is_error ? status : CAROM_UNKNOWN);
    }
}

static void an_error_without_words_arrives(void **state)
{
    (void)state;
    struct carom_error error;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom_request_fail(take(), CAROM_DEADLINE_EXCEEDED, NULL, NULL, NULL);
    assert_int_equal(carom_call_wait(call), CAROM_DEADLINE_EXCEEDED); /* the handler's, not ours */
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "");
    assert_string_equal(error.message, "");
    assert_string_equal(error.traceback, "");
    carom_call_end(call);
}

static void an_error_longer_than_the_block_is_cut_at_its_end(void **state)
{
    (void)state;
    static char traceback[3 * BLOCK];
    struct carom_error error;
    memset(traceback, 't', sizeof traceback - 1);
    struct carom_call *call = call_submitted(client, ECHO, 4);
    carom_request_fail(take(), CAROM_INTERNAL, "Type", "message", traceback);
    assert_int_equal(carom_call_wait(call), CAROM_INTERNAL);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_string_equal(error.type, "Type");
    assert_string_equal(error.message, "message");
    assert_true(strlen(error.traceback) > BLOCK / 2 && strlen(error.traceback) < BLOCK);
    carom_call_end(call);
}

static void an_error_with_its_causes_and_time_arrives(void **state)
{
    (void)state;
    const struct carom_cause causes[] = {{"KeyError", "'inner'"}, {"OSError", NULL}};
    const struct carom_error given = {.status = CAROM_NOT_FOUND,
                                      .worker = 77,
                                      .time_ns = 1600000000123456789,
                                      .type = "LabError",
                                      .message = "outer",
                                      .traceback = "in f\n",
                                      .cause_count = 2,
                                      .causes = causes};
    struct carom_error error;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    carom_request_fail_with(request, &given);
    carom_request_fail_with(request, &given); /* the second does not count */
    assert_int_equal(carom_call_wait(call), CAROM_NOT_FOUND);
    assert_int_equal(carom_call_error(call, &error), 0);
    assert_int_equal(error.worker, carom_worker_id(worker));
    assert_true(error.time_ns == given.time_ns);
    assert_string_equal(error.type, "LabError");
    assert_string_equal(error.traceback, "in f\n");
    assert_int_equal(error.cause_count, 2);
    assert_string_equal(error.causes[0].type, "KeyError");
    assert_string_equal(error.causes[0].message, "'inner'");
    assert_string_equal(error.causes[1].type, "OSError");
    assert_string_equal(error.causes[1].message, "");
    carom_call_end(call);
}

static void a_status_that_is_none_becomes_unknown_also_with_causes(void **state)
{
    (void)state;
    const int wrong[] = {CAROM_OK, -1, CAROM_UNAUTHENTICATED + 1, INT32_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct carom_error given = {.status = wrong[i], .type = "T"};
        struct carom_call *call = call_submitted(client, ECHO, 4);
        carom_request_fail_with(take(), &given);
        assert_outcome(call, CAROM_UNKNOWN);
    }
}

/* ---------------------------------------------------------------- context */

static void the_deadline_is_the_callers(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    assert_true(carom_request_deadline(request) == INT64_MAX);
    carom_request_reply(request, 0);
    carom_call_end(call);
    int64_t before = carom_now_ns();
    assert_int_equal(carom_call_begin(client, ECHO, PATIENCE, 0, &call), 0);
    assert_int_equal(carom_call_submit(call, 4), 0);
    request = take();
    assert_true(carom_request_deadline(request) >= before + PATIENCE);
    assert_true(carom_request_deadline(request) <= carom_now_ns() + PATIENCE + SECOND);
    carom_request_reply(request, 0);
    assert_outcome(call, CAROM_OK);
}

static void the_caller_is_named_as_the_kernel_knows_it(void **state)
{
    (void)state;
    struct carom_peer peer = {0};
    struct carom_client *second = client_open(2, 4096);
    struct carom_call *call = call_submitted(second, ECHO, 4);
    struct carom_request *request = take();
    carom_request_client(request, &peer);
    assert_int_equal(peer.id, second->lane_id);
    assert_int_equal(peer.pid, getpid());
    assert_int_equal(peer.uid, geteuid());
    carom_request_reply(request, 0);
    assert_outcome(call, CAROM_OK);
}

static void a_call_is_cancelled_when_the_client_says_so_or_leaves_it(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    assert_false(carom_request_cancelled(request));
    carom_call_cancel(call);
    assert_true(carom_request_cancelled(request));
    carom_request_reply(request, 0);
    carom_call_end(call);
    call = call_submitted(client, ECHO, 4);
    request = take();
    assert_false(carom_request_cancelled(request));
    carom_call_end(call);
    assert_true(carom_request_cancelled(request));
    carom_request_reply(request, 0);
}

static void a_call_is_cancelled_when_its_client_closes(void **state)
{
    (void)state;
    call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    client_close(client);
    int64_t give_up = carom_now_ns() + 2 * SECOND;
    await(carom_request_cancelled(request) || carom_now_ns() > give_up);
    bool cancelled = carom_request_cancelled(request);
    carom_request_reply(request, 0);
    assert_true(cancelled);
}

/* ---------------------------------------------------------------- detaching */

static int worker_mappings_of(const void *address)
{
    return mincore((void *)((uintptr_t)address & ~(uintptr_t)4095), 4096, (unsigned char[1]){0});
}

/* Lets a pointer into the request escape, finishes, and uses the same slot again. */
static void let_request_escape(size_t length_bytes)
{
    size_t length;
    struct carom_call *call = call_submitted(client, ECHO, length_bytes);
    struct carom_request *request = take();
    const char *escaped = carom_request_data(request, &length);
    char first = escaped[0], last = escaped[length - 1];
    assert_int_equal(carom_request_detach(request, CAROM_REQUEST_BLOCK, length), 0);
    const char *now = carom_request_data(request, NULL);
    assert_ptr_not_equal(now, escaped);
    assert_memory_equal(now, escaped, length);
    assert_int_equal((uintptr_t)now % 64, 0);
    carom_request_reply(request, 0);
    assert_outcome(call, CAROM_OK);
    for (int i = 0; i < 3; i++) { /* later calls of the same slot */
        call = call_begin(client, ECHO, BLOCK);
        memset(carom_call_request(call, NULL), 'A' + i, BLOCK);
        assert_int_equal(carom_call_submit(call, BLOCK), 0);
        request = take();
        const char *data = carom_request_data(request, &length);
        assert_true(data[0] == 'A' + i && data[BLOCK - 1] == 'A' + i);
        carom_request_reply(request, 0);
        assert_outcome(call, CAROM_OK);
    }
    assert_true(escaped[0] == first && escaped[length_bytes - 1] == last);
    ((char *)(uintptr_t)escaped)[0] = 'x'; /* private memory now */
    carom_detached_free((void *)(uintptr_t)escaped, length_bytes);
    assert_int_equal(worker_mappings_of(escaped), -1);
}

static void an_escaped_request_keeps_its_bytes_while_its_slot_goes_on(void **state)
{
    (void)state;
    const size_t lengths[] = {1, 100, 4096, 4097, BLOCK - 1, BLOCK};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        let_request_escape(lengths[i]);
}

static void an_escaped_reply_keeps_its_bytes_while_its_slot_goes_on(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        size_t length;
        struct carom_call *call = call_submitted(client, ECHO, 4);
        struct carom_request *request = take();
        char *escaped = carom_request_reply_block(request, NULL);
        memset(escaped, 'e', 5000);
        assert_int_equal(carom_request_detach(request, CAROM_REPLY_BLOCK, 5000), 0);
        assert_ptr_not_equal(carom_request_reply_block(request, NULL), escaped);
        assert_int_equal(carom_request_reply(request, 5000), 0);
        assert_int_equal(carom_call_wait(call), CAROM_OK);
        const char *reply = carom_call_reply(call, &length);
        assert_true(length == 5000 && reply[0] == 'e' && reply[4999] == 'e');
        memset(escaped, 'z', 5000); /* what the escaped pointer writes reaches nobody */
        assert_true(reply[0] == 'e' && reply[4999] == 'e');
        carom_call_end(call);
        call = call_submitted(client, ECHO, 4);
        request = take();
        memset(carom_request_reply_block(request, NULL), 'n', BLOCK);
        assert_int_equal(carom_request_reply(request, BLOCK), 0);
        assert_int_equal(carom_call_wait(call), CAROM_OK);
        reply = carom_call_reply(call, &length);
        assert_true(reply[0] == 'n' && reply[BLOCK - 1] == 'n');
        assert_int_equal(escaped[0], 'z');
        carom_call_end(call);
        carom_detached_free(escaped, 5000);
    }
}

static void both_blocks_of_every_slot_may_be_detached_and_the_lane_still_goes_away(void **state)
{
    (void)state;
    char *kept[8];
    struct carom_call *calls[4];
    for (int i = 0; i < 4; i++)
        calls[i] = call_submitted(client, ECHO, BLOCK);
    for (int i = 0; i < 4; i++) {
        struct carom_request *request = take();
        kept[(size_t)2 * i] = (char *)(uintptr_t)carom_request_data(request, NULL);
        kept[2 * i + 1] = carom_request_reply_block(request, NULL);
        kept[2 * i + 1][0] = (char)i;
        assert_int_equal(carom_request_detach(request, CAROM_REQUEST_BLOCK, BLOCK), 0);
        assert_int_equal(carom_request_detach(request, CAROM_REPLY_BLOCK, 1), 0);
        carom_request_reply(request, 1);
    }
    for (int i = 0; i < 4; i++)
        assert_outcome(calls[i], CAROM_OK);
    client_close(client);
    struct carom_request *request;
    client = client_open(4, 4096); /* in the same place: the old lane is dropped first */
    assert_int_equal(carom_worker_take(worker, 0, &request), -ETIMEDOUT);
    client_close(client);
    worker_stop(worker);
    for (int i = 0; i < 4; i++) { /* outlives request, lane and worker */
        assert_int_equal(kept[(size_t)2 * i][BLOCK - 1], (char)((BLOCK - 1) * 7 + 3));
        assert_int_equal(kept[(size_t)2 * i + 1][0], i);
        carom_detached_free(kept[(size_t)2 * i], BLOCK);
        carom_detached_free(kept[2 * i + 1], 1);
    }
    carom_detached_free(NULL, 100);
}

static void what_cannot_be_detached_is_refused(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    const void *data = carom_request_data(request, NULL);
    assert_int_equal(carom_request_detach(request, CAROM_REQUEST_BLOCK, 0), -EINVAL);
    assert_int_equal(carom_request_detach(request, CAROM_REQUEST_BLOCK, BLOCK + 1), -EINVAL);
    assert_int_equal(carom_request_detach(request, CAROM_REPLY_BLOCK, SIZE_MAX), -EINVAL);
    assert_ptr_equal(carom_request_data(request, NULL), data);
    carom_request_reply(request, 0);
    assert_outcome(call, CAROM_OK);
}

/* ---------------------------------------------------------------- fork */

static int finish_in_child(void *request)
{
    return carom_request_reply(request, 0) == -ECHILD ? 0 : 1;
}

static int fail_in_child(void *request)
{
    carom_request_fail(request, CAROM_INTERNAL, NULL, NULL, NULL);
    return 0;
}

static void a_forked_child_cannot_finish_its_parents_request(void **state)
{
    (void)state;
    struct carom_call *call = call_submitted(client, ECHO, 4);
    struct carom_request *request = take();
    int reply = in_child(finish_in_child, request), fail = in_child(fail_in_child, request);
    assert_int_equal(carom_call_poll(call), -EAGAIN);
    carom_request_reply(request, 0);
    assert_outcome(call, CAROM_OK);
    assert_int_equal(reply, 0);
    assert_int_equal(fail, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        started(the_request_is_read_in_place_and_cannot_be_written),
        started(the_client_cannot_write_the_reply),
        started(the_reply_block_is_all_the_handlers),
        started(a_reply_too_large_is_refused_and_the_request_stays_open),
        started(a_handler_whose_reply_is_too_large_can_say_so),
        started(only_the_first_finish_counts),
        started(every_status_arrives_and_what_is_none_becomes_unknown),
        started(an_error_without_words_arrives),
        started(an_error_longer_than_the_block_is_cut_at_its_end),
        started(an_error_with_its_causes_and_time_arrives),
        started(a_status_that_is_none_becomes_unknown_also_with_causes),
        started(the_deadline_is_the_callers),
        started(the_caller_is_named_as_the_kernel_knows_it),
        started(a_call_is_cancelled_when_the_client_says_so_or_leaves_it),
        started(a_call_is_cancelled_when_its_client_closes),
        started(an_escaped_request_keeps_its_bytes_while_its_slot_goes_on),
        started(an_escaped_reply_keeps_its_bytes_while_its_slot_goes_on),
        started(both_blocks_of_every_slot_may_be_detached_and_the_lane_still_goes_away),
        started(what_cannot_be_detached_is_refused),
        started(a_forked_child_cannot_finish_its_parents_request),
    };
    return RUN(tests);
}
