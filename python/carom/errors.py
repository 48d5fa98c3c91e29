# SPDX-License-Identifier: Apache-2.0
"""Exceptions of carom's own. Everything else is a built-in type: see `carom.binding.failure`."""

from __future__ import annotations

import sys

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


class RemoteError(Exception):
    """A call that reached the service and ended with another status than OK.

    status     `carom.Status`
    type       name of the exception in the worker, such as "ValueError"; "carom.WorkerDied"
    message    its text
    traceback  the worker's traceback as text, "" if there is none
    worker     id of the worker within the service
    """

    def __init__(
        self, status: Status, type: str, message: str, traceback: str = "", worker: int = -1
    ) -> None:
        super().__init__(status, type, message, traceback, worker)
        self.status = status
        self.type = type
        self.message = message
        self.traceback = traceback
        self.worker = worker
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


for _public in (Error, RemoteError, UnknownMethodError, ApplicationError):
    _public.__module__ = "carom"
