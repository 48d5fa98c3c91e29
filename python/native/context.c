/* SPDX-License-Identifier: Apache-2.0
 *
 * context.c - carom.Context, what a handler may ask about the call it runs.
 *
 * A context is valid while its handler runs. The dispatch loop clears `request` before it finishes
 * the call; every function checks that first, so a context that a handler kept raises and never
 * touches the memory of another call. The GIL orders this against other threads of the handler.
 */
#include "native.h"

#include <time.h>

#define NS_PER_S 1000000000

static PyTypeObject peer_type;

/* The request of a context whose handler runs; NULL with an exception after that. */
static struct carom_request *live_request(PyObject *self)
{
    struct carom_request *request = ((struct carom_py_context *)self)->request;

    if (request == NULL)
        PyErr_SetString(PyExc_RuntimeError,
                        "this call is over: a carom.Context is valid only while its handler runs");
    return request;
}

static PyObject *context_deadline(PyObject *self, void *unused)
{
    (void)unused;
    struct carom_request *request = live_request(self);

    if (request == NULL)
        return NULL;
    int64_t deadline_ns = carom_request_deadline(request);
    if (deadline_ns == INT64_MAX)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(deadline_ns);
}

static PyObject *context_client(PyObject *self, void *unused)
{
    (void)unused;
    struct carom_request *request = live_request(self);

    if (request == NULL)
        return NULL;
    struct carom_peer peer;
    carom_request_client(request, &peer);
    PyObject *client = PyStructSequence_New(&peer_type);
    if (client == NULL)
        return NULL;
    PyStructSequence_SetItem(client, 0, PyLong_FromLong(peer.id));
    PyStructSequence_SetItem(client, 1, PyLong_FromLong(peer.pid));
    PyStructSequence_SetItem(client, 2, PyLong_FromUnsignedLong(peer.uid));
    if (PyErr_Occurred())
        Py_CLEAR(client);
    return client;
}

static PyObject *context_remaining(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct carom_request *request = live_request(self);

    if (request == NULL)
        return NULL;
    int64_t deadline_ns = carom_request_deadline(request);
    if (deadline_ns == INT64_MAX)
        Py_RETURN_NONE;
    int64_t left_ns = deadline_ns - carom_now_ns();
    return PyFloat_FromDouble(left_ns > 0 ? (double)left_ns / NS_PER_S : 0.0);
}

/* Reads the clock, the exact one, only if there is a deadline. */
static bool is_late(const struct carom_request *request)
{
    int64_t deadline_ns = carom_request_deadline(request);

    return deadline_ns != INT64_MAX && carom_now_ns() >= deadline_ns;
}

static PyObject *context_cancelled(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct carom_request *request = live_request(self);

    if (request == NULL)
        return NULL;
    return PyBool_FromLong(carom_request_cancelled(request) || is_late(request));
}

static PyObject *raise_cancelled(void)
{
    PyObject *error = PyObject_CallMethod(carom_py_support, "cancelled", NULL);

    if (error == NULL)
        return NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return NULL;
}

/* The deadline first: a caller whose time is over leaves as well, a moment later. */
static PyObject *context_check(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct carom_request *request = live_request(self);

    if (request == NULL)
        return NULL;
    if (is_late(request)) {
        PyErr_SetString(PyExc_TimeoutError, "the deadline of this call has passed");
        return NULL;
    }
    if (carom_request_cancelled(request))
        return raise_cancelled();
    Py_RETURN_NONE;
}

static PyObject *context_reply(PyObject *self, PyObject *size)
{
    struct carom_py_context *context = (struct carom_py_context *)self;
    /* First: this may run Python code, and the call may end meanwhile if this is not its thread. */
    Py_ssize_t length_bytes = PyNumber_AsSsize_t(size, PyExc_OverflowError);

    if (length_bytes == -1 && PyErr_Occurred())
        return NULL;
    struct carom_request *request = live_request(self);
    if (request == NULL)
        return NULL;
    if (length_bytes < 0)
        return PyErr_Format(PyExc_ValueError, "a reply cannot have %zd bytes", length_bytes);
    size_t capacity_bytes;
    void *data = carom_request_reply_block(request, &capacity_bytes);
    if (data == NULL) {
        PyErr_SetString(PyExc_ChildProcessError, carom_error_detail());
        return NULL;
    }
    if ((size_t)length_bytes > capacity_bytes) {
        carom_py_raise_too_large(length_bytes, capacity_bytes);
        return NULL;
    }
    if (*context->reply == NULL && (*context->reply = carom_py_block_new(false)) == NULL)
        return NULL;
    return carom_py_block_view(*context->reply, data, length_bytes);
}

static PyGetSetDef context_attributes[] = {
    {"deadline", context_deadline, NULL,
     "When the caller stops waiting: nanoseconds of CLOCK_MONOTONIC (time.monotonic_ns()), "
     "or None.", NULL},
    {"client", context_client, NULL, "Who calls: carom.Peer(id, pid, uid).", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef context_methods[] = {
    {"remaining", context_remaining, METH_NOARGS,
     "remaining()\n--\n\nSeconds until the deadline, at least 0.0; None without a deadline."},
    {"cancelled", context_cancelled, METH_NOARGS,
     "cancelled()\n--\n\nWhether nobody waits for the answer any more.\n\n"
     "The caller cancelled, left, or its deadline passed. One atomic load, and one reading\n"
     "of the clock if there is a deadline."},
    {"check", context_check, METH_NOARGS,
     "check()\n--\n\nRaises when nobody waits for the answer any more; to be called now and then."
     "\n\nTimeoutError past the deadline, else carom.Cancelled when the caller cancelled or left."
     "\nLet it through: the caller gets DEADLINE_EXCEEDED or CANCELLED."},
    {"reply", context_reply, METH_O,
     "reply(size)\n--\n\nA writable memoryview of `size` bytes in the reply block, to build the "
     "answer in place;\nreturn it, or a slice of it. Its content is that of an older reply to the "
     "same client.\nRaises carom.Error (RESOURCE_EXHAUSTED) when the block is smaller."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject context_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "carom.Context",
    .tp_doc = "The call a handler runs: its deadline, its caller, its reply's memory.\n\n"
              "Handed to handlers with a second parameter. Valid while the handler runs; using it "
              "later\nraises RuntimeError.",
    .tp_basicsize = sizeof(struct carom_py_context),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = context_methods,
    .tp_getset = context_attributes,
};

static PyStructSequence_Field peer_fields[] = {
    {"id", "Number of the client within the service."},
    {"pid", "Its process id as the host sees it; 0 if it is in a foreign PID namespace."},
    {"uid", "Its user id, as the kernel told the host."},
    {NULL, NULL},
};

static PyStructSequence_Desc peer_description = {
    .name = "carom.Peer",
    .doc = "A process at the other end.",
    .fields = peer_fields,
    .n_in_sequence = 3,
};

/* Makes the types and puts them into `names`. */
int carom_py_context_ready(PyObject *names)
{
    if (PyType_Ready(&context_type) < 0 ||
        PyStructSequence_InitType2(&peer_type, &peer_description) < 0)
        return -1;
    if (PyDict_SetItemString(names, "Context", (PyObject *)&context_type) < 0)
        return -1;
    return PyDict_SetItemString(names, "Peer", (PyObject *)&peer_type);
}

struct carom_py_context *carom_py_context_new(void)
{
    struct carom_py_context *context = PyObject_New(struct carom_py_context, &context_type);

    if (context != NULL)
        context->request = NULL;
    return context;
}
