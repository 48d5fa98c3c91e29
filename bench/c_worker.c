/* SPDX-License-Identifier: Apache-2.0
 *
 * c_worker.c - a worker in C for the benchmarks, with two methods:
 *
 *   echo    reads each byte of the request and writes it into the reply
 *   ignore  touches no byte and answers with an empty reply, whatever the request's length
 *
 * It measures nothing. Prints "ready" when it has joined, and runs until SIGTERM, until its
 * service stops or until its runner dies.
 *
 * Arguments: service, cpu (-1: not pinned), no_spin.
 */
#include "call.h"

static struct carom_worker *worker;

static void on_signal(int number)
{
    (void)number;
    carom_worker_stop(worker);
}

static void echo(void *context, struct carom_request *request)
{
    size_t length = 0, capacity = 0;
    const void *data = carom_request_data(request, &length);
    void *reply = carom_request_reply_block(request, &capacity);
    (void)context;
    if (length > capacity) {
        carom_request_fail(request, CAROM_RESOURCE_EXHAUSTED, NULL, "reply block too small", NULL);
        return;
    }
    memcpy(reply, data, length);
    carom_request_reply(request, length);
}

static void ignore(void *context, struct carom_request *request)
{
    (void)context;
    carom_request_reply(request, 0);
}

int main(int argc, char **argv)
{
    static const struct carom_method methods[] = {
        { .name = "echo", .handler = echo },
        { .name = "ignore", .handler = ignore },
    };
    const char *service = "bench";
    int64_t cpu = 1, no_spin = 0;
    const struct bench_option options[] = {
        { "service", NULL, &service },
        { "cpu", &cpu, NULL },
        { "no_spin", &no_spin, NULL },
    };
    bench_bound(0);
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));
    bench_pin(cpu);
    struct carom_worker_options how = { .size = sizeof(how), .no_spin = no_spin != 0 };
    int error = carom_worker_open(service, methods, 2, BENCH_OPEN_NS, &how, &worker);
    if (error)
        bench_die_carom("carom_worker_open", error);
    signal(SIGTERM, on_signal);
    puts("ready");
    fflush(stdout);
    error = carom_worker_run(worker);
    carom_worker_close(worker);
    if (error)
        bench_die_carom("carom_worker_run", error);
    return 0;
}
