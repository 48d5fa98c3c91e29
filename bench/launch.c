/* SPDX-License-Identifier: Apache-2.0
 *
 * launch.c - a program that starts its own Python service: from before carom_launch until the
 * service is ready, until the first answer is there, and how long the end of it takes.
 *
 * Prints {"ready_ms", "answer_ms", "close_ms"}; the first two count from the same moment.
 *
 * Arguments: application, folder (where it is found), python (the interpreter), workers, method.
 */
#include "call.h"

static double ms_since(int64_t begin_ns)
{
    return (double)(bench_now_ns() - begin_ns) / 1e6;
}

int main(int argc, char **argv)
{
    struct bench_caller caller = {.bytes = 64, .touch = true};
    struct carom_launch_options how = {.size = sizeof(how)};
    struct carom_pool *pool = NULL;
    const char *application = "pool_plain:service", *method = "echo";
    int64_t workers = 1;
    const struct bench_option options[] = {
        {"application", NULL, &application}, {"folder", NULL, &how.folder},
        {"python", NULL, &how.python},       {"method", NULL, &method},
        {"workers", &workers, NULL},
    };
    bench_bound(BENCH_BOUND_S);
    bench_arguments(argc, argv, options, sizeof(options) / sizeof(*options));

    int64_t begin = bench_now_ns();
    int error = carom_launch(application, (uint32_t)workers, &how, &pool);
    if (error)
        bench_die_carom("carom_launch", error);
    double ready = ms_since(begin);
    bench_caller_open(&caller, carom_pool_service(pool), method, false);
    bench_call_once(&caller, 1);
    double answer = ms_since(begin);
    carom_client_close(caller.client);

    begin = bench_now_ns();
    carom_pool_close(pool);
    printf("{\"ready_ms\": %.3f, \"answer_ms\": %.3f, \"close_ms\": %.3f}\n", ready, answer,
           ms_since(begin));
    return 0;
}
