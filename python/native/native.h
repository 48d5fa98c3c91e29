/* SPDX-License-Identifier: Apache-2.0
 *
 * native.h - what the C files of the extension module carom._native share.
 *
 * The module is built by cffi in API mode (see build_native.py): declarations.h lists what Python
 * may call, the compiler checks it against this header and against carom.h. cffi calls arrive with
 * the GIL released; a function that touches Python objects takes it with PyGILState_Ensure.
 * Python objects cross cffi as uintptr_t, the id() of an object that the caller keeps alive.
 */
#ifndef CAROM_PY_NATIVE_H
#define CAROM_PY_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "carom.h"
#include "load.h"

#ifdef Py_GIL_DISABLED
#error "carom tells escaped views by reference counts, which needs a Python with a GIL"
#endif

/* ---- called from Python, listed in declarations.h ---- */

/* Makes the types of this module and puts them into the dict `names`; `support` is the
 * module carom.failure, kept for ever, `builtins` that module. Returns 0, -1 when an exception was
 * printed, or -ENOTSUP in another interpreter than the process's main one. */
int carom_py_setup(uintptr_t names, uintptr_t support, uintptr_t builtins);

/* Serves calls until the worker is stopped. `handlers` is a tuple of (name, function,
 * takes_context) in the order of the worker's methods. A Python exception that must end the loop
 * (KeyboardInterrupt, SystemExit, one from a signal handler) is appended to the list `raised`.
 * Returns 0, what carom_worker_take returned last, or -ECHILD in a process that a handler forked
 * and that came out of the handler. */
int carom_py_serve(struct carom_worker *worker, uintptr_t handlers, uintptr_t raised);

/* How far a call has come; zeros before its first step. */
struct carom_py_calling {
    struct carom_call *call; /* to be ended when it is not NULL */
    int64_t deadline_ns;
    uint32_t repeats;
};

/* A whole call except its end: begin, copy the request in, submit, wait, and all of it again where
 * an idempotent call has lost its connection. Returns as carom_call_wait; after -EINTR it is to be
 * called again with the same arguments and goes on. */
int carom_py_call(struct carom_client *client, int method, const void *data, size_t length_bytes,
                  int64_t timeout_ns, struct carom_py_calling *calling);

/* Makes SIGTERM stop `worker` between two calls, whatever Python is doing, or undoes it. When none
 * is left (NULL undoes all) SIGTERM does again what it does by default. -ENOSPC: too many. */
int carom_py_stop_on_sigterm(struct carom_worker *worker, bool stops);

/* carom_worker_close for a worker that SIGTERM may stop: the signal does not find it any more. */
void carom_py_close_worker(struct carom_worker *worker);

/* Raises the exception class of that id() in the handler of the call which carom_worker_running
 * describes by `method` and `since_ns`. Returns 1 when that will happen; 2 when the handler runs in
 * the calling thread, which is to raise it itself; 0 when that call runs no handler any more. */
int carom_py_interrupt(struct carom_worker *worker, int method, int64_t since_ns,
                       uintptr_t exception);

/* Asks the kernel to kill this process when `parent` dies; -ESRCH when it has died already. */
int carom_py_die_with(pid_t parent);

/* Answers every call with UNAVAILABLE, type "carom.Unavailable", and a reason, until the worker is
 * stopped. Returns what carom_worker_take returned last. */
int carom_py_refuse(struct carom_worker *worker, const char *reason);

/* Processes whose parent dies become children of this one, if it is an ancestor. 0 or -errno. */
int carom_py_become_subreaper(void);

/* ---- shared between the C files ---- */

/* Where a loop is, for carom_py_interrupt. Read and written with the GIL held. */
struct carom_py_stage {
    struct carom_py_stage *next;
    struct carom_worker *worker;
    unsigned long thread;
    bool in_handler;
    bool interrupted; /* an exception was raised in this handler; it may be still to come */
};

void carom_py_stage_enter(struct carom_py_stage *stage, struct carom_worker *worker);
void carom_py_stage_leave(struct carom_py_stage *stage);
void carom_py_stage_calm(struct carom_py_stage *stage);

/* Memory of a call that Python objects may look at. Every way to that memory leads through a
 * reference to this object, so one look at its reference count tells whether somebody kept it. */
struct carom_py_block {
    PyObject_HEAD void *data;
    Py_ssize_t length_bytes; /* of the next view */
    Py_ssize_t extent_bytes; /* of the longest view of this call */
    bool read_only;
    bool owned; /* private memory of this process, given back with the object */
};

int carom_py_block_ready(void);
struct carom_py_block *carom_py_block_new(bool read_only);
PyObject *carom_py_block_view(struct carom_py_block *block, void *data, Py_ssize_t length_bytes);
void carom_py_block_settle(struct carom_py_block **slot, struct carom_request *request,
                           enum carom_block which);

/* What a loop lends again and again: a block and one memoryview of all of it. Starts as zeros. */
struct carom_py_lease {
    struct carom_py_block *block; /* NULL when somebody kept the last one */
    PyObject *view;
};

PyObject *carom_py_lease_begin(struct carom_py_lease *lease, const void *data,
                               Py_ssize_t length_bytes);
void carom_py_lease_end(struct carom_py_lease *lease, struct carom_request *request);
bool carom_py_peek_memory(PyObject *object, const void **data, Py_ssize_t *length_bytes);

/* Calls nobody's handlers; see rehearsal.c. */
void carom_py_rehearse(struct carom_py_lease *lease, PyObject *handlers);

/* The second argument of a handler that asks for it; dead (request == NULL) after its call. */
struct carom_py_context {
    PyObject_HEAD struct carom_request *request;
    struct carom_py_block **reply; /* the loop's; made on first use */
};

int carom_py_context_ready(PyObject *names);
struct carom_py_context *carom_py_context_new(void);

/* The module carom.failure: describes exceptions, makes those of carom's own. */
extern PyObject *carom_py_support;

/* Puts what the handler of `method` (its name) returned into the reply block. Its length in bytes,
 * or -1 with an exception. */
Py_ssize_t carom_py_store_result(PyObject *method, struct carom_request *request, PyObject *result);

/* Takes the current exception away, normalised and with its traceback; a new reference. */
PyObject *carom_py_take_exception(void);

/* Raises carom.Error(RESOURCE_EXHAUSTED) that names both sizes. */
void carom_py_raise_too_large(Py_ssize_t wanted_bytes, size_t capacity_bytes);

#endif
