/* SPDX-License-Identifier: Apache-2.0
 *
 * server.c - carom's server in C for `make bench`: a host and as many workers as asked for, each a
 * process of its own, as in use. Prints "ready" when every worker is; ends on SIGTERM, and when its
 * parent or a worker dies.
 *
 * Arguments: --at PATH of the socket, --cpu N for all of its processes, --compute ITERATIONS in
 * each call, --workers N, --no-spin (workers sleep at once), --spin (they spin for up to 10 s).
 */
#include <getopt.h>
#include <pthread.h>

#include "call.h"
#include "work.h"

#define WORKERS_MAX 64

struct settings {
    const char *at;
    int64_t cpu, compute, workers;
    struct carom_worker_options options;
};

static void answer(void *context, struct carom_request *request)
{
    const struct settings *settings = context;
    size_t length = 0;
    const void *data = carom_request_data(request, &length);
    void *reply = carom_request_reply_block(request, NULL);
    if (settings->compute)
        work_compute((uint64_t)settings->compute);
    size_t answer_bytes = work_answer(reply, data, length);
    if (answer_bytes == SIZE_MAX)
        carom_request_fail(request, CAROM_INVALID_ARGUMENT, NULL, "not of the pattern", NULL);
    else
        carom_request_reply(request, answer_bytes);
}

static int64_t number(const char *name, const char *text, int64_t least)
{
    char *end = NULL;
    errno = 0;
    int64_t value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < least)
        bench_die("--%s %s: must be a number from %" PRId64 " on", name, text, least);
    return value;
}

static struct settings read_arguments(int argc, char **argv)
{
    enum { AT, CPU, COMPUTE, WORKERS, NO_SPIN, SPIN };
    static const struct option known[] = {
        {"at", required_argument, NULL, AT},
        {"cpu", required_argument, NULL, CPU},
        {"compute", required_argument, NULL, COMPUTE},
        {"workers", required_argument, NULL, WORKERS},
        {"no-spin", no_argument, NULL, NO_SPIN},
        {"spin", no_argument, NULL, SPIN},
        {0},
    };
    struct settings s = {.cpu = -1, .workers = 1, .options.size = sizeof(s.options)};
    for (int found; (found = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (found == AT)
            s.at = optarg;
        else if (found == CPU)
            s.cpu = number("cpu", optarg, -1);
        else if (found == COMPUTE)
            s.compute = number("compute", optarg, 0);
        else if (found == WORKERS)
            s.workers = number("workers", optarg, 1);
        else if (found == NO_SPIN)
            s.options.no_spin = true;
        else if (found == SPIN)
            s.options.spin_ns = BENCH_CALL_NS;
        else
            exit(1); /* getopt has said why */
    }
    if (!s.at || optind < argc || s.workers > WORKERS_MAX)
        bench_die(
            "needs --at PATH, takes --cpu, --compute, --workers (up to %d), --no-spin, --spin",
            WORKERS_MAX);
    return s;
}

/** A worker's process; ends with the service. */
__attribute__((noreturn)) static void work(struct settings *settings)
{
    const struct carom_method method = {
        .name = "answer", .handler = answer, .context = settings};
    struct carom_worker *worker = NULL;
    int error = carom_worker_open(settings->at, &method, 1, BENCH_OPEN_NS, &settings->options,
                                  &worker);
    if (error)
        bench_die_carom("carom_worker_open", error);
    error = carom_worker_run(worker);
    carom_worker_close(worker);
    if (error)
        bench_die_carom("carom_worker_run", error);
    exit(0);
}

static void *run_host(void *host)
{
    int error = carom_host_run(host);
    if (error)
        bench_die_carom("carom_host_run", error);
    return NULL;
}

/** Runs the host until a signal: SIGTERM, or SIGCHLD because a worker has ended. */
static void serve(const struct settings *settings, const sigset_t *signals)
{
    struct carom_host *host = NULL;
    pthread_t thread;
    int number;
    int error = carom_host_open(settings->at, NULL, &host);
    if (error)
        bench_die_carom("carom_host_open", error);
    if (pthread_create(&thread, NULL, run_host, host))
        bench_die("cannot start a thread");
    error = carom_host_wait_ready(host, (uint32_t)settings->workers, BENCH_OPEN_NS);
    if (error)
        bench_die_carom("carom_host_wait_ready", error);
    puts("ready");
    fflush(stdout);
    sigwait(signals, &number);
    carom_host_stop(host);
    pthread_join(thread, NULL);
    carom_host_close(host);
    if (number == SIGCHLD)
        bench_die("a worker has ended");
}

int main(int argc, char **argv)
{
    struct settings settings = read_arguments(argc, argv);
    pid_t workers[WORKERS_MAX];
    sigset_t signals;
    bench_bound(0);
    bench_pin(settings.cpu);
    work_prepare();
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    for (int64_t i = 0; i < settings.workers; i++) {
        workers[i] = bench_fork(0);
        if (workers[i] == 0)
            work(&settings);
    }
    serve(&settings, &signals);
    for (int64_t i = 0; i < settings.workers; i++)
        bench_join(workers[i]);
    return 0;
}
