/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_socket.h - a caller on a connected stream socket (Unix or TCP): framing.h over send and
 * recv. A peer includes it after defining nothing, and implements transport_open alone, which
 * returns what stream_begin made of its socket.
 *
 * Blocking, it sleeps in recv. With option "spin" it asks again and again with MSG_DONTWAIT, for a
 * server that does the same.
 */
#ifndef CAROM_BENCH_STREAM_SOCKET_H
#define CAROM_BENCH_STREAM_SOCKET_H

#include <sys/socket.h>

#include "framing.h"

struct transport {
    int fd;
    int flags; /* of send and recv: MSG_DONTWAIT to spin, or 0 */
    struct framing framing;
};

static inline struct transport *stream_begin(int fd, const struct transport_config *config)
{
    struct transport *stream = malloc(sizeof(*stream));
    if (!stream)
        bench_die("out of memory");
    stream->fd = fd;
    stream->flags = strcmp(config->option, "spin") == 0 ? MSG_DONTWAIT : 0;
    framing_begin(&stream->framing, config);
    return stream;
}

unsigned transport_depth(const struct transport *stream)
{
    return stream->framing.depth;
}

static inline void stream_flush(struct transport *stream)
{
    struct framing *framing = &stream->framing;
    for (size_t done = 0; done < framing->out_bytes;) {
        ssize_t part = send(stream->fd, framing->out + done, framing->out_bytes - done,
                            stream->flags | MSG_NOSIGNAL);
        if (part < 0 && errno != EAGAIN)
            bench_die("send: %s", strerror(errno));
        done += part > 0 ? (size_t)part : 0;
    }
    framing_sent(framing);
}

void transport_send(struct transport *stream, size_t bytes, uint64_t sequence)
{
    if (framing_add(&stream->framing, bytes, sequence))
        stream_flush(stream);
}

uint64_t transport_receive(struct transport *stream, bool wait)
{
    struct framing *framing = &stream->framing;
    uint64_t sequence = framing_take(framing);
    while (!sequence) {
        size_t room = 0;
        unsigned char *to = framing_room(framing, &room);
        stream_flush(stream);
        ssize_t got = recv(stream->fd, to, room, wait ? stream->flags : MSG_DONTWAIT);
        if (got >= 0)
            framing_filled(framing, (size_t)got);
        else if (errno != EAGAIN)
            bench_die("recv: %s", strerror(errno));
        sequence = framing_take(framing);
        if (!wait)
            break;
    }
    return sequence;
}

void transport_close(struct transport *stream)
{
    close(stream->fd);
    framing_end(&stream->framing);
    free(stream);
}

#endif
