/* SPDX-License-Identifier: Apache-2.0
 *
 * dispatch.c - the loop of a Python worker: take a call, run its handler, give the reply.
 *
 * The GIL is taken once and kept across a burst of calls; it is released only to wait longer than
 * POLL_NS. Per call there is no Python-level code but the handler, no cffi crossing and no copy of
 * the request. The order at the end of a call matters and is the same for every outcome:
 *
 *   1. the reply is in the reply block, or the exception has become a status and texts;
 *   2. the handler's result and the exception are dropped;
 *   3. the context dies, views that somebody kept get memory of their own (block.c);
 *   4. the request is finished. From here on its memory may belong to the next call.
 *
 * Everything here runs under the GIL unless it says otherwise; one loop per worker and thread.
 */
#include "native.h"

#include <errno.h>

#define POLL_NS 5000          /* holding the GIL while spinning for the next call */
#define TAKE_NS 500000000     /* a Python signal handler runs at most this late */
#define BREATH_NS 5000000     /* between two looks at signals and other threads, or one call */
#define FORKED (-2)           /* instead of a reply's length: this is a child of the worker */

struct method {
    PyObject *name;     /* borrowed from the tuple of handlers, as is */
    PyObject *function; /* this */
    bool takes_context;
};

struct loop {
    struct carom_worker *worker;
    struct carom_py_stage stage; /* for who interrupts a handler: process.c */
    struct carom_py_lease request;
    struct carom_py_block *reply; /* NULL until a handler asks for one */
    struct carom_py_context *context;
    PyObject *raised; /* list; the exception that ends the loop goes there */
    bool leaving;
    int64_t breathed_ns; /* claim of the first call since the GIL was free for others; 0 none */
    int method_count;
    struct method methods[];
};

/* What is told to the caller about an exception. */
struct failure {
    struct carom_error error; /* its strings are inside `texts` and `kind` */
    struct carom_cause causes[CAROM_CAUSES_MAX];
    PyObject *texts;    /* NULL when the exception could not be described */
    PyTypeObject *kind; /* of the exception */
};

PyObject *carom_py_support;

/* ---- exceptions ---- */

/* Keeps an exception for the caller of the loop, which ends after this call. */
static void leave_with(struct loop *loop, PyObject *exception)
{
    loop->leaving = true;
    if (PyList_Append(loop->raised, exception) < 0)
        PyErr_Clear();
}

/* As many causes as are described as they should be. */
static void read_causes(struct failure *failure, PyObject *causes)
{
    failure->error.causes = failure->causes;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(causes) && i < CAROM_CAUSES_MAX; i++) {
        struct carom_cause *cause = &failure->causes[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(causes, i), "yy", &cause->type, &cause->message))
            return;
        failure->error.cause_count++;
    }
}

static bool ends_process(PyObject *exception)
{
    return PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) ||
           PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt);
}

/* What carom.failure says of an exception. If it cannot, its type has to do; but Ctrl-C meanwhile
 * is not lost. */
static void read_texts(struct loop *loop, struct failure *failure, PyObject *exception)
{
    struct carom_error *error = &failure->error;
    PyObject *causes;

    failure->texts = PyObject_CallMethod(carom_py_support, "describe", "O", exception);
    if (failure->texts != NULL &&
        PyArg_ParseTuple(failure->texts, "iyyyO!", &error->status, &error->type, &error->message,
                         &error->traceback, &PyTuple_Type, &causes))
        read_causes(failure, causes);
    if (!PyErr_Occurred())
        return;
    PyObject *another = carom_py_take_exception();
    if (ends_process(another))
        leave_with(loop, another);
    Py_DECREF(another);
}

/* Turns the current exception into a failure and drops it; frames it held are free after this. */
static void describe_exception(struct loop *loop, struct failure *failure)
{
    PyObject *exception = carom_py_take_exception();

    *failure = (struct failure){.kind = Py_TYPE(exception)};
    Py_INCREF(failure->kind);
    failure->error = (struct carom_error){.status = CAROM_UNKNOWN, .type = failure->kind->tp_name};
    if (ends_process(exception))
        leave_with(loop, exception);
    read_texts(loop, failure, exception);
    Py_DECREF(exception);
}

static void drop_failure(struct failure *failure)
{
    Py_XDECREF(failure->texts);
    Py_DECREF(failure->kind);
}

