/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - a caller on POSIX message queues: one to the server, shared by all clients, and one
 * for its own answers. A request begins with the number of its client, by which the server finds
 * the queue for the answer: `at` and that number.
 */
#include <fcntl.h>
#include <mqueue.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

#define DEPTH_MAX 16
#define NUMBER_BYTES sizeof(uint64_t)

struct transport {
    mqd_t to, from;
    bool waits; /* whether receiving blocks */
    unsigned depth;
    uint64_t next; /* the call whose answer comes next */
    unsigned char *request;
    char name[256]; /* of the queue for answers */
    size_t bytes[DEPTH_MAX];
};

/** The queue of the server says how many messages a queue may hold here. */
static unsigned depth_of(mqd_t queue, unsigned wanted)
{
    struct mq_attr attributes;
    if (mq_getattr(queue, &attributes))
        bench_die("mq_getattr: %s", strerror(errno));
    unsigned held = attributes.mq_maxmsg < DEPTH_MAX ? (unsigned)attributes.mq_maxmsg : DEPTH_MAX;
    return wanted < held ? wanted : held;
}

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *queues = calloc(1, sizeof(*queues));
    uint64_t number = (uint64_t)getpid() << 40 ^ (uint64_t)bench_now_ns(); /* nobody else's */
    if (!queues || !(queues->request = malloc(NUMBER_BYTES + config->bytes_max)))
        bench_die("out of memory");
    queues->to = mq_open(config->at, O_WRONLY);
    if (queues->to == (mqd_t)-1)
        bench_die("cannot open the queue %s: %s", config->at, strerror(errno));
    queues->depth = depth_of(queues->to, config->depth_max);
    snprintf(queues->name, sizeof(queues->name), "%s.%" PRIu64, config->at, number);
    struct mq_attr attributes = {
        .mq_maxmsg = queues->depth,
        .mq_msgsize = WORK_ANSWER_BYTES_MAX,
    };
    queues->from = mq_open(queues->name, O_RDONLY | O_CREAT | O_EXCL, 0600, &attributes);
    if (queues->from == (mqd_t)-1)
        bench_die("cannot make the queue %s: %s", queues->name, strerror(errno));
    memcpy(queues->request, &number, NUMBER_BYTES);
    queues->waits = true;
    queues->next = 1;
    return queues;
}

unsigned transport_depth(const struct transport *queues)
{
    return queues->depth;
}

/* The server's answers to all calls in flight fit their queue, so it never waits, and a caller that
 * waits for room in the queue for requests gets it. */
void transport_send(struct transport *queues, size_t bytes, uint64_t sequence)
{
    work_fill(queues->request + NUMBER_BYTES, bytes, sequence);
    queues->bytes[sequence % DEPTH_MAX] = bytes;
    if (mq_send(queues->to, (const char *)queues->request, NUMBER_BYTES + bytes, 0))
        bench_die("mq_send of %zu bytes: %s", bytes, strerror(errno));
}

static void set_waits(struct transport *queues, bool wait)
{
    const struct mq_attr attributes = {.mq_flags = wait ? 0 : O_NONBLOCK};
    if (queues->waits != wait && mq_setattr(queues->from, &attributes, NULL))
        bench_die("mq_setattr: %s", strerror(errno));
    queues->waits = wait;
}

uint64_t transport_receive(struct transport *queues, bool wait)
{
    char answer[WORK_ANSWER_BYTES_MAX];
    uint64_t sequence = queues->next;
    set_waits(queues, wait);
    ssize_t got = mq_receive(queues->from, answer, sizeof(answer), NULL);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got < 0)
        bench_die("mq_receive: %s", strerror(errno));
    if (!work_is_answer(answer, (size_t)got, queues->bytes[sequence % DEPTH_MAX], sequence))
        bench_die("the answer to request %" PRIu64 " is wrong", sequence);
    queues->next++;
    return sequence;
}

void transport_close(struct transport *queues)
{
    mq_unlink(queues->name);
    mq_close(queues->from);
    mq_close(queues->to);
    free(queues->request);
    free(queues);
}
