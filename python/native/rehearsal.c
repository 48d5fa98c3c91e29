/* SPDX-License-Identifier: Apache-2.0
 *
 * rehearsal.c - what a worker does before its first call, so that this finds everything in place.
 *
 * In a process that was just forked the first call of a handler took 30 us more than later ones:
 * pages with reference counts are copied on the first write, code and tables are in no cache. So a
 * function of our own is called a few times as handlers are; the handlers themselves, which are not
 * ours to call, are referred to once.
 */
#include "native.h"

#define TIMES 4

static char line[64];

/* Writes where a call will write first: the reference counts. */
static void touch(PyObject *object)
{
    Py_INCREF(object);
    Py_DECREF(object);
}

static void touch_handler(PyObject *handler)
{
    PyObject *function = PyMethod_Check(handler) ? PyMethod_GET_FUNCTION(handler) : handler;

    touch(handler);
    if (!PyFunction_Check(function))
        return;
    touch(function);
    touch(PyFunction_GET_CODE(function));
    touch(PyFunction_GET_GLOBALS(function));
}

static void call_as_handler(struct carom_py_lease *lease, PyObject *function)
{
    PyObject *arguments[2] = {NULL, carom_py_lease_begin(lease, line, sizeof line)};

    if (arguments[1] == NULL)
        return;
    Py_XDECREF(PyObject_Vectorcall(function, arguments + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                   NULL));
    carom_py_lease_end(lease, NULL); /* a profiler or the garbage collector may hold the view */
}

/* `handlers` as for carom_py_serve. */
void carom_py_rehearse(struct carom_py_lease *lease, PyObject *handlers)
{
    PyObject *function = PyObject_GetAttrString(carom_py_support, "rehearse");

    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(handlers); i++)
        touch_handler(PyTuple_GET_ITEM(PyTuple_GET_ITEM(handlers, i), 1));
    for (int i = 0; function != NULL && i < TIMES; i++) {
        call_as_handler(lease, function);
        Py_BEGIN_ALLOW_THREADS
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(function);
    PyErr_Clear();
}
