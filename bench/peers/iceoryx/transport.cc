// SPDX-License-Identifier: Apache-2.0
//
// transport.cc - calls through iceoryx's request-response API for C++: a request is written into a
// loaned chunk, an answer is read where the server has written it. Waiting is polling.
#include "echo_service.h"

#include <optional>

#include "bench.h"
#include "transport.h"
#include "work.h"

/* Answers that the library keeps for a client; with more calls in flight it would drop some. */
constexpr unsigned DEPTH_MAX = iox::MAX_RESPONSE_QUEUE_CAPACITY;
constexpr int64_t CONNECT_NS = 10000000000;

struct transport {
    unsigned depth;
    uint64_t taken;          /* answers come in the order of the requests */
    size_t bytes[DEPTH_MAX]; /* of the request with this number, modulo the depth */
    std::optional<iox::popo::UntypedClient> client;
};

struct transport *transport_open(const struct transport_config *config)
{
    int64_t deadline_ns = bench_now_ns() + CONNECT_NS;
    struct transport *transport = new struct transport();
    transport->depth = config->depth_max < DEPTH_MAX ? config->depth_max : DEPTH_MAX;
    echo_service::join("client");
    transport->client.emplace(echo_service::description(config->at));
    while (transport->client->getConnectionState() != iox::ConnectionState::CONNECTED) {
        if (bench_now_ns() > deadline_ns)
            bench_die("no iceoryx server offers %s", config->at);
        usleep(100);
    }
    return transport;
}

unsigned transport_depth(const struct transport *transport)
{
    return transport->depth;
}

void transport_send(struct transport *transport, size_t bytes, uint64_t sequence)
{
    auto loan = transport->client->loan(static_cast<uint32_t>(bytes), echo_service::ALIGNMENT);
    if (loan.has_error())
        bench_die("iceoryx has no chunk of %zu bytes left", bytes);
    work_fill(loan.value(), bytes, sequence);
    transport->bytes[sequence % DEPTH_MAX] = bytes;
    if (transport->client->send(loan.value()).has_error())
        bench_die("the iceoryx server has left");
}

uint64_t transport_receive(struct transport *transport, bool wait)
{
    uint64_t sequence = transport->taken + 1;
    auto answer = transport->client->take();
    while (wait && answer.has_error())
        answer = transport->client->take();
    if (answer.has_error())
        return 0;
    if (!work_is_answer(answer.value(), echo_service::bytes_of(answer.value()),
                        transport->bytes[sequence % DEPTH_MAX], sequence))
        bench_die("the answer to call %" PRIu64 " is not what it should be", sequence);
    transport->client->releaseResponse(answer.value());
    return transport->taken = sequence;
}

void transport_close(struct transport *transport)
{
    delete transport;
}
