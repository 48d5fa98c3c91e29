# SPDX-License-Identifier: Apache-2.0
"""Executing the calls of a service in this process. The loop itself is native/dispatch.c."""

from __future__ import annotations

from types import TracebackType

from carom.binding import WorkerHandle
from carom.service import Service

JOIN_TIMEOUT_S = 10.0


class Worker:
    """Joins a service that a host offers, and runs its calls in the thread that calls run().

    service  its methods are the ones served; methods added later are not
    name     of the service to join, if it is not service.name
    timeout  seconds to wait for the host to appear; None waits for ever
    spin     True spins while it pays, for what a wake-up costs at most; seconds: for so long at
             most; False sleeps at once

    A context manager: leaving it leaves the service. Raises as `carom.connect`.
    """

    def __init__(
        self,
        service: Service,
        *,
        name: str | None = None,
        timeout: float | None = JOIN_TIMEOUT_S,
        spin: bool | float = True,
    ) -> None:
        if not service.methods:
            raise ValueError(f"service {service.name!r} has no methods: use @service.method")
        self._handlers = tuple(
            (method.name, method.handler, method.takes_context)
            for method in service.methods.values()
        )
        self._handle = WorkerHandle(name or service.name, list(service.methods), timeout, spin=spin)
        self.id = self._handle.id

    def run(self) -> None:
        """Runs calls until stop(), or until the service stops.

        Raises ConnectionResetError when the host dies, and what a signal handler of Python or a
        handler raises to end the process: KeyboardInterrupt, SystemExit.
        """
        self._handle.serve(self._handlers)

    def stop(self) -> None:
        """Makes run() return after the call it is running. From any thread."""
        self._handle.stop()

    def stop_on_sigterm(self) -> None:
        """Lets SIGTERM do the same, even while a handler computes. For the main program."""
        self._handle.stop_on_sigterm()

    def close(self) -> None:
        """Leaves the service."""
        self._handle.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
