/* SPDX-License-Identifier: Apache-2.0
 *
 * process.c - what worker processes and callers need from C besides the dispatch loop: a SIGTERM
 * that stops between two calls even while a handler computes, an exception for a handler that runs
 * too long, and death together with the supervisor.
 */
#include "native.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ---- SIGTERM ---- */

#define STOPPABLE 256 /* workers of one process; a service has no more */

/* Written by the threads that open and close workers, read by the signal handler; sequentially
 * consistent because nothing here is hot. */
static _Atomic(struct carom_worker *) stoppable[STOPPABLE];
static _Atomic unsigned stopping; /* signal handlers that are looking at the table */
/* The process whose workers are in the table; negative while it clears the table of those of the
 * process that forked it. */
static _Atomic pid_t serving;

/* In a forked child, which may not know yet that it is one: SIGTERM ends it, as by default. */
static void end_child(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};

    sigaction(SIGTERM, &action, NULL);
    raise(SIGTERM); /* arrives when the handler returns */
}

static void stop_workers(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;

    /* seq_cst: nothing here is hot */
    if (atomic_load_explicit(&serving, memory_order_seq_cst) != getpid()) {
        end_child();
        return;
    }

    /* seq_cst: said before the table is read; pairs with the wait in remove_stoppable */
    atomic_fetch_add_explicit(&stopping, 1, memory_order_seq_cst);
    for (int i = 0; i < STOPPABLE; i++) {
        /* seq_cst: pairs with the exchanges in add_stoppable and remove_stoppable */
        struct carom_worker *worker = atomic_load_explicit(&stoppable[i], memory_order_seq_cst);
        if (worker != NULL)
            carom_worker_stop(worker);
    }
    /* seq_cst: the workers are not used after it */
    atomic_fetch_sub_explicit(&stopping, 1, memory_order_seq_cst);
    errno = saved_errno;
}

static void forget_stoppable(void)
{
    for (int i = 0; i < STOPPABLE; i++)
        /* seq_cst: nobody adds meanwhile */
        atomic_store_explicit(&stoppable[i], NULL, memory_order_seq_cst);
}

/* One thread of a forked child clears, the others that add a worker wait for it. */
static void take_over_table(void)
{
    const pid_t self = getpid();
    /* seq_cst, here and below: nothing here is hot */
    pid_t owner = atomic_load_explicit(&serving, memory_order_seq_cst);

    while (owner != self) {
        if (owner == -self) {
            sched_yield();
            owner = atomic_load_explicit(&serving, memory_order_seq_cst);
        } else if (atomic_compare_exchange_strong_explicit(
                       &serving, &owner, -self, memory_order_seq_cst, memory_order_seq_cst)) {
            forget_stoppable();
            atomic_store_explicit(&stopping, 0, memory_order_seq_cst); /* who counted is not here */
            atomic_store_explicit(&serving, self, memory_order_seq_cst);
            owner = self;
        }
    }
}

static int add_stoppable(struct carom_worker *worker)
{
    take_over_table();
    for (int i = 0; i < STOPPABLE; i++) {
        struct carom_worker *free_place = NULL;
        /* seq_cst: before the handler is installed, and seen by it */
        if (atomic_compare_exchange_strong_explicit(&stoppable[i], &free_place, worker,
                                                    memory_order_seq_cst, memory_order_seq_cst))
            return 0;
    }
    return -ENOSPC;
}

/* Takes a worker from the table. No signal handler uses it after this. */
static void remove_stoppable(struct carom_worker *worker)
{
    bool removed = false;

    for (int i = 0; i < STOPPABLE; i++) {
        struct carom_worker *found = worker;
        /* seq_cst: pairs with the load in stop_workers, which comes after its count */
        removed |= atomic_compare_exchange_strong_explicit(
            &stoppable[i], &found, NULL, memory_order_seq_cst, memory_order_seq_cst);
    }
    /* seq_cst: a handler that has read the worker has counted itself before */
    while (removed && atomic_load_explicit(&stopping, memory_order_seq_cst) != 0)
        sched_yield();
}

static bool none_stoppable(void)
{
    for (int i = 0; i < STOPPABLE; i++) {
        /* seq_cst: after this thread's own change of the table */
        if (atomic_load_explicit(&stoppable[i], memory_order_seq_cst) != NULL)
            return false;
    }
    return true;
}

/* Back to the default, unless the application has put a handler of its own there. */
static int restore_sigterm(void)
{
    struct sigaction action;

    if (sigaction(SIGTERM, NULL, &action) != 0)
        return -errno;
    if (action.sa_handler != stop_workers)
        return 0;
    action = (struct sigaction){.sa_handler = SIG_DFL};
    return sigaction(SIGTERM, &action, NULL) == 0 ? 0 : -errno;
}

int carom_py_stop_on_sigterm(struct carom_worker *worker, bool stops)
{
    struct sigaction action = {.sa_handler = stop_workers};

    if (!stops) {
        if (worker == NULL)
            forget_stoppable();
        else
            remove_stoppable(worker);
        return none_stoppable() ? restore_sigterm() : 0;
    }
    int error = add_stoppable(worker);
    if (error != 0)
        return error;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGTERM, &action, NULL) == 0 ? 0 : -errno;
}

void carom_py_close_worker(struct carom_worker *worker)
{
    carom_py_stop_on_sigterm(worker, false);
    carom_worker_close(worker);
}

/* ---- interrupting a handler ---- */

static struct carom_py_stage *stages; /* of the loops of this process; under the GIL */

void carom_py_stage_enter(struct carom_py_stage *stage, struct carom_worker *worker)
{
    *stage = (struct carom_py_stage){.next = stages, .worker = worker};
    stage->thread = PyThread_get_thread_ident();
    stages = stage;
}

void carom_py_stage_leave(struct carom_py_stage *stage)
{
    struct carom_py_stage **link = &stages;

    while (*link != stage)
        link = &(*link)->next;
    *link = stage->next;
}

/* After the handler: an exception that has not come up in it must not come up in what follows. */
void carom_py_stage_calm(struct carom_py_stage *stage)
{
    stage->interrupted = false;
    PyThreadState_SetAsyncExc(stage->thread, NULL);
}

static struct carom_py_stage *stage_of(const struct carom_worker *worker)
{
    struct carom_py_stage *stage = stages;

    while (stage != NULL && stage->worker != worker)
        stage = stage->next;
    return stage;
}

static int interrupt(struct carom_worker *worker, int method, int64_t since_ns, PyObject *exception)
{
    struct carom_py_stage *stage = stage_of(worker);
    int64_t now_since_ns = 0;

    if (stage == NULL || !stage->in_handler ||
        carom_worker_running(worker, &now_since_ns) != method || now_since_ns != since_ns)
        return 0;
    if (stage->thread == PyThread_get_thread_ident())
        return 2;
    stage->interrupted = true;
    return PyThreadState_SetAsyncExc(stage->thread, exception) == 1 ? 1 : 0;
}

int carom_py_interrupt(struct carom_worker *worker, int method, int64_t since_ns,
                       uintptr_t exception)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    /* While this thread has the GIL no handler of another begins or ends. */
    int result = interrupt(worker, method, since_ns, (PyObject *)exception);

    PyGILState_Release(gil);
    return result;
}

/* ---- the parent ---- */

int carom_py_die_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return -errno;
    return getppid() == parent ? 0 : -ESRCH;
}
