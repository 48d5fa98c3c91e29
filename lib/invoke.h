/* SPDX-License-Identifier: Apache-2.0
 *
 * invoke.h - one whole call from request to outcome, over as many connections as it takes. */
#ifndef CAROM_INVOKE_H
#define CAROM_INVOKE_H

#include "carom.h"

/** A call and what is needed to make it again. Begins with zeros in the second half. */
struct carom__invocation {
    struct carom_client *client;
    int method;
    unsigned flags; /* CAROM_INTERRUPTIBLE or 0 */
    const void *request;
    size_t request_bytes;
    int64_t timeout_ns;
    /* how far it has come */
    int64_t deadline_ns;     /* 0: not read from the clock yet */
    uint32_t repeats;        /* attempts beyond the first that were over before this call */
    struct carom_call *call; /* to be ended by the caller when not NULL */
};

/** Begins, submits and waits, and begins again when an idempotent call has lost its connection.
 *  Returns as carom_call_wait, or what carom_call_begin or carom_call_submit returned. -EINTR: to
 *  be called again with the same invocation, which then goes on. */
int carom__invocation_run(struct carom__invocation *invocation);

#endif
