/* SPDX-License-Identifier: Apache-2.0
 *
 * block.c - Python's view of a call's memory, and what happens to views that outlive their call.
 *
 * A handler sees shared memory through a memoryview whose exporter is a struct carom_py_block.
 * Memoryviews of it, slices, casts, numpy arrays, torch tensors, `view.obj`: each of them holds a
 * reference to the block, directly or through others. When the call is over and the dispatch loop
 * has dropped its own view, a reference count of one therefore proves that nobody can reach the
 * memory any more, and the same block serves the next call. Any other count means that somebody
 * kept a way to it. Then the memory becomes a private copy at the same address
 * (carom_request_detach) that belongs to the block, and is given back when the last reference to
 * the block goes. What a handler keeps is thus its own, never another call's bytes, and never an
 * address without memory. Counting exports instead would not do: torch.frombuffer gives the
 * buffer back at once and keeps only a reference to the memoryview.
 */
#include "native.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char nothing[1]; /* where an empty view points, so that it needs no memory of a call */

static int block_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    struct carom_py_block *block = (struct carom_py_block *)self;

    return PyBuffer_FillInfo(view, self, block->data, block->length_bytes, block->read_only, flags);
}

static void block_dealloc(PyObject *self)
{
    struct carom_py_block *block = (struct carom_py_block *)self;

    if (block->owned)
        carom_detached_free(block->data, (size_t)block->extent_bytes);
    PyObject_Free(self);
}

static PyBufferProcs block_buffer = {.bf_getbuffer = block_getbuffer};

static PyTypeObject block_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "carom._native.Block",
    .tp_doc = "Memory of a call. Lives as long as something refers to it.",
    .tp_basicsize = sizeof(struct carom_py_block),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = block_dealloc,
    .tp_as_buffer = &block_buffer,
};

int carom_py_block_ready(void)
{
    return PyType_Ready(&block_type);
}

/* A block that points nowhere yet; NULL with an exception. */
struct carom_py_block *carom_py_block_new(bool read_only)
{
    struct carom_py_block *block = PyObject_New(struct carom_py_block, &block_type);

    if (block == NULL)
        return NULL;
    block->data = nothing;
    block->length_bytes = 0;
    block->extent_bytes = 0;
    block->read_only = read_only;
    block->owned = false;
    return block;
}

/* A memoryview of the first length_bytes at data, which stay mapped until carom_py_block_settle.
 * Several views of one call start at the same address. Nothing may run between the first line and
 * the view's own reference to the block: a garbage collection would let other threads run, in which
 * the call could end, or another view of it be made. */
PyObject *carom_py_block_view(struct carom_py_block *block, void *data, Py_ssize_t length_bytes)
{
    block->data = length_bytes > 0 || block->extent_bytes > 0 ? data : nothing;
    block->length_bytes = length_bytes;
    if (length_bytes > block->extent_bytes)
        block->extent_bytes = length_bytes;
    int collects = PyGC_Disable();
    PyObject *view = PyMemoryView_FromObject((PyObject *)block);
    if (collects)
        PyGC_Enable();
    return view;
}

/* The kernel refused a private copy. Garbage in reference cycles may be all that holds the block;
 * if not, to go on would show one call's bytes to another, so the worker ends: its caller gets a
 * status, the supervisor starts another. */
static bool detach_or_die(struct carom_py_block *block, struct carom_request *request,
                          enum carom_block which)
{
    PyGC_Collect();
    if (Py_REFCNT(block) == 1)
        return false;
    int error = carom_request_detach(request, which, (size_t)block->extent_bytes);
    if (error == 0)
        return true;
    fprintf(stderr,
            "carom: cannot keep %zd bytes that a handler still refers to after its call (%s); "
            "this worker ends. Do not store views, copy what you keep with bytes(view)\n",
            block->extent_bytes, strerror(-error));
    _exit(71);
}

/* Ends the views of a call, right before the request is finished. Afterwards *slot is ready for the
 * next call, or NULL when somebody kept the old one, which now owns its memory. */
void carom_py_block_settle(struct carom_py_block **slot, struct carom_request *request,
                           enum carom_block which)
{
    struct carom_py_block *block = *slot;
    size_t bytes = (size_t)block->extent_bytes;

    if (Py_REFCNT(block) == 1 ||
        (bytes > 0 && carom_request_detach(request, which, bytes) != 0 &&
         !detach_or_die(block, request, which))) {
        block->extent_bytes = 0;
        return;
    }
    block->owned = bytes > 0;
    *slot = NULL;
    Py_DECREF(block);
}
