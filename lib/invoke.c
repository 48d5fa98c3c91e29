/* SPDX-License-Identifier: Apache-2.0
 *
 * invoke.c - one whole call in one function, made of the public ones. */
#include "carom.h"
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

static int exchange(struct carom_call *call, const void *request, size_t request_bytes)
{
    size_t capacity = 0;
    void *block = carom_call_request(call, &capacity);
    if (request_bytes > 0 && request_bytes <= capacity)
        memcpy(block, request, request_bytes);
    int rc = carom_call_submit(call, request_bytes);
    if (rc < 0)
        return rc;
    do {
        rc = carom_call_wait(call);
    } while (rc == -EINTR);
    return rc;
}

int carom_invoke(struct carom_client *client, int method, const void *request, size_t request_bytes,
                 void *reply, size_t reply_capacity_bytes, size_t *reply_bytes, int64_t timeout_ns)
{
    struct carom_call *call;
    struct carom_error error = {0};
    if (reply_bytes != NULL)
        *reply_bytes = 0;
    int rc = carom_call_begin(client, method, timeout_ns, 0, &call);
    if (call == NULL)
        return rc;
    rc = exchange(call, request, request_bytes);
    if (rc == CAROM_OK)
        rc = copy_reply(call, reply, reply_capacity_bytes, reply_bytes);
    else if (rc > 0 && carom_call_error(call, &error) == 0)
        carom__fail(rc, "%s: %s", error.type, error.message);
    carom_call_end(call);
    return rc;
}
