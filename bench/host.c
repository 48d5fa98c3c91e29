/* SPDX-License-Identifier: Apache-2.0
 *
 * host.c - the host of a benchmark service and nothing else. It measures nothing: it is there so
 * that host, worker and client are three processes, as in use. Prints "ready" when it listens, and
 * runs until SIGTERM or until its runner dies.
 *
 * Arguments: service.
 */
#include "call.h"

static struct carom_host *host;

static void on_signal(int number)
{
    (void)number;
    carom_host_stop(host);
}

int main(int argc, char **argv)
{
    const char *service = "bench";
    const struct bench_option options[] = { { "service", NULL, &service } };
    bench_bound(0);
    bench_arguments(argc, argv, options, 1);
    int error = carom_host_open(service, NULL, &host);
    if (error)
        bench_die_carom("carom_host_open", error);
    signal(SIGTERM, on_signal);
    puts("ready");
    fflush(stdout);
    error = carom_host_run(host);
    if (error)
        bench_die_carom("carom_host_run", error);
    carom_host_close(host);
    return 0;
}
