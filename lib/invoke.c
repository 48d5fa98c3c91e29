/* SPDX-License-Identifier: Apache-2.0
 *
 * invoke.c - one whole call in one function. It has the request, so it can make an idempotent call
 * again when the whole lane was lost with its host. See invoke.h. */
#include "invoke.h"

#include "client.h"
#include "error.h"

#include <errno.h>
#include <string.h>

static int copy_reply(struct carom_call *call, void *reply, size_t capacity, size_t *reply_bytes)
{
    size_t length;
    const void *data = carom_call_reply(call, &length);
    if (reply_bytes != NULL)
        *reply_bytes = length;
    if (length > capacity)
        return carom__fail(-ENOBUFS, "the reply has %zu bytes, the buffer only %zu", length,
                           capacity);
    if (length > 0)
        memcpy(reply, data, length);
    return CAROM_OK;
}

/* Copies the request in and submits it. */
static int send(const struct carom__invocation *invocation)
{
    size_t capacity = 0;
    void *block = carom_call_request(invocation->call, &capacity);
    if (invocation->request_bytes > 0 && invocation->request_bytes <= capacity && block != NULL)
        memcpy(block, invocation->request, invocation->request_bytes);
    return carom_call_submit(invocation->call, invocation->request_bytes);
}

/* What is left of the timeout. */
static int64_t left_ns(const struct carom__invocation *invocation)
{
    if (invocation->deadline_ns == INT64_MAX)
        return CAROM_FOREVER;
    int64_t left = invocation->deadline_ns - carom__now_ns();
    return left > 0 ? left : 0;
}

static int begin(struct carom__invocation *invocation)
{
    int64_t timeout_ns = invocation->timeout_ns;
    if (invocation->deadline_ns != 0)
        timeout_ns = left_ns(invocation);
    else if (invocation->flags & CAROM_INTERRUPTIBLE) /* it may be needed without a call */
        invocation->deadline_ns = carom__deadline_ns(timeout_ns);
    int rc = carom_call_begin(invocation->client, invocation->method, timeout_ns, invocation->flags,
                              &invocation->call);
    if (rc < 0)
        return rc;
    if (invocation->deadline_ns == 0)
        invocation->deadline_ns = invocation->call->submission.deadline_ns;
    invocation->call->repeats = invocation->repeats;
    return send(invocation);
}

/* Whether a call has lost its connection and may be made again on the next. */
static bool is_to_be_moved(const struct carom__invocation *invocation, int outcome)
{
    const struct carom_call *call = invocation->call;
    const struct carom_client *client = invocation->client;
    if (outcome == CAROM_OK || call == NULL || client->reconnect.timeout_ns < 0 ||
        call->progress != CAROM__OVER)
        return false;
    bool is_lost = outcome == -EHOSTDOWN || outcome == -ESHUTDOWN;
    if (outcome > 0) /* answered by workers that were leaving with their host */
        is_lost = (client->retry.statuses >> outcome & 1) != 0 && !carom__client_is_open(client);
    return is_lost && call->repeats + 1 < client->retry.attempts &&
           carom__method_is_idempotent(client, call->submission.method) &&
           carom__now_ns() < invocation->deadline_ns;
}

static int move(struct carom__invocation *invocation)
{
    struct carom_client *client = invocation->client;
    invocation->repeats = invocation->call->repeats + 1;
    carom_call_end(invocation->call);
    int rc = begin(invocation);
    if (invocation->call != NULL) /* relaxed: a number for people */
        atomic_fetch_add_explicit(&client->retry.count, 1, memory_order_relaxed);
    return rc;
}

int carom__invocation_run(struct carom__invocation *invocation)
{
    int rc = invocation->call == NULL ? begin(invocation) : 0;
    for (;;) {
        if (rc < 0)
            return rc;
        do {
            rc = carom_call_wait(invocation->call);
        } while (rc == -EINTR && !(invocation->flags & CAROM_INTERRUPTIBLE));
        if (CAROM__LIKELY(rc == CAROM_OK || rc == -EINTR || !is_to_be_moved(invocation, rc)))
            return rc;
        rc = move(invocation);
    }
}

int carom_invoke(struct carom_client *client, int method, const void *request, size_t request_bytes,
                 void *reply, size_t reply_capacity_bytes, size_t *reply_bytes, int64_t timeout_ns)
{
    struct carom__invocation invocation = {
        .client = client,
        .method = method,
        .request = request,
        .request_bytes = request_bytes,
        .timeout_ns = timeout_ns,
    };
    struct carom_error error = {0};
    if (reply_bytes != NULL)
        *reply_bytes = 0;
    int rc = carom__invocation_run(&invocation);
    if (invocation.call == NULL)
        return rc;
    if (rc == CAROM_OK)
        rc = copy_reply(invocation.call, reply, reply_capacity_bytes, reply_bytes);
    else if (rc > 0 && carom_call_error(invocation.call, &error) == 0)
        carom__fail(rc, "%s: %s", error.type, error.message);
    carom_call_end(invocation.call);
    return rc;
}
