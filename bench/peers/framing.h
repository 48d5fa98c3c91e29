/* SPDX-License-Identifier: Apache-2.0
 *
 * framing.h - the caller's half of streams.py: requests and answers on a byte stream, each an
 * 8-byte length (little endian, as is every machine that carom runs on) and that many bytes.
 *
 * Requests are written into one buffer, length and body together, so that one system call sends
 * them. With several calls in flight they are gathered: sent when half of the allowed depth has
 * come together, or when the caller would otherwise have to ask the kernel for an answer. So one
 * system call carries many requests, and both sides still work at the same time. A peer includes
 * this file and does the sending and the reading.
 */
#ifndef CAROM_BENCH_FRAMING_H
#define CAROM_BENCH_FRAMING_H

#include "bench.h"
#include "transport.h"
#include "work.h"

#define FRAME_HEAD_BYTES sizeof(uint64_t)
#define FRAME_GATHER_BYTES (64u << 10)
#define FRAME_DEPTH_MAX 64

/* Answers to all calls in flight fit the buffer here, and, with what the kernel adds to each, the
 * smallest socket or pipe buffer too. So a server never waits for room for its answers, and a
 * caller that waits for room for its requests always gets it: nobody waits in a circle. */
#define FRAME_ANSWERS_BYTES (FRAME_DEPTH_MAX * (FRAME_HEAD_BYTES + WORK_ANSWER_BYTES_MAX))

struct framing {
    unsigned depth, in_flight;
    unsigned gathered;             /* requests in `out` that are not sent yet */
    size_t out_bytes;              /* of them */
    unsigned char *out;            /* requests to send */
    size_t in_begin, in_end;       /* answers read from the stream and not yet looked at */
    uint64_t next;                 /* the call whose answer comes next */
    size_t bytes[FRAME_DEPTH_MAX]; /* of request n at n % FRAME_DEPTH_MAX */
    unsigned char in[2 * FRAME_ANSWERS_BYTES];
};

static inline void framing_begin(struct framing *framing, const struct transport_config *config)
{
    memset(framing, 0, sizeof(*framing));
    framing->depth = config->depth_max < FRAME_DEPTH_MAX ? config->depth_max : FRAME_DEPTH_MAX;
    framing->next = 1;
    framing->out = malloc(FRAME_GATHER_BYTES + FRAME_HEAD_BYTES + config->bytes_max);
    if (!framing->out)
        bench_die("out of memory");
}

static inline void framing_end(struct framing *framing)
{
    free(framing->out);
}

/** Writes a request; says whether those that are there should be sent now. */
static inline bool framing_add(struct framing *framing, size_t bytes, uint64_t sequence)
{
    unsigned char *frame = framing->out + framing->out_bytes;
    uint64_t length = bytes;
    memcpy(frame, &length, FRAME_HEAD_BYTES);
    work_fill(frame + FRAME_HEAD_BYTES, bytes, sequence);
    framing->bytes[sequence % FRAME_DEPTH_MAX] = bytes;
    framing->out_bytes += FRAME_HEAD_BYTES + bytes;
    framing->gathered++;
    framing->in_flight++;
    return framing->gathered * 2 >= framing->depth || framing->out_bytes >= FRAME_GATHER_BYTES;
}

/** All requests are sent. */
static inline void framing_sent(struct framing *framing)
{
    framing->out_bytes = 0;
    framing->gathered = 0;
}

/** Takes and checks an answer that has been read; 0 when there is no whole one. */
static inline uint64_t framing_take(struct framing *framing)
{
    const unsigned char *frame = framing->in + framing->in_begin;
    size_t there = framing->in_end - framing->in_begin;
    uint64_t sequence = framing->next, length = 0;
    if (there < FRAME_HEAD_BYTES)
        return 0;
    memcpy(&length, frame, FRAME_HEAD_BYTES);
    if (length > there - FRAME_HEAD_BYTES)
        return 0;
    if (!work_is_answer(frame + FRAME_HEAD_BYTES, length,
                        framing->bytes[sequence % FRAME_DEPTH_MAX], sequence))
        bench_die("the answer to request %" PRIu64 " is wrong", sequence);
    framing->in_begin += FRAME_HEAD_BYTES + length;
    framing->in_flight--;
    framing->next++;
    return sequence;
}

/** Where to read answers to, and how many bytes at most. */
static inline unsigned char *framing_room(struct framing *framing, size_t *bytes)
{
    size_t left = framing->in_end - framing->in_begin;
    if (framing->in_begin) {
        memmove(framing->in, framing->in + framing->in_begin, left);
        framing->in_begin = 0;
        framing->in_end = left;
    }
    *bytes = sizeof(framing->in) - left;
    return framing->in + left;
}

/** Counts what a read gave; 0 is the end of the stream. */
static inline void framing_filled(struct framing *framing, size_t bytes)
{
    if (bytes == 0)
        bench_die("the server closed the connection");
    framing->in_end += bytes;
}

#endif
