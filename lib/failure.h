/* SPDX-License-Identifier: Apache-2.0
 *
 * failure.h - how an error travels in a reply block: three lengths, then type, message and
 * traceback, each with its NUL. Written by a worker, copied out by the client before it looks. */
#ifndef CAROM_FAILURE_H
#define CAROM_FAILURE_H

#include <stddef.h>

/** Strings of a failure in one private allocation. */
struct carom__failure {
    char *type; /* start of the allocation; free() it */
    char *message;
    char *traceback;
};

/** Writes into a block of `capacity` bytes; what does not fit is cut, the traceback first.
 *  NULL strings count as "". Returns the length of the record. */
size_t carom__failure_write(void *block, size_t capacity, const char *type, const char *message,
                            const char *traceback);

/** Copies a record of `bytes` bytes out of shared memory. 0, -EPROTO malformed, -ENOMEM. */
int carom__failure_read(const void *block, size_t bytes, struct carom__failure *failure);

#endif
