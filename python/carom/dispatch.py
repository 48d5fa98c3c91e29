# SPDX-License-Identifier: Apache-2.0
"""Executing the calls of a service in this process. The loop itself is native/dispatch.c."""

from __future__ import annotations

import time
from types import TracebackType

from carom.binding import WorkerHandle
from carom.service import Service

JOIN_TIMEOUT_S = 10.0
TICK_S = 0.01
"""The clock that says when a call began is this coarse at the most."""


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
        methods = service.methods.values()
        # From a list: tuple() of a generator fails if somebody holds it before it is whole, as a
        # profiler can that calls gc.get_objects().
        self._handlers = tuple([(m.name, m.handler, m.takes_context) for m in methods])
        self._timeouts = tuple([method.timeout for method in methods])
        self._handle = WorkerHandle(
            name or service.name,
            {method.name: method.idempotent for method in methods},
            timeout,
            spin=spin,
        )
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

    def interrupt(self, timeout: float | None = None) -> None:
        """Raises TimeoutError in the handler of a call that has run longer than it may.

        timeout  seconds that methods get which have no timeout of their own; None: any time

        A handler that waits in C sees it afterwards. Nothing happens between two calls. From any
        thread; in that of run() itself it may be called by a signal handler only.
        """
        running = self._handle.running()
        if running is None:
            return
        own = self._timeouts[running[0]]
        limit = timeout if own is None else own
        if limit is None or time.monotonic() - running[1] / 1e9 < limit - TICK_S:
            return
        text = f"the call ran longer than its timeout of {limit:g} s"
        if self._handle.interrupt(running, timeout_error(text)):
            raise TimeoutError(text)

    def abandon(self) -> None:
        """Instead of close() when something has closed the file descriptors of this process."""
        self._handle.abandon()

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


def timeout_error(text: str) -> type[TimeoutError]:
    """TimeoutError as a class that brings its text along: other threads get a class only."""

    def begin(self: TimeoutError) -> None:
        TimeoutError.__init__(self, text)

    return type("TimeoutError", (TimeoutError,), {"__init__": begin, "__module__": "builtins"})
