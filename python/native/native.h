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

/* Makes the types of this module and puts them into the dict `names`; `support` is the module
 * carom.failure, kept for ever. Returns 0, or -1 when an exception was printed. */
int carom_py_setup(uintptr_t names, uintptr_t support);

/* Serves calls until the worker is stopped. `handlers` is a tuple of (name, function,
 * takes_context) in the order of the worker's methods. A Python exception that must end the loop
 * (KeyboardInterrupt, SystemExit, one from a signal handler) is appended to the list `raised`.
 * Returns 0 or what carom_worker_take returned last. */
int carom_py_serve(struct carom_worker *worker, uintptr_t handlers, uintptr_t raised);

/* A whole call except its end: begin, copy the request in, submit, wait. *call is NULL when there
 * is nothing to end. Returns as carom_call_wait. */
int carom_py_call(struct carom_client *client, int method, const void *data, size_t length_bytes,
                  int64_t timeout_ns, struct carom_call **call);

/* Makes SIGTERM stop `worker` between two calls, whatever Python is doing; NULL undoes it. */
int carom_py_stop_on_sigterm(struct carom_worker *worker);

/* Asks the kernel to kill this process when `parent` dies; -ESRCH when it has died already. */
int carom_py_die_with(pid_t parent);

/* ---- shared between the C files ---- */

/* Memory of a call that Python objects may look at. Every way to that memory leads through a
 * reference to this object, so one look at its reference count tells whether somebody kept it. */
struct carom_py_block {
    PyObject_HEAD
    void *data;
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

/* The second argument of a handler that asks for it; dead (request == NULL) after its call. */
struct carom_py_context {
    PyObject_HEAD
    struct carom_request *request;
    struct carom_py_block **reply; /* the loop's; made on first use */
};

int carom_py_context_ready(PyObject *names);
struct carom_py_context *carom_py_context_new(void);

/* The module carom.failure: describes exceptions, makes those with a text of their own. */
extern PyObject *carom_py_support;

/* Puts what the handler of `method` (its name) returned into the reply block. Its length in bytes,
 * or -1 with an exception. */
Py_ssize_t carom_py_store_result(PyObject *method, struct carom_request *request, PyObject *result);

/* Takes the current exception away, normalised and with its traceback; a new reference. */
PyObject *carom_py_take_exception(void);

/* Raises carom.Error(RESOURCE_EXHAUSTED) that names both sizes. */
void carom_py_raise_too_large(Py_ssize_t wanted_bytes, size_t capacity_bytes);

#endif
