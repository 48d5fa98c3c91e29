# SPDX-License-Identifier: Apache-2.0
"""Planted bugs in the Python package."""

from __future__ import annotations

from planted.bug import bug

BUGS = (
    bug(
        "lease_used_while_held",
        "a view is used again for the next request although a handler holds it",
        (
            "python/native/lease.c",
            """view != NULL && Py_REFCNT(view) == 1 && Py_REFCNT""",
            """view != NULL && Py_REFCNT""",
        ),
    ),
    bug(
        "reply_view_stays_shared",
        "a kept view of a reply goes on being the reply block, for reading and writing",
        (
            "python/native/dispatch.c",
            """        carom_py_block_settle(&loop->reply, request, CAROM_REPLY_BLOCK);""",
            """        Py_CLEAR(loop->reply);""",
        ),
    ),
    bug(
        "context_asked_too_early",
        "whether the call is over is asked before the size of a reply, which runs Python code",
        (
            "python/native/context.c",
            """    /* First: this may run Python code""",
            """    if (live_request(self) == NULL)
        return NULL;
    struct carom_request *request = context->request;
    /* First: this may run Python code""",
        ),
        (
            "python/native/context.c",
            """        return NULL;
    struct carom_request *request = live_request(self);
    if (request == NULL)
        return NULL;
    if (length_bytes < 0)""",
            """        return NULL;
    if (length_bytes < 0)""",
        ),
    ),
    bug(
        "detached_never_freed",
        "memory that became a handler's own stays mapped when the handler lets go",
        (
            "python/native/block.c",
            """    block->owned = bytes > 0;""",
            """    block->owned = false;""",
        ),
    ),
    bug(
        "sigterm_finds_freed_worker",
        "SIGTERM goes on stopping a worker that was collected",
        (
            "python/native/process.c",
            """    carom_py_stop_on_sigterm(worker, false);
    carom_worker_close(worker);""",
            """    carom_worker_close(worker);""",
        ),
    ),
    bug(
        "closed_while_used",
        "close() frees what another thread is in",
        (
            "python/carom/binding.py",
            """            idle = self._users == 0""",
            """            idle = True""",
        ),
    ),
)
