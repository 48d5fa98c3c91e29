/* SPDX-License-Identifier: Apache-2.0
 *
 * call.h - what the benchmark programs that use carom share: opening a connection and making the
 * two halves of a call through the public zero-copy functions of carom.h. Every call carries a
 * deadline; statistics and checks are on, because carom has no switch to turn them off.
 */
#ifndef CAROM_BENCH_CALL_H
#define CAROM_BENCH_CALL_H

#include <carom.h>

#include "bench.h"

#define BENCH_OPEN_NS INT64_C(10000000000) /* for the service to appear and be ready */
#define BENCH_CALL_NS INT64_C(10000000000) /* deadline of each call, from its beginning */

struct bench_caller {
    struct carom_client *client;
    int method;
    size_t bytes; /* of the request */
    bool touch;   /* write the request and expect it back; else nobody touches a byte */
};

/** Ends the program, saying why a carom function failed. */
__attribute__((noreturn)) static inline void bench_die_carom(const char *what, int outcome)
{
    bench_die("%s: %s (%s)", what,
              outcome < 0 ? carom_strerror(outcome) : carom_status_name(outcome),
              carom_error_detail());
}

static inline void bench_caller_open(struct bench_caller *caller, const char *service,
                                     const char *method, bool no_spin)
{
    struct carom_client_options options = { .size = sizeof(options), .no_spin = no_spin };
    int error = carom_client_open(service, BENCH_OPEN_NS, &options, &caller->client);
    if (error)
        bench_die_carom("carom_client_open", error);
    caller->method = carom_client_method(caller->client, method);
    if (caller->method < 0)
        bench_die_carom("carom_client_method", caller->method);
}

/** First half: begins a call, writes its request, hands it over. */
static inline struct carom_call *bench_call_send(const struct bench_caller *caller,
                                                 uint64_t sequence)
{
    struct carom_call *call = NULL;
    int error = carom_call_begin(caller->client, caller->method, BENCH_CALL_NS, 0, &call);
    if (error)
        bench_die_carom("carom_call_begin", error);
    if (caller->touch)
        bench_fill(carom_call_request(call, NULL), caller->bytes, sequence);
    error = carom_call_submit(call, caller->bytes);
    if (error)
        bench_die_carom("carom_call_submit", error);
    return call;
}

/** Second half: waits for the answer, reads it, ends the call. */
static inline void bench_call_receive(const struct bench_caller *caller, struct carom_call *call,
                                      uint64_t sequence)
{
    size_t length = 0;
    const void *reply;
    int outcome = carom_call_wait(call);
    if (outcome)
        bench_die_carom("carom_call_wait", outcome);
    reply = carom_call_reply(call, &length);
    if (length != (caller->touch ? caller->bytes : 0))
        bench_die("a reply of %zu bytes to a request of %zu", length, caller->bytes);
    if (caller->touch && !bench_matches(reply, length, sequence))
        bench_die("the reply to call %" PRIu64 " is not what was sent", sequence);
    carom_call_end(call);
}

/** One synchronous call; a step of bench_measure. */
static inline void bench_call_once(void *context, uint64_t sequence)
{
    const struct bench_caller *caller = context;
    bench_call_receive(caller, bench_call_send(caller, sequence), sequence);
}

#endif
