/* SPDX-License-Identifier: Apache-2.0
 *
 * works.c - the works in which the caller calls as fast as it is answered.
 *
 *   latency  one call in flight. The clock is read once per call: the end of one is the beginning
 *            of the next, so no time lies between two calls and none is counted twice.
 *   depth    always `depth` calls in flight: one answer is taken, one request is sent. Calls are
 *            only counted: a clock reading each would take a third of the time of the fastest.
 *   mixed    one request in 20 is of 1 MiB, the others are small. Each call is timed from before
 *            it is sent until its answer has been read; small and large ones apart.
 *   first    how long connecting took and the first call, then calls after 10 ms of idleness each.
 */
#include "driver.h"

#define CLOCK_EVERY_NS 5000 /* how often work=depth looks at the clock */
#define BURST_MAX 256
#define MIX_CYCLE 20
#define IDLE_MS 10
#define IDLE_CALLS_MIN 5

static int64_t warm_end_ns(const struct driver_caller *caller, int64_t begin_ns)
{
    return begin_ns + caller->settings->warm_ms * 1000000;
}

static int64_t end_ns(const struct driver_caller *caller, int64_t begin_ns)
{
    return warm_end_ns(caller, begin_ns) + caller->settings->ms * 1000000;
}

/* ---------------------------------------------------------------- latency */

/** Calls until a time, at least once; returns when the last call ended. */
static int64_t time_calls(struct driver_caller *caller, int64_t until_ns, struct histogram *times)
{
    size_t bytes = (size_t)caller->settings->bytes;
    int64_t then = bench_now_ns(), now;
    do {
        driver_send(caller, bytes);
        if (driver_receive(caller, true) != caller->sequence)
            bench_die("the answer to call %" PRIu64 " is that to another", caller->sequence);
        now = bench_now_ns();
        histogram_add(times, now - then);
        then = now;
    } while (now < until_ns);
    return now;
}

void driver_run_latency(struct driver_caller *caller, int64_t begin_ns,
                        struct driver_result *result)
{
    time_calls(caller, warm_end_ns(caller, begin_ns), &result->times);
    histogram_clear(&result->times);
    driver_begin(result, bench_now_ns());
    driver_end(result, time_calls(caller, end_ns(caller, begin_ns), &result->times));
    result->calls = result->times.count;
}

/* ---------------------------------------------------------------- depth */

/** Keeps the window full until a time; adds to `calls` and returns when it ended. The clock is
 *  looked at every few microseconds, which takes 1 call or 256, as it turns out. */
static int64_t pump(struct driver_caller *caller, int64_t until_ns, uint64_t *calls)
{
    size_t bytes = (size_t)caller->settings->bytes;
    unsigned burst = 1;
    int64_t then = bench_now_ns(), now;
    do {
        for (unsigned i = 0; i < burst; i++) {
            driver_receive(caller, true);
            driver_send(caller, bytes);
        }
        now = bench_now_ns();
        *calls += burst;
        if (now - then > CLOCK_EVERY_NS && burst > 1)
            burst /= 2;
        else if (now - then < CLOCK_EVERY_NS / 2 && burst < BURST_MAX)
            burst *= 2;
        then = now;
    } while (now < until_ns);
    return now;
}

void driver_run_depth(struct driver_caller *caller, int64_t begin_ns, struct driver_result *result)
{
    uint64_t warm_calls = 0;
    while (caller->in_flight < caller->depth)
        driver_send(caller, (size_t)caller->settings->bytes);
    driver_begin(result, pump(caller, warm_end_ns(caller, begin_ns), &warm_calls));
    driver_end(result, pump(caller, end_ns(caller, begin_ns), &result->calls));
    while (caller->in_flight)
        driver_receive(caller, true);
}

/* ---------------------------------------------------------------- mixed */

/** The calls in flight, in no order. */
struct window {
    struct {
        uint64_t sequence;
        int64_t sent_ns;
    } calls[DRIVER_DEPTH_MAX];
    unsigned count;
};

/** Whether a call is one of the large ones: one in each 20, at a place that changes from one 20 to
 *  the next, the same in every run. */
static bool is_large(uint64_t sequence)
{
    uint64_t cycle = sequence / MIX_CYCLE * 0x9e3779b97f4a7c15u;
    return sequence % MIX_CYCLE == (cycle >> 32) % MIX_CYCLE;
}

static void send_mixed(struct driver_caller *caller, struct window *window)
{
    uint64_t sequence = caller->sequence + 1;
    window->calls[window->count].sequence = sequence;
    window->calls[window->count].sent_ns = bench_now_ns();
    window->count++;
    driver_send(caller, is_large(sequence) ? DRIVER_LARGE_BYTES : (size_t)caller->settings->bytes);
}

static void receive_mixed(struct driver_caller *caller, struct window *window,
                          struct driver_result *result)
{
    uint64_t sequence = driver_receive(caller, true);
    int64_t now = bench_now_ns();
    unsigned i = 0;
    while (i < window->count && window->calls[i].sequence != sequence)
        i++;
    if (i == window->count)
        bench_die("a second answer to call %" PRIu64, sequence);
    histogram_add(is_large(sequence) ? &result->large : &result->times,
                  now - window->calls[i].sent_ns);
    window->calls[i] = window->calls[--window->count];
}

static int64_t mix_until(struct driver_caller *caller, struct window *window, int64_t until_ns,
                         struct driver_result *result)
{
    int64_t now;
    do {
        while (window->count < caller->depth)
            send_mixed(caller, window);
        receive_mixed(caller, window, result);
        now = bench_now_ns();
    } while (now < until_ns);
    return now;
}

void driver_run_mixed(struct driver_caller *caller, int64_t begin_ns, struct driver_result *result)
{
    static struct window window;
    int64_t now = mix_until(caller, &window, warm_end_ns(caller, begin_ns), result);
    histogram_clear(&result->times);
    histogram_clear(&result->large);
    driver_begin(result, now);
    driver_end(result, mix_until(caller, &window, end_ns(caller, begin_ns), result));
    result->calls = result->times.count + result->large.count;
    while (caller->in_flight)
        driver_receive(caller, true);
}

/* ---------------------------------------------------------------- first */

void driver_run_first(struct driver_caller *caller, int64_t begin_ns, struct driver_result *result)
{
    int64_t until_ns = end_ns(caller, begin_ns);
    driver_begin(result, begin_ns);
    while (result->calls < IDLE_CALLS_MIN || bench_now_ns() < until_ns) {
        bench_sleep_ms(IDLE_MS);
        int64_t then = bench_now_ns();
        driver_send(caller, (size_t)caller->settings->bytes);
        driver_receive(caller, true);
        histogram_add(&result->times, bench_now_ns() - then);
        result->calls++;
    }
    driver_end(result, bench_now_ns());
}
