/* SPDX-License-Identifier: Apache-2.0
 *
 * service.c - the service of the tests. See service.h. */
#include "service.h"

#include "support.h"

#include <stdlib.h>

#define MOST 32

static struct carom_host *host;
static pthread_t host_thread;

static struct running_worker {
    struct carom_worker *worker;
    bool on_thread;
    pthread_t thread;
} workers[MOST];

static struct carom_client *clients[MOST];

/* ---------------------------------------------------------------- methods */

static void echo(void *context, struct carom_request *request)
{
    size_t length, capacity;
    (void)context;
    const void *data = carom_request_data(request, &length);
    void *reply = carom_request_reply_block(request, &capacity);
    if (length > capacity)
        length = capacity;
    memcpy(reply, data, length);
    require(carom_request_reply(request, length) == 0);
}

static void fail_as_told(void *context, struct carom_request *request)
{
    size_t length;
    (void)context;
    const signed char *status = carom_request_data(request, &length);
    require(length >= 1);
    carom_request_fail(request, *status, "TestError", "as it was told", "in fail\n");
}

static void hold(void *context, struct carom_request *request)
{
    add_to(&board->held, 1);
    await(value_of(&board->release) > 0);
    echo(context, request);
}

static void obey(void *context, struct carom_request *request)
{
    (void)context;
    add_to(&board->held, 1);
    await(carom_request_cancelled(request) || value_of(&board->release) > 0);
    carom_request_fail(request, CAROM_CANCELLED, "TestError", "cancelled while running", NULL);
}

static void forget(void *context, struct carom_request *request)
{
    (void)context;
    (void)request;
}

static void twice(void *context, struct carom_request *request)
{
    echo(context, request);
    carom_request_fail(request, CAROM_INTERNAL, "TestError", "too late", NULL);
    require(carom_request_reply(request, 1) == 0);
}

static void overflow(void *context, struct carom_request *request)
{
    size_t capacity;
    (void)context;
    carom_request_reply_block(request, &capacity);
    int rc = carom_request_reply(request, capacity + 1);
    carom_request_fail(request, CAROM_RESOURCE_EXHAUSTED, rc == -EMSGSIZE ? "Refused" : "Accepted",
                       carom_error_detail(), NULL);
}

const struct carom_method service_methods[METHODS] = {
    [ECHO] = {.name = "echo", .handler = echo},
    [FAIL] = {.name = "fail", .handler = fail_as_told},
    [HOLD] = {.name = "hold", .handler = hold},
    [OBEY] = {.name = "obey", .handler = obey},
    [FORGET] = {.name = "forget", .handler = forget},
    [TWICE] = {.name = "twice", .handler = twice},
    [OVERFLOW_] = {.name = "overflow", .handler = overflow},
};

/* ---------------------------------------------------------------- host */

static void *host_main(void *unused)
{
    (void)unused;
    require(carom_host_run(host) == 0);
    return NULL;
}

static void close_all(void)
{
    for (int i = 0; i < MOST; i++) {
        carom_client_close(clients[i]);
        clients[i] = NULL;
    }
    for (int i = 0; i < MOST; i++) {
        if (workers[i].worker != NULL)
            worker_stop(workers[i].worker);
    }
    service_stop();
}

void service_start(const struct carom_host_options *options)
{
    at_end_of_test(close_all);
    int rc = carom_host_open(SERVICE, options, &host);
    if (rc < 0)
        print_error("carom_host_open: %s\n", carom_error_detail());
    assert_int_equal(rc, 0);
    host_thread = thread_start(host_main, NULL);
}

void service_stop(void)
{
    if (host == NULL)
        return;
    carom_host_stop(host);
    thread_join(host_thread);
    carom_host_close(host);
    host = NULL;
}

struct carom_host *service_host(void)
{
    return host;
}

/* ---------------------------------------------------------------- workers */

