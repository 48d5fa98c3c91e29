/* SPDX-License-Identifier: Apache-2.0
 *
 * process.c - what worker processes and callers need from C besides the dispatch loop: a SIGTERM
 * that stops between two calls even while a handler computes, death together with the supervisor,
 * and a whole call in one crossing from Python.
 */
#include "native.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Written by the thread that opens and closes the worker, read by the signal handler; sequentially
 * consistent because nothing here is hot. */
static _Atomic(struct carom_worker *) stoppable;

static void stop_worker(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;
    /* seq_cst: pairs with the store in carom_py_stop_on_sigterm. */
    struct carom_worker *worker = atomic_load_explicit(&stoppable, memory_order_seq_cst);

    if (worker != NULL)
        carom_worker_stop(worker);
    errno = saved_errno;
}

int carom_py_stop_on_sigterm(struct carom_worker *worker)
{
    struct sigaction action = {.sa_handler = worker != NULL ? stop_worker : SIG_DFL};

    /* seq_cst: before the handler is installed, and seen by it. */
    atomic_store_explicit(&stoppable, worker, memory_order_seq_cst);
    sigemptyset(&action.sa_mask);
    return sigaction(SIGTERM, &action, NULL) == 0 ? 0 : -errno;
}

int carom_py_die_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return -errno;
    return getppid() == parent ? 0 : -ESRCH;
}

int carom_py_call(struct carom_client *client, int method, const void *data, size_t length_bytes,
                  int64_t timeout_ns, struct carom_call **call)
{
    *call = NULL;
    int error = carom_call_begin(client, method, timeout_ns, 0, call);
    if (error != 0)
        return error;
    size_t capacity_bytes;
    void *block = carom_call_request(*call, &capacity_bytes);
    if (block != NULL && length_bytes <= capacity_bytes)
        memcpy(block, data, length_bytes); /* a longer one is refused by carom_call_submit */
    error = carom_call_submit(*call, length_bytes);
    return error != 0 ? error : carom_call_wait(*call);
}
