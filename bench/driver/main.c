/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c - the driver of `make bench`: calls one peer's server through that peer's transport and
 * prints what it measured as one line of JSON. The same code for every peer.
 *
 * Arguments, name=value in any order:
 *   work      latency, depth, mixed, first (works.c) or rate (rate.c)
 *   at        where the server is, as the peer understands it
 *   option    the peer's own variant
 *   bytes     length of a request (64)
 *   depth     calls in flight, at most (1); a peer that can do less does less, and says so
 *   rate      calls per second for work=rate, of all clients together
 *   ms        how long is measured (100), after warm_ms of the same work (25)
 *   clients   processes that do the work at the same time (1), each with its own connection
 *   cpu       where the clients run; -1: anywhere (the default)
 *   peer_cpu  where a server runs that the transport starts by itself (the floor); the runner
 *             passes it to every client
 *
 * Exits with 0, or with 1 and one line on stderr. The kernel ends it when its parent has gone, and
 * when it takes much longer than asked, which is what becomes of a call that is never answered.
 */
#include "driver.h"

#define MEASURE_MS_MAX 60000
#define PATIENCE_S 20 /* for connecting, and for calls that take seconds */

static const struct driver_work works[] = {
    {"latency", driver_run_latency}, {"depth", driver_run_depth}, {"mixed", driver_run_mixed},
    {"first", driver_run_first},     {"rate", driver_run_rate},
};

static const struct driver_work *work_of(const char *name)
{
    for (size_t i = 0; i < sizeof(works) / sizeof(*works); i++)
        if (strcmp(name, works[i].name) == 0)
            return &works[i];
    bench_die("work=%s: must be latency, depth, rate, mixed or first", name);
}

static void check(const char *name, int64_t value, int64_t least, int64_t most)
{
    if (value < least || value > most)
        bench_die("%s=%" PRId64 ": must be %" PRId64 " to %" PRId64, name, value, least, most);
}

static void check_settings(const struct driver_settings *settings)
{
    bool rate = settings->work->run == driver_run_rate;
    check("bytes", settings->bytes, 0, WORK_REQUEST_BYTES_MAX);
    check("depth", settings->depth, 1, DRIVER_DEPTH_MAX);
    check("rate", settings->rate, rate ? 1 : 0, 1000000000);
    check("ms", settings->ms, 1, MEASURE_MS_MAX);
    check("warm_ms", settings->warm_ms, 0, MEASURE_MS_MAX);
    check("clients", settings->clients, 1, DRIVER_CLIENTS_MAX);
}

static struct driver_settings read_arguments(int argc, char **argv)
{
    struct driver_settings s = {
        .at = "",
        .option = "",
        .bytes = 64,
        .depth = 1,
        .ms = 100,
        .warm_ms = 25,
        .cpu = -1,
        .peer_cpu = -1,
        .clients = 1,
    };
    const char *work = "latency";
    const struct bench_option options[] = {
        {"work", NULL, &work},         {"at", NULL, &s.at},
        {"option", NULL, &s.option},   {"bytes", &s.bytes, NULL},
        {"depth", &s.depth, NULL},     {"rate", &s.rate, NULL},
        {"ms", &s.ms, NULL},           {"warm_ms", &s.warm_ms, NULL},
        {"cpu", &s.cpu, NULL},         {"peer_cpu", &s.peer_cpu, NULL},
        {"clients", &s.clients, NULL},
    };
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));
    s.work = work_of(work);
    check_settings(&s);
    /* Work at a rate may take the measured time again to catch up. */
    s.bound_s = (unsigned)((s.warm_ms + 2 * s.ms) / 1000) + PATIENCE_S;
    return s;
}

static void on_alarm(int number)
{
    static const char text[] = "client: took much longer than asked: a call is not answered\n";
    (void)number;
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        _exit(2);
    _exit(1);
}

int main(int argc, char **argv)
{
    struct driver_settings settings = read_arguments(argc, argv);
    struct driver_result *results = bench_shared((size_t)settings.clients *
                                                 sizeof(struct driver_result));
    signal(SIGALRM, on_alarm);
    bench_bound(settings.bound_s);
    work_prepare();
    driver_run(&settings, results);
    driver_report(&settings, results);
    return 0;
}
