/* SPDX-License-Identifier: Apache-2.0
 *
 * call.c - a whole call in one crossing from Python. It waits until a signal arrives, so that
 * Python's handlers can run, and goes on when it is called again. */
#include "native.h"

#include "invoke.h"

int carom_py_call(struct carom_client *client, int method, const void *data, size_t length_bytes,
                  int64_t timeout_ns, struct carom_py_calling *calling)
{
    struct carom__invocation invocation = {
        .client = client,
        .method = method,
        .flags = CAROM_INTERRUPTIBLE,
        .request = data,
        .request_bytes = length_bytes,
        .timeout_ns = timeout_ns,
        .deadline_ns = calling->deadline_ns,
        .repeats = calling->repeats,
        .call = calling->call,
    };
    int outcome = carom__invocation_run(&invocation);
    calling->deadline_ns = invocation.deadline_ns;
    calling->repeats = invocation.repeats;
    calling->call = invocation.call;
    return outcome;
}
