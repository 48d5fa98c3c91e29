/* SPDX-License-Identifier: Apache-2.0
 *
 * first.c - the very first call of a service that is ready, and then calls after idleness. To be
 * run against a service that has not had a call yet: nothing is called to warm up.
 *
 * Prints {"first_ns", "idle_ns", "idle_p90_ns"}: a call is timed from before carom_call_begin until
 * after carom_call_end; the idle ones are made `idle_ms` after the one before, and so is the first
 * after connecting.
 *
 * Arguments: service, method (echo), bytes (of the request), calls (after the first), idle_ms.
 */
#include "call.h"

#define CALLS_MOST 1000

static double timed_call_ns(struct bench_caller *caller, int64_t idle_ms, uint64_t sequence)
{
    bench_sleep_ms(idle_ms);
    int64_t begin = bench_now_ns();
    bench_call_once(caller, sequence);
    return (double)(bench_now_ns() - begin);
}

int main(int argc, char **argv)
{
    struct bench_caller caller = {0};
    const char *service = "bench", *method = "echo";
    int64_t bytes = 64, calls = 50, idle_ms = 10;
    double samples[CALLS_MOST];
    const struct bench_option options[] = {
        {"service", NULL, &service}, {"method", NULL, &method},   {"bytes", &bytes, NULL},
        {"calls", &calls, NULL},     {"idle_ms", &idle_ms, NULL},
    };
    bench_bound(BENCH_BOUND_S);
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));
    if (calls < 1 || calls > CALLS_MOST)
        bench_die("calls=%" PRId64 ": must be 1 to %d", calls, CALLS_MOST);
    bench_caller_open(&caller, service, method, false);
    caller.bytes = (size_t)bytes;
    caller.touch = true;
    double first = timed_call_ns(&caller, idle_ms, 1);
    for (int64_t i = 0; i < calls; i++)
        samples[i] = timed_call_ns(&caller, idle_ms, (uint64_t)i + 2);
    struct bench_result idle = bench_summary(samples, (size_t)calls, (uint64_t)calls);
    printf("{\"first_ns\": %.1f, \"idle_ns\": %.1f, \"idle_p90_ns\": %.1f}\n", first, idle.p50_ns,
           idle.p90_ns);
    carom_client_close(caller.client);
    return 0;
}
