/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - calls over ZeroMQ's ipc transport. With one call in flight this is a REQ socket,
 * the documented pattern. With more it is a DEALER that speaks to the same REP socket: a frame with
 * the call's number, an empty delimiter, the request; REP sends the first two back.
 *
 * A request is written into a message that libzmq has allocated and then sends without a copy.
 * Blocking calls of libzmq, one I/O thread, default options but that the queue has no limit and
 * closing does not linger. `at` is a list of endpoints, one per worker, separated by commas: the
 * socket deals requests out in turn.
 */
#include <zmq.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

struct transport {
    void *context, *socket;
    unsigned depth;
    uint64_t sequence; /* of the one call in flight, where depth is 1 */
    size_t bytes[64];  /* of the call in flight with this number, modulo 64 */
};

static void connect_to_all(void *socket, const char *at)
{
    char *list = strdup(at), *rest = list, *endpoint;
    if (!list)
        bench_die("out of memory");
    while ((endpoint = strsep(&rest, ",")))
        if (zmq_connect(socket, endpoint))
            bench_die("zmq_connect to %s: %s", endpoint, zmq_strerror(errno));
    free(list);
}

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    int linger_ms = 0, unlimited = 0;
    if (!transport || !(transport->context = zmq_ctx_new()))
        bench_die("out of memory");
    transport->depth = config->depth_max < 64 ? config->depth_max : 64;
    transport->socket = zmq_socket(transport->context, transport->depth > 1 ? ZMQ_DEALER : ZMQ_REQ);
    if (!transport->socket ||
        zmq_setsockopt(transport->socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms)) ||
        zmq_setsockopt(transport->socket, ZMQ_SNDHWM, &unlimited, sizeof(unlimited)))
        bench_die("zmq_socket: %s", zmq_strerror(errno));
    connect_to_all(transport->socket, config->at);
    return transport;
}

unsigned transport_depth(const struct transport *transport)
{
    return transport->depth;
}

static void send_envelope(struct transport *transport, uint64_t sequence)
{
    if (zmq_send(transport->socket, &sequence, sizeof(sequence), ZMQ_SNDMORE) < 0 ||
        zmq_send(transport->socket, NULL, 0, ZMQ_SNDMORE) < 0)
        bench_die("zmq_send: %s", zmq_strerror(errno));
}

void transport_send(struct transport *transport, size_t bytes, uint64_t sequence)
{
    zmq_msg_t request;
    if (transport->depth > 1)
        send_envelope(transport, sequence);
    transport->sequence = sequence;
    transport->bytes[sequence % 64] = bytes;
    if (zmq_msg_init_size(&request, bytes))
        bench_die("zmq_msg_init_size: %s", zmq_strerror(errno));
    work_fill(zmq_msg_data(&request), bytes, sequence);
    if (zmq_msg_send(&request, transport->socket, 0) < 0)
        bench_die("zmq_msg_send: %s", zmq_strerror(errno));
}

/** The number of the call whose answer follows, or 0. */
static uint64_t receive_envelope(struct transport *transport, int flags)
{
    uint64_t sequence = 0;
    if (zmq_recv(transport->socket, &sequence, sizeof(sequence), flags) < 0)
        return 0;
    if (zmq_recv(transport->socket, NULL, 0, 0) != 0)
        bench_die("an answer without the envelope of its request");
    return sequence;
}

uint64_t transport_receive(struct transport *transport, bool wait)
{
    unsigned char answer[WORK_ANSWER_BYTES_MAX];
    int flags = wait ? 0 : ZMQ_DONTWAIT, length;
    uint64_t sequence = transport->sequence;
    if (transport->depth > 1)
        sequence = receive_envelope(transport, flags);
    length = sequence ? zmq_recv(transport->socket, answer, sizeof(answer), flags) : -1;
    if (length < 0 && !wait && errno == EAGAIN)
        return 0;
    if (length < 0)
        bench_die("zmq_recv: %s", zmq_strerror(errno));
    if ((size_t)length > sizeof(answer) ||
        !work_is_answer(answer, (size_t)length, transport->bytes[sequence % 64], sequence))
        bench_die("the answer to call %" PRIu64 " is not what it should be", sequence);
    return sequence;
}

void transport_close(struct transport *transport)
{
    zmq_close(transport->socket);
    zmq_ctx_term(transport->context);
    free(transport);
}
