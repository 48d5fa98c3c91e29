/* SPDX-License-Identifier: Apache-2.0
 *
 * transport.c - CPython inside the calling process: a request is a memoryview of the caller's own
 * memory, a call is PyObject_Vectorcall. No other process, no copy, no isolation, and one GIL,
 * which this thread never gives up. `option` is the interpreter, by which CPython finds its
 * library, and the folder bench/, with a | between them.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "bench.h"
#include "transport.h"
#include "work.h"

struct transport {
    PyObject *handle; /* peers.work.answer */
    PyObject *answer; /* to the call that was made last */
    unsigned char *request;
    size_t bytes;
    uint64_t sequence;
};

static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        bench_die("Python does not start: %s", status.err_msg ? status.err_msg : "it exits");
}

/** Starts the interpreter as `program` would start: same library, same environment. */
static void start_python(const char *program)
{
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    check(PyConfig_SetBytesString(&config, &config.program_name, program));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

static PyObject *import_handler(const char *folder)
{
    PyObject *path = PySys_GetObject("path"), *entry = PyUnicode_DecodeFSDefault(folder);
    PyObject *module = NULL, *handle = NULL;
    if (entry && path && PyList_Append(path, entry) == 0)
        module = PyImport_ImportModule("peers.work");
    if (module)
        handle = PyObject_GetAttrString(module, "answer");
    if (!handle) {
        PyErr_Print();
        bench_die("cannot import peers.work from %s", folder);
    }
    Py_DECREF(entry);
    Py_DECREF(module);
    return handle;
}

struct transport *transport_open(const struct transport_config *config)
{
    struct transport *embedded = calloc(1, sizeof(*embedded));
    char *program = strdup(config->option);
    char *folder = program ? strchr(program, '|') : NULL;
    if (!embedded || !program || !(embedded->request = malloc(config->bytes_max + 1)))
        bench_die("out of memory");
    if (!folder)
        bench_die("option=%s must be INTERPRETER|FOLDER", config->option);
    *folder++ = '\0';
    start_python(program);
    embedded->handle = import_handler(folder);
    free(program);
    return embedded;
}

unsigned transport_depth(const struct transport *embedded)
{
    (void)embedded;
    return 1;
}

void transport_send(struct transport *embedded, size_t bytes, uint64_t sequence)
{
    work_fill(embedded->request, bytes, sequence);
    PyObject *view = PyMemoryView_FromMemory((char *)embedded->request, (Py_ssize_t)bytes,
                                             PyBUF_READ);
    if (!view)
        bench_die("out of memory");
    embedded->answer = PyObject_Vectorcall(embedded->handle, &view, 1, NULL);
    Py_DECREF(view);
    if (!embedded->answer) {
        PyErr_Print();
        bench_die("the handler failed");
    }
    embedded->bytes = bytes;
    embedded->sequence = sequence;
}

uint64_t transport_receive(struct transport *embedded, bool wait)
{
    Py_buffer answer;
    (void)wait; /* it is there already */
    if (PyObject_GetBuffer(embedded->answer, &answer, PyBUF_SIMPLE))
        bench_die("the answer is not a buffer");
    if (!work_is_answer(answer.buf, (size_t)answer.len, embedded->bytes, embedded->sequence))
        bench_die("the answer to request %" PRIu64 " is wrong", embedded->sequence);
    PyBuffer_Release(&answer);
    Py_CLEAR(embedded->answer);
    return embedded->sequence;
}

void transport_close(struct transport *embedded)
{
    Py_CLEAR(embedded->handle);
    Py_FinalizeEx();
    free(embedded->request);
    free(embedded);
}
