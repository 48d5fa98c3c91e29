/* SPDX-License-Identifier: Apache-2.0
 *
 * message_socket.h - a caller on a socket that keeps the borders of messages: one send, one recv
 * per call, no framing. A peer includes it and implements transport_open and transport_close.
 *
 * The server's answers to all calls in flight fit its send buffer, so it never waits for this side
 * while this side waits for it.
 */
#ifndef CAROM_BENCH_MESSAGE_SOCKET_H
#define CAROM_BENCH_MESSAGE_SOCKET_H

#include <sys/socket.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

#define MESSAGE_DEPTH_MAX 64

struct transport {
    int fd;
    unsigned depth;
    uint64_t next; /* the call whose answer comes next */
    unsigned char *request;
    size_t bytes[MESSAGE_DEPTH_MAX]; /* of request n at n % MESSAGE_DEPTH_MAX */
};

/** Takes over a connected socket. */
static inline struct transport *message_begin(int fd, const struct transport_config *config)
{
    struct transport *messages = calloc(1, sizeof(*messages));
    unsigned char *request = malloc(config->bytes_max + 1);
    if (!messages || !request)
        bench_die("out of memory");
    messages->fd = fd;
    messages->depth = config->depth_max < MESSAGE_DEPTH_MAX ? config->depth_max : MESSAGE_DEPTH_MAX;
    messages->next = 1;
    messages->request = request;
    return messages;
}

static inline void message_end(struct transport *messages)
{
    close(messages->fd);
    free(messages->request);
    free(messages);
}

/** Has the kernel take messages of `bytes` bytes; it doubles what it is asked for, for its own. */
static inline void message_make_room(int fd, size_t bytes)
{
    const int room = (int)bytes;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)))
        bench_die("SO_SNDBUF: %s", strerror(errno));
}

unsigned transport_depth(const struct transport *messages)
{
    return messages->depth;
}

void transport_send(struct transport *messages, size_t bytes, uint64_t sequence)
{
    work_fill(messages->request, bytes, sequence);
    messages->bytes[sequence % MESSAGE_DEPTH_MAX] = bytes;
    if (send(messages->fd, messages->request, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
        bench_die("send of %zu bytes: %s", bytes, strerror(errno));
}

uint64_t transport_receive(struct transport *messages, bool wait)
{
    unsigned char answer[WORK_ANSWER_BYTES_MAX];
    uint64_t sequence = messages->next;
    size_t bytes = messages->bytes[sequence % MESSAGE_DEPTH_MAX];
    ssize_t got = recv(messages->fd, answer, sizeof(answer), wait ? 0 : MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN && !wait)
        return 0;
    if (got < 0)
        bench_die("recv: %s", strerror(errno));
    if (!work_is_answer(answer, (size_t)got, bytes, sequence))
        bench_die("the answer to request %" PRIu64 " is wrong, or the server has gone", sequence);
    messages->next++;
    return sequence;
}

#endif
