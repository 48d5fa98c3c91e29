/* SPDX-License-Identifier: Apache-2.0
 *
 * failure.h - how an error travels in a reply block: a header of lengths and the time, then type,
 * message, traceback and the chain of causes, each text with its NUL. Written by a worker, or by
 * the host for a dead one; copied out by the client before it looks. */
#ifndef CAROM_FAILURE_H
#define CAROM_FAILURE_H

#include "carom.h"

#include <stddef.h>

/** A failure in private memory, one allocation with its texts. */
struct carom__failure {
    const char *type, *message, *traceback;
    int64_t time_ns;
    uint32_t cause_count;
    struct carom_cause causes[CAROM_CAUSES_MAX];
    char texts[];
};

/** Writes into a block of `capacity` bytes, at least one page; what does not fit is cut: the
 *  traceback first, then the causes. NULL strings count as "". Returns the length of the record. */
size_t carom__failure_write(void *block, size_t capacity, const struct carom_error *error);

/** Copies a record of `bytes` bytes out of shared memory.
 *  failure  receives it; free() it
 *  0, -EPROTO malformed, -ENOMEM. */
int carom__failure_read(const void *block, size_t bytes, struct carom__failure **failure);

#endif
