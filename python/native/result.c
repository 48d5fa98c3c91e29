/* SPDX-License-Identifier: Apache-2.0
 *
 * result.c - what a handler returned becomes the reply: any contiguous buffer is copied into the
 * reply block once, one that lies in it already is moved to its front, None is an empty reply, and
 * everything else an exception that says what to return. */
#include "native.h"

#include <string.h>

#define UNLOCKED_COPY_BYTES (1 << 20) /* from here on a copy does not keep other threads waiting */

PyObject *carom_py_take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void carom_py_raise_too_large(Py_ssize_t wanted_bytes, size_t capacity_bytes)
{
    PyObject *error = PyObject_CallMethod(carom_py_support, "reply_too_large", "nn", wanted_bytes,
                                          (Py_ssize_t)capacity_bytes);

    if (error == NULL)
        return;
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
}

/* Copies into the reply block, unless the bytes are there already. -1 with an exception. */
static Py_ssize_t copy_reply(struct carom_request *request, const void *data, Py_ssize_t length)
{
    size_t capacity_bytes;
    void *block = carom_request_reply_block(request, &capacity_bytes);

    if (block == NULL) { /* a child, forked by what gave the bytes */
        PyErr_SetString(PyExc_ChildProcessError, carom_error_detail());
        return -1;
    }
    if ((size_t)length > capacity_bytes) {
        carom_py_raise_too_large(length, capacity_bytes);
        return -1;
    }
    if (data == block)
        return length;
    if (length < UNLOCKED_COPY_BYTES) {
        memmove(block, data, (size_t)length);
        return length;
    }
    Py_BEGIN_ALLOW_THREADS
    memmove(block, data, (size_t)length);
    Py_END_ALLOW_THREADS
    return length;
}

static Py_ssize_t refuse_result(PyObject *method, PyObject *result)
{
    PyErr_Format(PyExc_TypeError,
                 "method %R returned %.100s%s; return bytes, bytearray, a contiguous memoryview or "
                 "array, or None",
                 method, Py_TYPE(result)->tp_name,
                 PyUnicode_Check(result) ? " (use text.encode())" : "");
    return -1;
}

static Py_ssize_t refuse_layout(PyObject *method, PyObject *result)
{
    if (!PyErr_ExceptionMatches(PyExc_BufferError) && !PyErr_ExceptionMatches(PyExc_ValueError))
        return -1;
    PyObject *cause = carom_py_take_exception();
    PyErr_Format(PyExc_BufferError,
                 "method %R returned %.100s whose memory cannot be copied as it lies (%S); return "
                 "a contiguous buffer, such as bytes(...) or numpy.ascontiguousarray(...)",
                 method, Py_TYPE(result)->tp_name, cause);
    Py_DECREF(cause);
    return -1;
}

Py_ssize_t carom_py_store_result(PyObject *method, struct carom_request *request, PyObject *result)
{
    if (result == Py_None)
        return 0;
    if (PyBytes_CheckExact(result))
        return copy_reply(request, PyBytes_AS_STRING(result), PyBytes_GET_SIZE(result));
    const void *data;
    Py_ssize_t length;
    if (carom_py_peek_memory(result, &data, &length) && length < UNLOCKED_COPY_BYTES)
        return copy_reply(request, data, length);
    if (!PyObject_CheckBuffer(result))
        return refuse_result(method, result);
    Py_buffer buffer;
    if (PyObject_GetBuffer(result, &buffer, PyBUF_SIMPLE) < 0)
        return refuse_layout(method, result);
    length = copy_reply(request, buffer.buf, buffer.len);
    PyBuffer_Release(&buffer);
    return length;
}
