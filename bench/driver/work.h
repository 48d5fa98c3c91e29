/* SPDX-License-Identifier: Apache-2.0
 *
 * work.h - the work that every peer does in `make bench`: what a request looks like, what an
 * answer is, what a server computes. peers/work.py is the same in Python; the two must agree.
 *
 * A request is `bytes` bytes of an endless pattern of 4,096 bytes, from block `sequence % 64` of
 * 64 bytes on. Byte 0 of every block is its number (0 to 63), so a server knows from the first byte
 * of a request what the others must be. The caller writes every byte. An answer to at most 64
 * bytes is the request itself. Of a longer request the server compares every byte with the pattern,
 * and answers with the first 64. An empty request has an empty answer. The caller compares every
 * byte of the answer.
 *
 * memcpy and memcmp of no bytes are left out: glibc's took 80 ns more per round trip on a Xeon than
 * those of one byte, when the other process writes next to the address.
 */
#ifndef CAROM_BENCH_WORK_H
#define CAROM_BENCH_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WORK_BLOCK_BYTES 64
#define WORK_PATTERN_BYTES 4096
#define WORK_ANSWER_BYTES_MAX 64
#define WORK_REQUEST_BYTES_MAX (16u << 20)

#ifdef __cplusplus
extern "C" {
#endif

/** The pattern, long enough for the longest request from any block on. Made by work_prepare. */
extern unsigned char *work_pattern;

/** Makes the pattern; call once, before anything is measured. Ends the program without memory. */
void work_prepare(void);

/** Computes for `iterations` rounds of a fixed, dependent integer arithmetic (xorshift). */
void work_compute(uint64_t iterations);

/** Length of the answer to a request of `bytes` bytes. */
static inline size_t work_answer_bytes(size_t bytes)
{
    return bytes < WORK_ANSWER_BYTES_MAX ? bytes : WORK_ANSWER_BYTES_MAX;
}

/** Where in the pattern request `sequence` begins. */
static inline const unsigned char *work_request(uint64_t sequence)
{
    return work_pattern + sequence % (WORK_PATTERN_BYTES / WORK_BLOCK_BYTES) * WORK_BLOCK_BYTES;
}

/** Caller: writes every byte of request `sequence`. */
static inline void work_fill(void *request, size_t bytes, uint64_t sequence)
{
    if (bytes == WORK_BLOCK_BYTES) /* the usual case, without a call of memcpy */
        memcpy(request, work_request(sequence), WORK_BLOCK_BYTES);
    else if (bytes)
        memcpy(request, work_request(sequence), bytes);
}

/** Caller: whether this is the answer to request `sequence` of `bytes` bytes. */
static inline bool work_is_answer(const void *answer, size_t length, size_t bytes,
                                  uint64_t sequence)
{
    if (length != work_answer_bytes(bytes))
        return false;
    if (length == WORK_BLOCK_BYTES)
        return memcmp(answer, work_request(sequence), WORK_BLOCK_BYTES) == 0;
    return length == 0 || memcmp(answer, work_request(sequence), length) == 0;
}

/** Server: reads every byte of a long request; writes the answer and returns its length, or
 *  SIZE_MAX for a request that is not of the pattern. */
static inline size_t work_answer(void *answer, const void *request, size_t bytes)
{
    const unsigned char *in = (const unsigned char *)request; /* for C++ too */
    size_t length = work_answer_bytes(bytes);
    if (bytes > WORK_ANSWER_BYTES_MAX &&
        (in[0] >= WORK_PATTERN_BYTES / WORK_BLOCK_BYTES ||
         memcmp(in, work_pattern + (size_t)in[0] * WORK_BLOCK_BYTES, bytes) != 0))
        return SIZE_MAX;
    if (length)
        memcpy(answer, request, length);
    return length;
}

#ifdef __cplusplus
}
#endif

#endif
