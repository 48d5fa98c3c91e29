# SPDX-License-Identifier: Apache-2.0
"""Looking at a service from outside, read-only."""

from __future__ import annotations

from types import TracebackType

from carom.binding import ObserverHandle
from carom.records import ClientRecord, ServiceRecord, WorkerRecord


class Observer:
    """A read-only connection for tools. A context manager; one thread at a time.

    service  name, or path of the socket if there is a "/" in it

    Raises as `carom.connect`, but waits for nothing. Once the host has gone its methods raise
    ConnectionResetError.
    """

    def __init__(self, service: str) -> None:
        self._handle = ObserverHandle(service)

    def service(self) -> ServiceRecord:
        """State, methods and numbers of peers, now."""
        return self._handle.service()

    def workers(self) -> list[WorkerRecord]:
        """Every worker with its counters, now."""
        return self._handle.workers()

    def clients(self) -> list[ClientRecord]:
        """Every client, now."""
        return self._handle.clients()

    def description(self) -> str:
        """What the keeper of the service said of it last (`Host.describe`); "" if nothing."""
        return self._handle.description()

    def close(self) -> None:
        """Disconnects."""
        self._handle.close()

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
