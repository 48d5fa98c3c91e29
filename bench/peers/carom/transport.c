/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - carom's side of `make bench`: calls through the public zero-copy functions of
 * carom.h, as README.md shows them. Requests are written and replies read in shared memory. Every
 * call has a deadline of 10 s, as calls in use should.
 *
 *   option=adaptive  the defaults: spins as long as that paid recently, then sleeps
 *   option=spin      never sleeps in practice: spins for up to 10 s
 *   option=parked    no_spin: sleeps at once
 *
 * Calls are taken in the order in which they were sent, which is the order in which one worker ends
 * them. With several in flight this spares the client the search for the call that is done.
 */
#include "transport.h"
#include "call.h"
#include "work.h"

#define SLOTS_DEFAULT 256
#define SPIN_NS BENCH_CALL_NS

/** A call in flight. */
struct pending {
    struct carom_call *call;
    size_t bytes; /* of the request */
};

struct transport {
    struct bench_caller caller;
    struct pending *ring; /* by sequence number modulo its length */
    uint64_t mask;        /* length - 1; the length is a power of two */
    unsigned depth;
    uint64_t received;
};

/** The smallest number of slots that will do: a power of two, the default if possible. */
static uint32_t slots_for(unsigned depth)
{
    uint32_t slots = SLOTS_DEFAULT;
    while (slots < depth)
        slots *= 2;
    return slots;
}

static struct carom_client_options options_for(const struct transport_config *config)
{
    struct carom_client_options options = {.size = sizeof(options)};
    options.slots = slots_for(config->depth_max);
    if (strcmp(config->option, "parked") == 0)
        options.no_spin = true;
    else if (strcmp(config->option, "spin") == 0)
        options.spin_ns = SPIN_NS;
    else if (strcmp(config->option, "adaptive") != 0)
        bench_die("option=%s: carom offers adaptive, spin and parked", config->option);
    return options;
}

struct transport *transport_open(const struct transport_config *config)
{
    static struct transport transport;
    struct carom_client_options options = options_for(config);
    struct bench_caller *caller = &transport.caller;
    int error = carom_client_open(config->at, BENCH_OPEN_NS, &options, &caller->client);
    if (error)
        bench_die_carom("carom_client_open", error);
    caller->method = carom_client_method(caller->client, "answer");
    if (caller->method < 0)
        bench_die_carom("carom_client_method", caller->method);
    transport.depth = config->depth_max;
    transport.mask = options.slots - 1;
    transport.ring = calloc(options.slots, sizeof(*transport.ring));
    if (!transport.ring)
        bench_die("out of memory");
    return &transport;
}

unsigned transport_depth(const struct transport *transport)
{
    return transport->depth;
}

void transport_send(struct transport *transport, size_t bytes, uint64_t sequence)
{
    const struct bench_caller *caller = &transport->caller;
    struct carom_call *call = NULL;
    size_t capacity = 0;
    int error = carom_call_begin(caller->client, caller->method, BENCH_CALL_NS, 0, &call);
    if (error)
        bench_die_carom("carom_call_begin", error);
    void *request = carom_call_request(call, &capacity);
    if (bytes > capacity)
        bench_die("a request of %zu bytes, the block has %zu", bytes, capacity);
    work_fill(request, bytes, sequence);
    error = carom_call_submit(call, bytes);
    if (error)
        bench_die_carom("carom_call_submit", error);
    transport->ring[sequence & transport->mask] = (struct pending){call, bytes};
}

uint64_t transport_receive(struct transport *transport, bool wait)
{
    uint64_t sequence = transport->received + 1;
    struct pending pending = transport->ring[sequence & transport->mask];
    int outcome = wait ? carom_call_wait(pending.call) : carom_call_poll(pending.call);
    size_t length = 0;
    if (outcome == -EAGAIN)
        return 0;
    if (outcome)
        bench_die_carom("carom_call_wait", outcome);
    const void *reply = carom_call_reply(pending.call, &length);
    if (!work_is_answer(reply, length, pending.bytes, sequence))
        bench_die("the answer to call %" PRIu64 " is wrong", sequence);
    carom_call_end(pending.call);
    transport->received = sequence;
    return sequence;
}

void transport_close(struct transport *transport)
{
    carom_client_close(transport->caller.client);
    free(transport->ring);
}
