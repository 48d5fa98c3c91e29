/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - calls over nng's ipc transport. With one call in flight this is a REQ socket, the
 * documented pattern. With more it is a REQ socket in raw mode: each message carries its request
 * number in its header, which REP sends back, and any number may be in flight on one socket.
 *
 * A request is written into a message that nng has allocated and then sends without a copy.
 * Default options but for the largest message. `at` is a list of addresses, one per worker,
 * separated by commas: the socket deals requests out in turn.
 */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

#define REQUEST_NUMBER UINT32_C(0x80000000) /* the last word of a header has this bit set */
#define DEPTH_MAX 64

struct transport {
    nng_socket socket;
    unsigned depth;
    uint64_t sequence;       /* of the last call */
    size_t bytes[DEPTH_MAX]; /* of the call in flight with this number, modulo DEPTH_MAX */
};

static void check(int error, const char *what)
{
    if (error)
        bench_die("%s: %s", what, nng_strerror(error));
}

static void connect_to_all(nng_socket socket, const char *at)
{
    char *list = strdup(at), *rest = list, *address;
    if (!list)
        bench_die("out of memory");
    while ((address = strsep(&rest, ",")))
        check(nng_dial(socket, address, NULL, 0), address);
    free(list);
}

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    if (!transport)
        bench_die("out of memory");
    transport->depth = config->depth_max < DEPTH_MAX ? config->depth_max : DEPTH_MAX;
    if (transport->depth > 1) {
        check(nng_req0_open_raw(&transport->socket), "nng_req0_open_raw");
        check(nng_socket_set_int(transport->socket, NNG_OPT_SENDBUF, DEPTH_MAX), NNG_OPT_SENDBUF);
        check(nng_socket_set_int(transport->socket, NNG_OPT_RECVBUF, DEPTH_MAX), NNG_OPT_RECVBUF);
    } else {
        check(nng_req0_open(&transport->socket), "nng_req0_open");
    }
    connect_to_all(transport->socket, config->at);
    return transport;
}

unsigned transport_depth(const struct transport *transport)
{
    return transport->depth;
}

void transport_send(struct transport *transport, size_t bytes, uint64_t sequence)
{
    nng_msg *request;
    check(nng_msg_alloc(&request, bytes), "nng_msg_alloc");
    if (transport->depth > 1)
        check(nng_msg_header_append_u32(request, REQUEST_NUMBER | (uint32_t)sequence),
              "nng_msg_header_append_u32");
    work_fill(nng_msg_body(request), bytes, sequence);
    transport->sequence = sequence;
    transport->bytes[sequence % DEPTH_MAX] = bytes;
    check(nng_sendmsg(transport->socket, request, 0), "nng_sendmsg");
}

/** Which of the calls in flight this answers: the latest with the same low 31 bits. */
static uint64_t number_of(const struct transport *transport, nng_msg *answer)
{
    uint32_t number;
    if (transport->depth == 1)
        return transport->sequence;
    check(nng_msg_header_trim_u32(answer, &number), "nng_msg_header_trim_u32");
    return transport->sequence - (((uint32_t)transport->sequence - number) & ~REQUEST_NUMBER);
}

uint64_t transport_receive(struct transport *transport, bool wait)
{
    nng_msg *answer;
    int error = nng_recvmsg(transport->socket, &answer, wait ? 0 : NNG_FLAG_NONBLOCK);
    if (!wait && error == NNG_EAGAIN)
        return 0;
    check(error, "nng_recvmsg");
    uint64_t sequence = number_of(transport, answer);
    if (!work_is_answer(nng_msg_body(answer), nng_msg_len(answer),
                        transport->bytes[sequence % DEPTH_MAX], sequence))
        bench_die("the answer to call %" PRIu64 " is not what it should be", sequence);
    nng_msg_free(answer);
    return sequence;
}

void transport_close(struct transport *transport)
{
    nng_close(transport->socket);
    free(transport);
}
