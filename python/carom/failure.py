# SPDX-License-Identifier: Apache-2.0
"""What becomes of an exception that a handler raised: status, type, message, traceback, causes.

Called from the dispatch loop (native/dispatch.c), only when a call fails.
"""

from __future__ import annotations

import traceback

from carom.errors import Cancelled, Error, RemoteError
from carom.status import Status

STATUSES: list[tuple[type[BaseException], Status]] = [
    (MemoryError, Status.RESOURCE_EXHAUSTED),
    (NotImplementedError, Status.UNIMPLEMENTED),
    (TimeoutError, Status.DEADLINE_EXCEEDED),
    (KeyboardInterrupt, Status.ABORTED),
    (SystemExit, Status.ABORTED),
]

CAUSES_MOST = 16

Texts = tuple[bytes, bytes]


def describe(exception: BaseException) -> tuple[int, bytes, bytes, bytes, tuple[Texts, ...]]:
    """Status, type, message, traceback and causes, the texts as UTF-8 without NUL.

    The traceback begins with the handler's own frame, because it is called from C.
    """
    text = "".join(traceback.TracebackException.from_exception(exception).format())
    return (
        status_of(exception),
        encoded(name_of(type(exception))),
        encoded(message_of(exception)),
        encoded(text),
        tuple(  # of a list, see Worker
            [
                (encoded(name_of(type(cause))), encoded(message_of(cause)))
                for cause in causes_of(exception)
            ]
        ),
    )


def causes_of(exception: BaseException) -> list[BaseException]:
    """What was raised before an exception, as its traceback shows it, the direct cause first."""
    causes: list[BaseException] = []
    seen = {id(exception)}
    cause = cause_of(exception)
    while cause is not None and id(cause) not in seen and len(causes) < CAUSES_MOST:
        causes.append(cause)
        seen.add(id(cause))
        cause = cause_of(cause)
    return causes


def cause_of(exception: BaseException) -> BaseException | None:
    """The exception that an exception names as its cause, or that was being handled."""
    if exception.__cause__ is not None:
        return exception.__cause__
    return None if exception.__suppress_context__ else exception.__context__


def rehearse(request: memoryview) -> memoryview:
    """Called by a worker in place of a handler before its first call (native/rehearsal.c)."""
    return request


def status_of(exception: BaseException) -> Status:
    """What an exception means to the caller; `carom.Error` says it itself."""
    if isinstance(exception, Error):
        return exception.status
    if isinstance(exception, RemoteError):  # what another service says of itself, not this one
        return Status.UNKNOWN
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


def cancelled() -> Cancelled:
    """Made when a handler asks whether to go on, and nobody waits."""
    return Cancelled()


def reply_too_large(wanted_bytes: int, capacity_bytes: int) -> Error:
    """Made when a handler returns, or asks for, more than its reply block holds."""
    return Error(
        Status.RESOURCE_EXHAUSTED,
        f"a reply of {wanted_bytes} bytes does not fit its block of {capacity_bytes} bytes; "
        "send less, or let the client connect with larger reply_block_bytes",
    )
