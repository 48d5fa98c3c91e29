/* SPDX-License-Identifier: Apache-2.0
 *
 * lease.c - the memoryview of the request, used again for the next call when nobody can tell.
 *
 * Making a memoryview costs two objects, about a third of what Python's side of a call takes. The
 * one of the last call may be pointed at the next request if it cannot be reached any more: its
 * reference count is one and so is that of the managed buffer behind it (a slice would hold that),
 * the block has but the loop's reference and the managed buffer's, nobody holds a weak reference,
 * and it was not released. Its cached hash is reset. Between two calls it is empty, because the
 * garbage collector's list of objects is a way to it that nobody counts; what is found there
 * is never memory of a call.
 *
 * This reads and writes fields of memoryobject.h, which are the same in Python 3.10 to 3.13.
 * With a later Python every call gets a new memoryview.
 */
#include "native.h"

#if PY_VERSION_HEX < 0x030E0000
#define KNOWN_MEMORYVIEW 1
#else
#define KNOWN_MEMORYVIEW 0
#endif

#if KNOWN_MEMORYVIEW

static char nothing[1];

static bool is_released(const PyMemoryViewObject *view)
{
    return (view->flags & _Py_MEMORYVIEW_RELEASED) != 0 ||
           (view->mbuf->flags & _Py_MANAGED_BUFFER_RELEASED) != 0;
}

/* Whether nobody but the loop can reach the view, what is behind it, or the block. */
static bool is_sole(const struct carom_py_lease *lease)
{
    const PyMemoryViewObject *view = (const PyMemoryViewObject *)lease->view;

    return view != NULL && Py_REFCNT(view) == 1 && Py_REFCNT(view->mbuf) == 1 &&
           Py_REFCNT(lease->block) == 2 && view->weakreflist == NULL && !is_released(view);
}

/* Points the view, the managed buffer and the block at other memory. */
static void point_at(struct carom_py_lease *lease, void *data, Py_ssize_t length_bytes)
{
    PyMemoryViewObject *view = (PyMemoryViewObject *)lease->view;

    view->hash = -1;
    view->view.buf = data;
    view->view.len = length_bytes;
    view->view.shape[0] = length_bytes;
    view->mbuf->master.buf = data;
    view->mbuf->master.len = length_bytes; /* is its shape, too */
    lease->block->data = data;
    lease->block->length_bytes = length_bytes;
    lease->block->extent_bytes = length_bytes;
}

/* Points an unreachable view at a request. False: there is none, a new one is needed. */
static bool renew(struct carom_py_lease *lease, void *data, Py_ssize_t length_bytes)
{
    if (!is_sole(lease))
        return false;
    point_at(lease, length_bytes > 0 ? data : nothing, length_bytes);
    return true;
}

static bool put_aside(struct carom_py_lease *lease)
{
    if (!is_sole(lease))
        return false;
    point_at(lease, nothing, 0);
    return true;
}

/* Where the bytes of a contiguous memoryview are, without the ceremony of the buffer protocol.
 * They stay there as long as the GIL is held and the object is referenced. */
bool carom_py_peek_memory(PyObject *object, const void **data, Py_ssize_t *length_bytes)
{
    const PyMemoryViewObject *view = (const PyMemoryViewObject *)object;

    if (!PyMemoryView_Check(object) || is_released(view) || !(view->flags & _Py_MEMORYVIEW_C))
        return false;
    *data = view->view.buf;
    *length_bytes = view->view.len;
    return true;
}

#else

static bool renew(struct carom_py_lease *lease, void *data, Py_ssize_t length_bytes)
{
    (void)lease, (void)data, (void)length_bytes;
    return false;
}

static bool put_aside(struct carom_py_lease *lease)
{
    (void)lease;
    return false;
}

bool carom_py_peek_memory(PyObject *object, const void **data, Py_ssize_t *length_bytes)
{
    (void)object, (void)data, (void)length_bytes;
    return false;
}

#endif

/* A read-only memoryview of a request, owned by the lease until carom_py_lease_end. NULL with an
 * exception. */
PyObject *carom_py_lease_begin(struct carom_py_lease *lease, const void *data,
                               Py_ssize_t length_bytes)
{
    void *memory = (void *)(uintptr_t)data;

    if (renew(lease, memory, length_bytes))
        return lease->view;
    Py_CLEAR(lease->view);
    if (lease->block != NULL && Py_REFCNT(lease->block) > 1)
        Py_CLEAR(lease->block); /* found between two calls, when it was empty */
    if (lease->block == NULL && (lease->block = carom_py_block_new(true)) == NULL)
        return NULL;
    lease->block->extent_bytes = 0;
    return lease->view = carom_py_block_view(lease->block, memory, length_bytes);
}

/* Takes the view back, right before the request is finished; if somebody kept a way to the memory,
 * it becomes theirs (block.c). Without a request the memory is static and stays as it is. */
void carom_py_lease_end(struct carom_py_lease *lease, struct carom_request *request)
{
    if (lease->block == NULL || put_aside(lease))
        return;
    Py_CLEAR(lease->view);
    if (request == NULL)
        Py_CLEAR(lease->block);
    else
        carom_py_block_settle(&lease->block, request, CAROM_REQUEST_BLOCK);
}
