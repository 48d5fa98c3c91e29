/* SPDX-License-Identifier: Apache-2.0
 *
 * instructions.c - what bench/instructions.py counts under callgrind: host, worker and client in
 * one process and, but for the host, on one thread, so that every call is a hit: submitted when a
 * worker is awake, found done at the first look. Which instructions belong to which side is told
 * apart by the functions of carom.h that they are under.
 *
 * It measures no time. Arguments: calls, bytes.
 */
#include <pthread.h>

#include "call.h"

#define SERVICE "instructions"

static void *run_host(void *host)
{
    int error = carom_host_run(host);
    if (error)
        bench_die_carom("carom_host_run", error);
    return NULL;
}

/* The worker's side of a call, as carom_worker_run makes it, with an echoing handler. */
static void serve_one(struct carom_worker *worker)
{
    struct carom_request *request;
    size_t length = 0;
    int error = carom_worker_poll(worker, 0, &request);
    if (error)
        bench_die_carom("carom_worker_poll", error);
    const void *data = carom_request_data(request, &length);
    memcpy(carom_request_reply_block(request, NULL), data, length);
    carom_request_reply(request, length);
}

static void make_calls(const struct bench_caller *caller, struct carom_worker *worker,
                       uint64_t calls)
{
    for (uint64_t sequence = 1; sequence <= calls; sequence++) {
        struct carom_call *call = bench_call_send(caller, sequence);
        serve_one(worker);
        bench_call_receive(caller, call, sequence);
    }
}

int main(int argc, char **argv)
{
    static const struct carom_method methods[] = {{.name = "echo"}};
    int64_t calls = 10000, bytes = 64;
    const struct bench_option options[] = {
        {"calls", &calls, NULL},
        {"bytes", &bytes, NULL},
    };
    struct bench_caller caller = {.touch = true};
    struct carom_worker *worker;
    struct carom_host *host;
    pthread_t thread;
    bench_bound(BENCH_BOUND_S);
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));
    int error = carom_host_open(SERVICE, NULL, &host);
    if (error)
        bench_die_carom("carom_host_open", error);
    if (pthread_create(&thread, NULL, run_host, host) != 0)
        bench_die("cannot start a thread");
    error = carom_worker_open(SERVICE, methods, 1, BENCH_OPEN_NS, NULL, &worker);
    if (error)
        bench_die_carom("carom_worker_open", error);
    bench_caller_open(&caller, SERVICE, "echo", false);
    caller.bytes = (size_t)bytes;
    make_calls(&caller, worker, (uint64_t)calls);
    printf("{\"calls\": %" PRId64 "}\n", calls);
    carom_client_close(caller.client);
    carom_worker_close(worker);
    carom_host_stop(host);
    pthread_join(thread, NULL);
    carom_host_close(host);
    return 0;
}
