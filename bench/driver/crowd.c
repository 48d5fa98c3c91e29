/* SPDX-License-Identifier: Apache-2.0
 *
 * crowd.c - runs the work in one process, or in many at the same time.
 *
 * Every client connects and makes one call before anybody begins; then all begin at the same time.
 * A single client is this process itself: nothing else runs. Children that are lost end the run.
 */
#include <stdatomic.h>

#include "driver.h"

#define START_NS INT64_C(5000000) /* from the last client's connection to the start */
#define WAIT_MS 1

struct crowd {
    _Atomic uint32_t connected; /* written by the clients */
    _Atomic int64_t begin_ns;   /* written by the parent; 0 until known */
};

static struct transport *connect_to(const struct driver_settings *settings,
                                    struct driver_result *result)
{
    bool mixed = settings->work->run == driver_run_mixed;
    const struct transport_config config = {
        .at = settings->at,
        .option = settings->option,
        .bytes_max = mixed ? DRIVER_LARGE_BYTES : (size_t)settings->bytes,
        .depth_max = (unsigned)settings->depth,
        .peer_cpu = (int)settings->peer_cpu,
    };
    int64_t then = bench_now_ns();
    struct transport *transport = transport_open(&config);
    result->connect_ns = bench_now_ns() - then;
    return transport;
}

static void call_first(struct driver_caller *caller, struct driver_result *result)
{
    int64_t then = bench_now_ns();
    driver_send(caller, (size_t)caller->settings->bytes);
    driver_receive(caller, true);
    result->first_ns = bench_now_ns() - then;
}

/** A client among many: says that it is ready, and waits for the time to begin. */
static int64_t await_begin(struct crowd *crowd)
{
    int64_t begin_ns;
    /* relaxed, all three: single values, nothing is published with them */
    atomic_fetch_add_explicit(&crowd->connected, 1, memory_order_relaxed);
    while ((begin_ns = atomic_load_explicit(&crowd->begin_ns, memory_order_relaxed)) == 0)
        bench_sleep_ms(WAIT_MS);
    while (bench_now_ns() < begin_ns)
        bench_sleep_ms(WAIT_MS);
    return begin_ns;
}

/** One client from its connection to its end. */
static void run_client(const struct driver_settings *settings, unsigned index, struct crowd *crowd,
                       struct driver_result *result)
{
    bench_pin(settings->cpu);
    struct driver_caller caller = {
        .settings = settings,
        .index = index,
        .transport = connect_to(settings, result),
    };
    caller.depth = transport_depth(caller.transport);
    if (caller.depth < 1 || caller.depth > settings->depth)
        bench_die("this peer offers %u calls in flight, asked for up to %" PRId64, caller.depth,
                  settings->depth);
    result->depth = caller.depth;
    call_first(&caller, result);
    int64_t begin_ns = crowd ? await_begin(crowd) : bench_now_ns();
    settings->work->run(&caller, begin_ns, result);
    transport_close(caller.transport);
}

/** Ends this process because a child did not do its work; the kernel ends the other children. */
static void check_child(pid_t pid, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
        exit(1); /* it has said why */
    if (status)
        bench_die("client process %d ended with wait status %#x", (int)pid, (unsigned)status);
}

static void await_connected(struct crowd *crowd, uint32_t clients)
{
    /* relaxed: a count, nothing is published with it */
    while (atomic_load_explicit(&crowd->connected, memory_order_relaxed) < clients) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0)
            check_child(pid, status);
        bench_sleep_ms(WAIT_MS);
    }
}

void driver_run(const struct driver_settings *settings, struct driver_result *results)
{
    if (settings->clients == 1) {
        run_client(settings, 0, NULL, results);
        return;
    }
    struct crowd *crowd = bench_shared(sizeof(*crowd));
    for (unsigned i = 0; i < settings->clients; i++)
        if (bench_fork(settings->bound_s) == 0) {
            run_client(settings, i, crowd, &results[i]);
            exit(0);
        }
    await_connected(crowd, (uint32_t)settings->clients);
    /* relaxed: a single value, nothing is published with it */
    atomic_store_explicit(&crowd->begin_ns, bench_now_ns() + START_NS, memory_order_relaxed);
    for (int64_t i = 0; i < settings->clients; i++) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0)
            bench_die("waitpid: %s", strerror(errno));
        check_child(pid, status);
    }
}
