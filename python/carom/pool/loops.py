# SPDX-License-Identifier: Apache-2.0
"""The dispatch loops of a worker process: one in the main thread, the others in threads.

They begin together and end together: when one of them ends, for whatever reason, the others end
after their present call.
"""

from __future__ import annotations

import os
import sys
from queue import SimpleQueue
from threading import Thread
from typing import NoReturn

from carom.dispatch import Worker
from carom.service import Service

INTERRUPTED = 130
"""Exit status after KeyboardInterrupt, as the shell says it."""


class Loops:
    """Connections of one process to a service. Raises as `carom.Worker`.

    threads  how many
    timeout  seconds after which a call counts as stuck, if its method does not say it
    """

    def __init__(
        self,
        service: Service,
        name: str,
        threads: int,
        *,
        spin: bool | float,
        timeout: float | None,
    ) -> None:
        self.errors: list[BaseException] = []
        self._timeout = timeout
        self._pid = os.getpid()
        self._ends: SimpleQueue[None] = SimpleQueue()
        self._workers: list[Worker] = []
        try:
            for _ in range(threads):
                worker = Worker(service, name=name, spin=spin)
                self._workers.append(worker)
                worker.stop_on_sigterm()
        except BaseException:
            self.close()
            raise
        self._threads = [
            Thread(target=self._run, args=(worker,), name=f"carom-{number}", daemon=True)
            for number, worker in enumerate(self._workers[1:], 1)
        ]

    @property
    def ids(self) -> list[int]:
        """Within the service."""
        return [worker.id for worker in self._workers]

    def start(self) -> None:
        """Lets the threads begin; the main one follows with run(). RuntimeError if it cannot."""
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:
            self.stop()
            raise

    def run(self) -> None:
        """Runs calls in all threads until all have stopped; why they did is in `errors`."""
        self._run(self._workers[0])
        for _ in self._workers:
            self._ends.get()  # signal handlers run meanwhile, which join() does not promise
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Lets all loops end after their present call."""
        for worker in self._workers:
            worker.stop()

    def interrupt(self) -> None:
        """In the main thread: TimeoutError for handlers that have run longer than they may."""
        for worker in reversed(self._workers):  # the main thread's own last: it raises here
            worker.interrupt(self._timeout)

    def close(self) -> None:
        """Leaves the service."""
        for worker in self._workers:
            worker.close()

    def abandon(self) -> None:
        """Instead of close() when something has closed the file descriptors of this process."""
        for worker in self._workers:
            worker.abandon()

    def _run(self, worker: Worker) -> None:
        error = None
        try:
            worker.run()
        except BaseException as raised:  # a handler's SystemExit, or what signal handlers raise
            error = raised
        if os.getpid() != self._pid:
            end_forked_child(error)
        if error is not None:
            self.errors.append(error)
        self.stop()
        self._ends.put(None)


def end_forked_child(error: BaseException | None) -> NoReturn:
    """A handler has forked and its child has come out of it: here it ends, as an ordinary program
    would if the handler called sys.exit, and without a word otherwise."""
    status = exit_status(error) if isinstance(error, SystemExit) else 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
    os._exit(status)


def exit_status(error: BaseException) -> int:
    """What Python makes of an exception that ends the process."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    code = error.code if isinstance(error, SystemExit) else 1
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1
