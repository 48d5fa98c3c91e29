# SPDX-License-Identifier: Apache-2.0
"""What becomes of an exception that a handler raised: status, type, message, traceback.

Called from the dispatch loop (native/dispatch.c), only when a call fails.
"""

from __future__ import annotations

import traceback

from carom.errors import Error
from carom.status import Status

STATUSES: list[tuple[type[BaseException], Status]] = [
    (MemoryError, Status.RESOURCE_EXHAUSTED),
    (NotImplementedError, Status.UNIMPLEMENTED),
    (KeyboardInterrupt, Status.ABORTED),
    (SystemExit, Status.ABORTED),
]


def describe(exception: BaseException) -> tuple[int, bytes, bytes, bytes]:
    """Status, type, message and traceback, the texts as UTF-8 without NUL.

    The traceback begins with the handler's own frame, because it is called from C.
    """
    text = "".join(traceback.TracebackException.from_exception(exception).format())
    return (
        status_of(exception),
        encoded(name_of(type(exception))),
        encoded(message_of(exception)),
        encoded(text),
    )


def status_of(exception: BaseException) -> Status:
    """What an exception means to the caller; `carom.Error` says it itself."""
    if isinstance(exception, Error):
        return exception.status
    for kind, status in STATUSES:
        if isinstance(exception, kind):
            return status
    return Status.UNKNOWN


def name_of(kind: type[BaseException]) -> str:
    """Name of an exception's type as tracebacks show it: "ValueError", "package.Error"."""
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def message_of(exception: BaseException) -> str:
    """Text of an exception, even of one that cannot say it."""
    try:
        return str(exception)
    except Exception:  # user code again; what it raises helps nobody
        return "<the exception's text could not be made>"


def encoded(text: str) -> bytes:
    """UTF-8 for C: no NUL, lone surrogates written out."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace")


def reply_too_large(wanted_bytes: int, capacity_bytes: int) -> Error:
    """Made when a handler returns, or asks for, more than its reply block holds."""
    return Error(
        Status.RESOURCE_EXHAUSTED,
        f"a reply of {wanted_bytes} bytes does not fit its block of {capacity_bytes} bytes; "
        "send less, or let the client connect with larger reply_block_bytes",
    )
