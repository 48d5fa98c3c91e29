# SPDX-License-Identifier: Apache-2.0
"""Exceptions of carom's own. Everything else is a built-in type: see `carom.binding.failure`."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from carom.status import Status


class Error(Exception):
    """Raised by a handler to choose the status that its caller gets.

    status   any `carom.Status` but OK
    message  for a person, on one line
    """

    def __init__(self, status: Status | int, message: str = "") -> None:
        if not 1 <= status <= max(Status):
            raise ValueError(f"status {status!r} is not that of an error: use 1 to {max(Status)}")
        super().__init__(Status(status), message)
        self.status = Status(status)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Cancelled(Error):
    """Raised by `Context.check` when the caller has cancelled the call, or has left."""

    def __init__(self, message: str = "the caller does not wait for this call any more") -> None:
        super().__init__(Status.CANCELLED, message)
        self.args = (message,)


class Cause(NamedTuple):
    """One link of the chain behind a remote error: what was raised before it."""

    type: str
    message: str


class RemoteError(Exception):
    """A call that reached the service and ended with another status than OK.

    status     `carom.Status`
    type       name of the exception in the worker, such as "ValueError"; "carom.WorkerDied"
    message    its text
    traceback  the worker's traceback as text, "" if there is none
    worker     id of the worker within the service; -1 none
    time       when it failed, seconds since the epoch; None unknown
    causes     what was raised before it, the direct cause first
    """

    def __init__(
        self,
        status: Status,
        type: str,
        message: str,
        traceback: str = "",
        worker: int = -1,
        time: float | None = None,
        causes: tuple[Cause, ...] = (),
    ) -> None:
        # Not OSError's, which some of the types below inherit and which takes its first argument
        # for an errno.
        Exception.__init__(self, status, type, message, traceback, worker, time, causes)
        self.status = status
        self.type = type
        self.message = message
        self.traceback = traceback
        self.worker = worker
        self.time = time
        self.causes = causes
        if traceback and sys.version_info >= (3, 11):
            self.add_note(self._remote())

    def __str__(self) -> str:
        line = f"{self.type}: {self.message}" if self.message else self.type
        if self.status is not Status.UNKNOWN:
            line = f"{self.status.name}: {line}"
        if self.traceback and sys.version_info < (3, 11):
            return f"{line}\n{self._remote()}"  # no notes there
        return line

    def _remote(self) -> str:
        return f"\nIn worker {self.worker}:\n\n{self.traceback.rstrip()}"


class RemoteTimeoutError(RemoteError, TimeoutError):
    """DEADLINE_EXCEEDED: the worker gave up. What expired here is a plain TimeoutError."""


class RemoteUnavailableError(RemoteError, ConnectionError):
    """UNAVAILABLE: the worker died, or there is none that could take the call."""


class RemoteUnimplementedError(RemoteError, NotImplementedError):
    """UNIMPLEMENTED: the worker does not serve this method, or not yet."""


class RemotePermissionError(RemoteError, PermissionError):
    """PERMISSION_DENIED: the handler refused."""


class RemoteLookupError(RemoteError, LookupError):
    """NOT_FOUND: there is no such thing."""


REMOTE_ERRORS: dict[Status, type[RemoteError]] = {
    Status.DEADLINE_EXCEEDED: RemoteTimeoutError,
    Status.UNAVAILABLE: RemoteUnavailableError,
    Status.UNIMPLEMENTED: RemoteUnimplementedError,
    Status.PERMISSION_DENIED: RemotePermissionError,
    Status.NOT_FOUND: RemoteLookupError,
}


def remote_error(status: Status, *details: Any, **more: Any) -> RemoteError:
    """The exception for a status, of a built-in type where one fits; arguments as RemoteError's."""
    return REMOTE_ERRORS.get(status, RemoteError)(status, *details, **more)


class UnknownMethodError(KeyError):
    """The service has no method of that name; the text lists those it has."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ApplicationError(Exception):
    """What `carom serve` was asked to serve cannot be served; the text is one line for a person.

    traceback  of the application's own import, "" when it did not get so far
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message, traceback)
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return self.message


for _public in (
    ApplicationError,
    Cancelled,
    Cause,
    Error,
    RemoteError,
    RemoteLookupError,
    RemotePermissionError,
    RemoteTimeoutError,
    RemoteUnavailableError,
    RemoteUnimplementedError,
    UnknownMethodError,
):
    _public.__module__ = "carom"
