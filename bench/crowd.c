/* SPDX-License-Identifier: Apache-2.0
 *
 * crowd.c - how many synchronous calls per second several client processes make together, with
 * more of them (and of the workers) than there are CPUs. Nobody is pinned: this is a question to
 * carom's waiting policy and to the kernel's scheduler together.
 *
 * Each client is a process with a connection of its own. All of them connect first and then start
 * at the same time; the count begins after a quarter of the time as warm-up. `least_share` is the
 * calls of the slowest client over the mean: 1 is fair, 0 is starved.
 *
 * Arguments: service, method, bytes, clients, ms.
 */
#include <stdatomic.h>

#include "call.h"

#define CLIENTS_MAX 64

struct crowd {
    _Alignas(BENCH_LINE) _Atomic uint32_t connected; /* written by the clients */
    _Alignas(BENCH_LINE) _Atomic uint32_t stop;      /* written by the parent */
    struct {
        _Alignas(BENCH_LINE) _Atomic uint64_t calls; /* written by its client */
    } of[CLIENTS_MAX];
};

/** A client: connects, waits for the start (end of the pipe), calls until told to stop. */
static void call_until_stopped(struct crowd *crowd, size_t index, struct bench_caller *caller,
                               const char *service, const char *method, int start)
{
    char byte;
    bench_caller_open(caller, service, method, false);
    bench_call_once(caller, 0);
    /* relaxed: a count, nothing is published with it */
    atomic_fetch_add_explicit(&crowd->connected, 1, memory_order_relaxed);
    while (read(start, &byte, 1) > 0)
        continue;
    uint64_t calls = 0;
    /* relaxed: a flag, nothing is published with it */
    while (!atomic_load_explicit(&crowd->stop, memory_order_relaxed)) {
        bench_call_once(caller, ++calls);
        /* relaxed: a count, written by this process alone */
        atomic_store_explicit(&crowd->of[index].calls, calls, memory_order_relaxed);
    }
    carom_client_close(caller->client);
    exit(0);
}

static void read_counts(struct crowd *crowd, size_t clients, uint64_t *counts)
{
    for (size_t i = 0; i < clients; i++) /* relaxed: each count stands alone */
        counts[i] = atomic_load_explicit(&crowd->of[i].calls, memory_order_relaxed);
}

static void await_connected(struct crowd *crowd, size_t clients)
{
    /* relaxed: a count, nothing is published with it */
    while (atomic_load_explicit(&crowd->connected, memory_order_relaxed) < clients) {
        int status = 0;
        if (waitpid(-1, &status, WNOHANG) > 0)
            bench_die("a client ended before the start, wait status %#x", (unsigned)status);
        bench_sleep_ms(1);
    }
}

static void measure(struct crowd *crowd, size_t clients, int64_t ms)
{
    uint64_t before[CLIENTS_MAX], after[CLIENTS_MAX], sum = 0, least = UINT64_MAX;
    bench_sleep_ms(ms / 4);
    int64_t begin = bench_now_ns();
    read_counts(crowd, clients, before);
    bench_sleep_ms(ms);
    read_counts(crowd, clients, after);
    double seconds = (double)(bench_now_ns() - begin) * 1e-9;
    /* relaxed: a flag, nothing is published with it */
    atomic_store_explicit(&crowd->stop, 1, memory_order_relaxed);
    for (size_t i = 0; i < clients; i++) {
        uint64_t calls = after[i] - before[i];
        sum += calls;
        least = calls < least ? calls : least;
    }
    printf("{\"calls_per_s\": %.0f, \"least_share\": %.3f}\n", (double)sum / seconds,
           sum ? (double)least * (double)clients / (double)sum : 0.0);
}

int main(int argc, char **argv)
{
    struct bench_caller caller = { .touch = true };
    const char *service = "bench", *method = "echo";
    int64_t bytes = 64, clients = 1, ms = 500;
    const struct bench_option options[] = {
        { "service", NULL, &service },  { "method", NULL, &method }, { "bytes", &bytes, NULL },
        { "clients", &clients, NULL },  { "ms", &ms, NULL },
    };
    pid_t pids[CLIENTS_MAX];
    int start[2];
    bench_bound(BENCH_BOUND_S);
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));
    if (clients < 1 || clients > CLIENTS_MAX)
        bench_die("clients=%" PRId64 ": must be 1 to %d", clients, CLIENTS_MAX);
    caller.bytes = (size_t)bytes;
    struct crowd *crowd = bench_shared(sizeof(*crowd));
    if (pipe(start))
        bench_die("pipe: %s", strerror(errno));
    for (int64_t i = 0; i < clients; i++) {
        pids[i] = bench_fork(BENCH_BOUND_S);
        if (pids[i] == 0) {
            close(start[1]);
            call_until_stopped(crowd, (size_t)i, &caller, service, method, start[0]);
        }
    }
    await_connected(crowd, (size_t)clients);
    close(start[1]);
    measure(crowd, (size_t)clients, ms);
    for (int64_t i = 0; i < clients; i++)
        bench_join(pids[i]);
    return 0;
}