/* ---- one call ---- */

/* The context for this call; NULL with an exception. */
static PyObject *lend_context(struct loop *loop, struct carom_request *request)
{
    if (loop->context == NULL && (loop->context = carom_py_context_new()) == NULL)
        return NULL;
    loop->context->request = request;
    loop->context->reply = &loop->reply;
    return (PyObject *)loop->context;
}

/* Whether the handler has forked and this is the child, which has none of the call's memory. What a
 * result and an exception run when they are used and dropped can do that as well. */
static bool is_forked(const struct carom_request *request)
{
    return carom_request_data(request, NULL) == NULL;
}

/* The child of a worker has no part in the call. What ends a process ends it, everything else that
 * its half of the handler returned or raised is dropped: there is nobody to tell. */
static Py_ssize_t leave_child(struct loop *loop, PyObject *result)
{
    if (loop->context != NULL)
        loop->context->request = NULL;
    Py_XDECREF(result);
    if (result != NULL)
        return FORKED;
    PyObject *exception = carom_py_take_exception();
    if (ends_process(exception))
        leave_with(loop, exception);
    Py_DECREF(exception);
    return FORKED;
}

/* Runs the handler. The length of the reply in the reply block, FORKED, or -1 with an exception. We
 * hold no object of the call any more but the lease, the reply's block, the context and that
 * exception. */
static Py_ssize_t run_handler(struct loop *loop, const struct method *method,
                              struct carom_request *request)
{
    PyObject *arguments[3] = {NULL, NULL, NULL}; /* borrowed from the loop */
    size_t count = method->takes_context ? 2 : 1;
    size_t length_bytes;
    const void *data = carom_request_data(request, &length_bytes);

    arguments[1] = carom_py_lease_begin(&loop->request, data, (Py_ssize_t)length_bytes);
    if (arguments[1] == NULL)
        return -1;
    if (method->takes_context && (arguments[2] = lend_context(loop, request)) == NULL)
        return -1;
    loop->stage.in_handler = true;
    PyObject *result = PyObject_Vectorcall(method->function, arguments + 1,
                                           count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    loop->stage.in_handler = false;
    if (loop->stage.interrupted)
        carom_py_stage_calm(&loop->stage);
    if (is_forked(request))
        return leave_child(loop, result);
    if (result == NULL)
        return -1;
    Py_ssize_t length = carom_py_store_result(method->name, request, result);
    Py_DECREF(result);
    return length;
}

/* Takes back what the call lent to Python; what cannot be taken back gets memory of its own. */
static void settle(struct loop *loop, struct carom_request *request)
{
    if (loop->context != NULL) {
        loop->context->request = NULL;
        if (Py_REFCNT(loop->context) > 1)
            Py_CLEAR(loop->context);
    }
    carom_py_lease_end(&loop->request, request);
    if (loop->reply != NULL)
        carom_py_block_settle(&loop->reply, request, CAROM_REPLY_BLOCK);
}

/* 0, or -ECHILD when the handler forked and this is the child. */
static int serve_call(struct loop *loop, struct carom_request *request)
{
    int index = carom_request_method(request);
    struct failure failure;

    if (index < 0 || index >= loop->method_count) {
        carom_request_fail(request, CAROM_UNIMPLEMENTED, "carom.UnknownMethod",
                           "this worker has no method of that number", NULL);
        return 0;
    }
    Py_ssize_t length = run_handler(loop, &loop->methods[index], request);
    if (length == FORKED)
        return -ECHILD;
    if (length < 0)
        describe_exception(loop, &failure);
    if (is_forked(request)) {
        if (loop->context != NULL)
            loop->context->request = NULL;
        if (length < 0)
            drop_failure(&failure);
        return -ECHILD;
    }
    settle(loop, request);
    if (length >= 0) {
        carom_request_reply(request, (size_t)length);
        return 0;
    }
    carom_request_fail_with(request, &failure.error);
    drop_failure(&failure);
    return 0;
}

/* ---- the loop ---- */

/* Lets signal handlers and other threads of this process run. */
static void breathe(struct loop *loop)
{
    Py_BEGIN_ALLOW_THREADS
    Py_END_ALLOW_THREADS
    if (PyErr_CheckSignals() == 0)
        return;
    PyObject *exception = carom_py_take_exception();
    leave_with(loop, exception);
    Py_DECREF(exception);
}

/* Whether to breathe after the call that was just claimed. A burst may last for ever, and a handler
 * that is written in C looks at nothing: without this, one loop would keep the loops of other
 * threads from the GIL. The worker has read the clock when it claimed the call. */
static bool is_out_of_breath(struct loop *loop)
{
    int64_t claimed_ns;

    carom_worker_running(loop->worker, &claimed_ns);
    if (loop->breathed_ns == 0)
        loop->breathed_ns = claimed_ns;
    if (claimed_ns - loop->breathed_ns < BREATH_NS)
        return false;
    loop->breathed_ns = claimed_ns;
    return true;
}

/* The next call: spins a little with the GIL, then spins and sleeps without. */
static int next_request(struct loop *loop, struct carom_request **request)
{
    int error = carom_worker_poll(loop->worker, POLL_NS, request);

    if (error != -EAGAIN)
        return error;
    Py_BEGIN_ALLOW_THREADS
    error = carom_worker_take(loop->worker, TAKE_NS, request);
    Py_END_ALLOW_THREADS
    loop->breathed_ns = 0;
    return error;
}

static int serve_until_stopped(struct loop *loop)
{
    struct carom_request *request;
    int error = 0;

    while (!loop->leaving) {
        error = next_request(loop, &request);
        if (error == 0) {
            bool breathless = is_out_of_breath(loop);
            error = serve_call(loop, request);
            if (error != 0)
                return error;
            if (breathless)
                breathe(loop);
        } else if (error == -EINTR || error == -ETIMEDOUT) {
            breathe(loop);
        } else {
            return error;
        }
    }
    return 0;
}

static struct loop *loop_new(struct carom_worker *worker, PyObject *handlers, PyObject *raised)
{
    Py_ssize_t count = PyTuple_GET_SIZE(handlers);
    struct loop *loop = PyMem_Calloc(1, sizeof *loop + (size_t)count * sizeof loop->methods[0]);

