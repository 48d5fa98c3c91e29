/* SPDX-License-Identifier: Apache-2.0
 *
 * pipeline.c - how many calls per second one client gets through one connection when it does not
 * wait for each answer before it asks again: `depth` calls are in flight, and for each answer taken
 * (the oldest first) a new call is sent. Requests are written and replies read and compared, byte
 * for byte, as in rtt.c.
 *
 * The figure is calls over time of the whole measurement, interruptions included. It does not say
 * how long a single call takes: with n in flight that is about n over the rate.
 *
 * Arguments: service, method, bytes, depth, ms, cpu.
 */
#include "call.h"

#define DEPTH_MAX 4096
#define CLOCK_EVERY 256 /* calls between two looks at the clock */

struct window {
    struct carom_call *calls[DEPTH_MAX];
    uint64_t depth, sent, received;
};

static void send_next(const struct bench_caller *caller, struct window *window)
{
    uint64_t sequence = ++window->sent;
    window->calls[sequence % window->depth] = bench_call_send(caller, sequence);
}

static void receive_oldest(const struct bench_caller *caller, struct window *window)
{
    uint64_t sequence = ++window->received;
    bench_call_receive(caller, window->calls[sequence % window->depth], sequence);
}

/** Keeps the window full until `end_ns`; returns the number of calls answered. */
static uint64_t run_until(const struct bench_caller *caller, struct window *window, int64_t end_ns)
{
    uint64_t before = window->received;
    while (bench_now_ns() < end_ns)
        for (int i = 0; i < CLOCK_EVERY; i++) {
            receive_oldest(caller, window);
            send_next(caller, window);
        }
    return window->received - before;
}

static double measure(const struct bench_caller *caller, struct window *window, int64_t ms)
{
    while (window->sent < window->depth)
        send_next(caller, window);
    run_until(caller, window, bench_now_ns() + ms * 250000);
    int64_t begin = bench_now_ns();
    uint64_t calls = run_until(caller, window, begin + ms * 1000000);
    double rate = (double)calls / ((double)(bench_now_ns() - begin) * 1e-9);
    while (window->received < window->sent)
        receive_oldest(caller, window);
    return rate;
}

int main(int argc, char **argv)
{
    static struct window window;
    struct bench_caller caller = { .touch = true };
    const char *service = "bench", *method = "echo";
    int64_t bytes = 64, depth = 64, ms = 50, cpu = 0;
    const struct bench_option options[] = {
        { "service", NULL, &service }, { "method", NULL, &method }, { "bytes", &bytes, NULL },
        { "depth", &depth, NULL },     { "ms", &ms, NULL },         { "cpu", &cpu, NULL },
    };
    bench_bound(BENCH_BOUND_S);
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));
    bench_pin(cpu);
    bench_caller_open(&caller, service, method, false);
    caller.bytes = (size_t)bytes;
    if (depth < 1 || depth > DEPTH_MAX || (uint32_t)depth > carom_client_slots(caller.client))
        bench_die("depth=%" PRId64 ": this connection has %u slots", depth,
                  (unsigned)carom_client_slots(caller.client));
    window.depth = (uint64_t)depth;
    printf("{\"calls_per_s\": %.0f}\n", measure(&caller, &window, ms));
    carom_client_close(caller.client);
    return 0;
}