static struct running_worker *find_worker(const struct carom_worker *worker)
{
    for (int i = 0; i < MOST; i++) {
        if (workers[i].worker == worker)
            return &workers[i];
    }
    failed("a worker of this test", __FILE__, __LINE__);
}

struct carom_worker *worker_open(void)
{
    struct running_worker *place = find_worker(NULL);
    at_end_of_test(close_all);
    int rc = carom_worker_open(SERVICE, service_methods, METHODS, PATIENCE, NULL, &place->worker);
    if (rc < 0)
        print_error("carom_worker_open: %s\n", carom_error_detail());
    assert_int_equal(rc, 0);
    place->on_thread = false;
    return place->worker;
}

static void *worker_main(void *worker)
{
    int rc = carom_worker_run(worker);
    require(rc == 0 || rc == -EHOSTDOWN);
    return NULL;
}

struct carom_worker *worker_start(void)
{
    struct running_worker *place = find_worker(worker_open());
    place->on_thread = true;
    place->thread = thread_start(worker_main, place->worker);
    return place->worker;
}

void worker_stop(struct carom_worker *worker)
{
    struct running_worker *place = find_worker(worker);
    if (place->on_thread) {
        carom_worker_stop(worker);
        thread_join(place->thread);
    }
    carom_worker_close(worker);
    place->worker = NULL;
}

int worker_child(void *unused)
{
    struct carom_worker *worker;
    (void)unused;
    require(carom_worker_open(SERVICE, service_methods, METHODS, PATIENCE, NULL, &worker) == 0);
    add_to(&board->ready, 1);
    int rc = carom_worker_run(worker);
    carom_worker_close(worker);
    return rc == 0 ? 0 : -rc;
}

/* ---------------------------------------------------------------- clients */

static struct carom_client **find_client(const struct carom_client *client)
{
    for (int i = 0; i < MOST; i++) {
        if (clients[i] == client)
            return &clients[i];
    }
    failed("a client of this test", __FILE__, __LINE__);
}

void client_know_methods(struct carom_client *client)
{
    for (int method = 0; method < METHODS; method++)
        carom_client_method(client, service_methods[method].name);
}

struct carom_client *client_open(uint32_t slots, size_t block_bytes)
{
    struct carom_client_options options = {
        .size = sizeof options,
        .slots = slots,
        .request_block_bytes = block_bytes,
        .reply_block_bytes = block_bytes,
    };
    struct carom_client **place = find_client(NULL);
    at_end_of_test(close_all);
    int rc = carom_client_open(SERVICE, PATIENCE, &options, place);
    if (rc < 0)
        print_error("carom_client_open: %s\n", carom_error_detail());
    assert_int_equal(rc, 0);
    client_know_methods(*place);
    return *place;
}

void client_close(struct carom_client *client)
{
    *find_client(client) = NULL;
    carom_client_close(client);
}

struct carom_call *call_begin(struct carom_client *client, int method, size_t length_bytes)
{
    struct carom_call *call;
    size_t capacity;
    assert_int_equal(carom_call_begin(client, method, CAROM_FOREVER, 0, &call), 0);
    char *request = carom_call_request(call, &capacity);
    assert_true(length_bytes <= capacity);
    for (size_t i = 0; i < length_bytes; i++)
        request[i] = (char)(i * 7 + 3);
    return call;
}

struct carom_call *call_submitted(struct carom_client *client, int method, size_t length_bytes)
{
    struct carom_call *call = call_begin(client, method, length_bytes);
    assert_int_equal(carom_call_submit(call, length_bytes), 0);
    return call;
}

void assert_echoes(struct carom_client *client)
{
    char reply[16];
    size_t length = 0;
    assert_int_equal(
        carom_invoke(client, ECHO, "over and out", 12, reply, sizeof reply, &length, PATIENCE),
        CAROM_OK);
    assert_int_equal(length, 12);
    assert_memory_equal(reply, "over and out", 12);
}
