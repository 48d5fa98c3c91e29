// SPDX-License-Identifier: Apache-2.0
//
// transport.cc - calls through gRPC's C++ API, from the .proto file as usual. With option "unary"
// every request is a call; with "stream" all are messages of one bidirectional stream per server.
//
// Both use a completion queue that only this thread asks, which so does the polling itself: no
// other thread has to be woken for an answer. `at` is a list of addresses, one per worker,
// separated by commas; requests go to them in turn.
#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "echo.grpc.pb.h"

#include "bench.h"
#include "transport.h"
#include "work.h"

using carom_bench::Echo;
using carom_bench::Message;

namespace
{

constexpr unsigned DEPTH_MAX = 64;

void fill(Message &message, size_t bytes, uint64_t sequence)
{
    std::string *data = message.mutable_data();
    data->resize(bytes);
    work_fill(data->data(), bytes, sequence);
}

void check(const Message &answer, size_t bytes, uint64_t sequence)
{
    if (!work_is_answer(answer.data().data(), answer.data().size(), bytes, sequence))
        bench_die("the answer to call %" PRIu64 " is not what it should be", sequence);
}

} // namespace

/* What unary calls and streams have in common: channels, and the queue of what is complete. */
struct transport {
    unsigned depth;
    std::vector<std::unique_ptr<Echo::Stub>> stubs; /* one per worker */
    grpc::CompletionQueue queue;

    explicit transport(const transport_config *config);
    virtual ~transport() = default;
    virtual void send(size_t bytes, uint64_t sequence) = 0;
    virtual uint64_t receive(bool wait) = 0;
    bool next(bool wait, void **tag);
};

transport::transport(const transport_config *config) : depth(std::min(config->depth_max, DEPTH_MAX))
{
    std::istringstream addresses(config->at);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(-1);
    for (std::string address; std::getline(addresses, address, ',');) {
        auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                                 arguments);
        if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10)))
            bench_die("no gRPC server at %s", address.c_str());
        stubs.push_back(Echo::NewStub(channel));
    }
}

/* The next completion; false when there is none yet. */
bool transport::next(bool wait, void **tag)
{
    bool fine = true;
    if (wait) {
        if (!queue.Next(tag, &fine))
            bench_die("the completion queue has ended");
    } else {
        gpr_timespec now = gpr_time_0(GPR_CLOCK_MONOTONIC);
        if (queue.AsyncNext(tag, &fine, now) != grpc::CompletionQueue::GOT_EVENT)
            return false;
    }
    if (!fine)
        bench_die("the server has ended the call");
    return true;
}

namespace
{

struct unary_call {
    std::optional<grpc::ClientContext> context; /* good for one call only */
    std::unique_ptr<grpc::ClientAsyncResponseReader<Message>> reader;
    grpc::Status status;
    Message request, answer;
    size_t bytes;
    uint64_t sequence;
};

class unary final : public transport
{
  public:
    explicit unary(const transport_config *config) : transport(config), calls(depth)
    {
        for (unary_call &call : calls)
            idle.push_back(&call);
    }

    void send(size_t bytes, uint64_t sequence) override
    {
        unary_call &call = *idle.back();
        idle.pop_back();
        call.bytes = bytes;
        call.sequence = sequence;
        fill(call.request, bytes, sequence);
        call.context.emplace();
        Echo::Stub &stub = *stubs[sequence % stubs.size()];
        call.reader = stub.AsyncCall(&*call.context, call.request, &queue);
        call.reader->Finish(&call.answer, &call.status, &call);
    }

    uint64_t receive(bool wait) override
    {
        void *tag = nullptr;
        if (!next(wait, &tag))
            return 0;
        unary_call &call = *static_cast<unary_call *>(tag);
        if (!call.status.ok())
            bench_die("call %" PRIu64 ": %s", call.sequence, call.status.error_message().c_str());
        check(call.answer, call.bytes, call.sequence);
        idle.push_back(&call);
        return call.sequence;
    }

  private:
    std::vector<unary_call> calls;
    std::vector<unary_call *> idle;
};

/* A stream to one worker. It takes one write and one read at a time. */
struct lane {
    struct tag {
        lane *of;
    };

    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncReaderWriter<Message, Message>> stream;
    Message request, answer;
    tag started{this}, written{this}, read{this};
    bool writing = true, reading = false;         /* writing: or starting */
    std::deque<std::pair<uint64_t, size_t>> sent; /* sequence and bytes, not answered */

    lane(Echo::Stub &stub, grpc::CompletionQueue *queue)
        : stream(stub.AsyncExchange(&context, queue, &started))
    {
    }
};

class streams final : public transport
{
  public:
    explicit streams(const transport_config *config) : transport(config)
    {
        for (auto &stub : stubs)
            lanes.push_back(std::make_unique<lane>(*stub, &queue));
    }

    ~streams() override
    {
        void *tag;
        bool fine;
        for (auto &lane : lanes)
            lane->context.TryCancel();
        queue.Shutdown();
        while (queue.Next(&tag, &fine))
            continue;
    }

    void send(size_t bytes, uint64_t sequence) override
    {
        lane &lane = *lanes[sequence % lanes.size()];
        while (lane.writing)
            step(true);
        fill(lane.request, bytes, sequence);
        lane.sent.emplace_back(sequence, bytes);
        if (!lane.reading)
            lane.stream->Read(&lane.answer, &lane.read);
        lane.stream->Write(lane.request, &lane.written);
        lane.reading = lane.writing = true;
    }

    uint64_t receive(bool wait) override
    {
        while (answered.empty())
            if (!step(wait))
                return 0;
        uint64_t sequence = answered.front();
        answered.pop_front();
        return sequence;
    }

  private:
    bool step(bool wait)
    {
        void *what = nullptr;
        if (!next(wait, &what))
            return false;
        lane &lane = *static_cast<lane::tag *>(what)->of;
        if (what == &lane.read)
            take(lane);
        else
            lane.writing = false;
        return true;
    }

    void take(lane &lane)
    {
        auto [sequence, bytes] = lane.sent.front();
        lane.sent.pop_front();
        check(lane.answer, bytes, sequence);
        answered.push_back(sequence);
        lane.reading = !lane.sent.empty();
        if (lane.reading)
            lane.stream->Read(&lane.answer, &lane.read);
    }

    std::vector<std::unique_ptr<lane>> lanes;
    std::deque<uint64_t> answered;
};

} // namespace

struct transport *transport_open(const struct transport_config *config)
{
    std::string option = config->option;
    if (option == "unary")
        return new unary(config);
    if (option == "stream")
        return new streams(config);
    bench_die("option is unary or stream");
}

unsigned transport_depth(const struct transport *transport)
{
    return transport->depth;
}

void transport_send(struct transport *transport, size_t bytes, uint64_t sequence)
{
    transport->send(bytes, sequence);
}

uint64_t transport_receive(struct transport *transport, bool wait)
{
    return transport->receive(wait);
}

void transport_close(struct transport *transport)
{
    delete transport;
}