    if (loop == NULL)
        return NULL;
    loop->worker = worker;
    loop->raised = raised;
    loop->method_count = (int)count;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *entry = PyTuple_GET_ITEM(handlers, i);
        loop->methods[i].name = PyTuple_GET_ITEM(entry, 0);
        loop->methods[i].function = PyTuple_GET_ITEM(entry, 1);
        loop->methods[i].takes_context = PyTuple_GET_ITEM(entry, 2) == Py_True;
    }
    return loop;
}

static void loop_delete(struct loop *loop)
{
    Py_XDECREF(loop->request.view);
    Py_XDECREF(loop->request.block);
    Py_XDECREF(loop->reply);
    Py_XDECREF(loop->context);
    PyMem_Free(loop);
}

int carom_py_serve(struct carom_worker *worker, uintptr_t handlers, uintptr_t raised)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    struct loop *loop = loop_new(worker, (PyObject *)handlers, (PyObject *)raised);
    int error = -ENOMEM;

    if (loop != NULL) {
        carom_py_rehearse(&loop->request, (PyObject *)handlers);
        carom_py_stage_enter(&loop->stage, worker);
        error = serve_until_stopped(loop);
        carom_py_stage_leave(&loop->stage);
        loop_delete(loop);
    }
    PyGILState_Release(gil);
    return error;
}

/* PyGILState_Ensure gives the main interpreter, or the one in which this thread was started; its
 * caller, whose `builtins` these are, may be in another. */
static bool is_main_interpreter(const PyObject *builtins)
{
    return PyInterpreterState_Get() == PyInterpreterState_Main() &&
           PyImport_AddModule("builtins") == builtins;
}

static int make_types(PyObject *names, PyObject *support)
{
    if (carom_py_block_ready() < 0 || carom_py_context_ready(names) < 0)
        return -1;
    carom_py_support = support;
    Py_INCREF(carom_py_support);
    return 0;
}

int carom_py_setup(uintptr_t names, uintptr_t support, uintptr_t builtins)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    int error = -ENOTSUP;

    if (is_main_interpreter((PyObject *)builtins)) {
        error = make_types((PyObject *)names, (PyObject *)support);
        if (error < 0)
            PyErr_Print();
    }
    PyGILState_Release(gil);
    return error;
}
