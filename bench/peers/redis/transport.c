/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - calls over a bare queue on Redis: LPUSH puts a request on the workers' list, BRPOP
 * waits for the answer on a list of this caller's own. A request begins with the name of that list
 * and the call's number, an answer with the number.
 *
 * With one call in flight both commands leave together on one connection (a pipeline, as Redis
 * advises). With more, requests need a connection of their own, because Redis reads no further
 * command of a connection that is blocked in BRPOP. hiredis, blocking, on Redis's Unix socket.
 */
#include <hiredis/hiredis.h>
#include <poll.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

#define DEPTH_MAX 64
#define REQUESTS "requests"
#define NAME_BYTES 24
#define HEAD_BYTES (NAME_BYTES + sizeof(uint64_t))

struct transport {
    redisContext *push, *pop; /* the same where depth is 1 */
    unsigned depth;
    unsigned pushed;         /* LPUSH commands that Redis has not yet answered */
    char name[NAME_BYTES];   /* of this caller's list; not terminated */
    unsigned char *item;     /* head and request */
    size_t bytes[DEPTH_MAX]; /* of the call in flight with this number, modulo DEPTH_MAX */
};

static redisContext *connect_to(const char *path)
{
    redisContext *context = redisConnectUnix(path);
    if (!context || context->err)
        bench_die("cannot connect to Redis at %s: %s", path, context ? context->errstr : "memory");
    return context;
}

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    char name[NAME_BYTES + 1];
    if (!transport || !(transport->item = malloc(HEAD_BYTES + config->bytes_max)))
        bench_die("out of memory");
    snprintf(name, sizeof(name), "answers:%016" PRIx64, (uint64_t)getpid());
    memcpy(transport->name, name, NAME_BYTES);
    transport->depth = config->depth_max < DEPTH_MAX ? config->depth_max : DEPTH_MAX;
    transport->pop = connect_to(config->at);
    transport->push = transport->depth > 1 ? connect_to(config->at) : transport->pop;
    return transport;
}

unsigned transport_depth(const struct transport *transport)
{
    return transport->depth;
}

static void flush(redisContext *context)
{
    int done = 0;
    while (!done)
        if (redisBufferWrite(context, &done))
            bench_die("writing to Redis: %s", context->errstr);
}

void transport_send(struct transport *transport, size_t bytes, uint64_t sequence)
{
    const char *push[] = {"LPUSH", REQUESTS, (const char *)transport->item};
    const size_t push_bytes[] = {5, strlen(REQUESTS), HEAD_BYTES + bytes};
    const char *pop[] = {"BRPOP", transport->name, "0"};
    const size_t pop_bytes[] = {5, NAME_BYTES, 1};
    memcpy(transport->item, transport->name, NAME_BYTES);
    memcpy(transport->item + NAME_BYTES, &sequence, sizeof(sequence));
    work_fill(transport->item + HEAD_BYTES, bytes, sequence);
    transport->bytes[sequence % DEPTH_MAX] = bytes;
    transport->pushed++;
    if (redisAppendCommandArgv(transport->push, 3, push, push_bytes) ||
        redisAppendCommandArgv(transport->pop, 3, pop, pop_bytes))
        bench_die("out of memory");
    flush(transport->push);
    if (transport->pop != transport->push)
        flush(transport->pop);
}

/** The next reply on a connection; NULL when it is not there and `wait` is false. */
static redisReply *take_reply(redisContext *context, bool wait)
{
    redisReply *reply = NULL;
    for (;;) {
        struct pollfd readable = {.fd = context->fd, .events = POLLIN};
        if (redisReaderGetReply(context->reader, (void **)&reply))
            bench_die("a reply of Redis: %s", context->reader->errstr);
        if (reply && reply->type == REDIS_REPLY_ERROR)
            bench_die("Redis says: %s", reply->str);
        if (reply || (!wait && poll(&readable, 1, 0) <= 0))
            return reply;
        if (redisBufferRead(context))
            bench_die("reading from Redis: %s", context->errstr);
    }
}

static uint64_t check_answer(const struct transport *transport, const redisReply *reply)
{
    uint64_t sequence;
    const redisReply *item = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
                                 ? reply->element[1]
                                 : NULL;
    if (!item || item->type != REDIS_REPLY_STRING || item->len < sizeof(sequence))
        bench_die("an answer that is not what a worker pushes");
    memcpy(&sequence, item->str, sizeof(sequence));
    if (!work_is_answer(item->str + sizeof(sequence), item->len - sizeof(sequence),
                        transport->bytes[sequence % DEPTH_MAX], sequence))
        bench_die("the answer to call %" PRIu64 " is not what it should be", sequence);
    return sequence;
}

/** Takes the replies to LPUSH that have come; on a shared connection they precede the answer. */
static bool take_pushed(struct transport *transport, bool wait)
{
    while (transport->pushed) {
        redisReply *reply = take_reply(transport->push, wait);
        if (!reply)
            return false;
        freeReplyObject(reply);
        transport->pushed--;
    }
    return true;
}

uint64_t transport_receive(struct transport *transport, bool wait)
{
    bool shared = transport->push == transport->pop;
    if (shared && !take_pushed(transport, wait))
        return 0;
    redisReply *reply = take_reply(transport->pop, wait);
    if (!reply)
        return 0;
    uint64_t sequence = check_answer(transport, reply);
    freeReplyObject(reply);
    if (!shared && transport->pushed >= DEPTH_MAX)
        take_pushed(transport, false);
    return sequence;
}

void transport_close(struct transport *transport)
{
    if (transport->push != transport->pop)
        redisFree(transport->push);
    redisFree(transport->pop);
    free(transport->item);
    free(transport);
}
