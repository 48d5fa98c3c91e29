/* SPDX-License-Identifier: Apache-2.0
 *
 * refuse.c - what the supervisor of a pool needs from C: a worker that answers every call with
 * UNAVAILABLE, without the GIL, and orphans that become its children.
 */
#include "native.h"

#include <errno.h>
#include <sys/prctl.h>

int carom_py_refuse(struct carom_worker *worker, const char *reason)
{
    for (;;) {
        struct carom_request *request;
        int error = carom_worker_take(worker, CAROM_FOREVER, &request);
        if (error == 0)
            carom_request_fail(request, CAROM_UNAVAILABLE, "carom.Unavailable", reason, NULL);
        else if (error != -EINTR)
            return error;
    }
}

int carom_py_become_subreaper(void)
{
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 ? 0 : -errno;
}
