/* SPDX-License-Identifier: Apache-2.0
 *
 * rtt.c - the round trip of one carom call: one client, one call at a time, against a service that
 * is already running. From before carom_call_begin until after carom_call_end, the writing of the
 * request and the reading and comparing of the reply included.
 *
 * It does not measure throughput (pipeline.c), nor many clients (crowd.c), nor connecting.
 *
 * Arguments: service, method, bytes (of the request), touch (1: write the request and expect it
 * back; 0: submit that length without touching a byte and expect an empty reply), no_spin, ms,
 * batch, cpu (-1: not pinned), hold (1: stay connected and idle after the result is printed, until
 * stdin ends).
 */
#include "call.h"

static void hold_connection(void)
{
    char byte;
    alarm(0);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
}

int main(int argc, char **argv)
{
    struct bench_caller caller = { 0 };
    const char *service = "bench", *method = "echo";
    int64_t bytes = 64, touch = 1, no_spin = 0, ms = 20, batch = 64, cpu = 0, hold = 0;
    const struct bench_option options[] = {
        { "service", NULL, &service }, { "method", NULL, &method },   { "bytes", &bytes, NULL },
        { "touch", &touch, NULL },     { "no_spin", &no_spin, NULL }, { "ms", &ms, NULL },
        { "batch", &batch, NULL },     { "cpu", &cpu, NULL },         { "hold", &hold, NULL },
    };
    bench_bound(BENCH_BOUND_S);
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));
    bench_pin(cpu);
    bench_caller_open(&caller, service, method, no_spin != 0);
    caller.bytes = (size_t)bytes;
    caller.touch = touch != 0;
    bench_print(bench_measure(bench_call_once, &caller, ms, batch));
    if (hold)
        hold_connection();
    carom_client_close(caller.client);
    return 0;
}
