# SPDX-License-Identifier: Apache-2.0
"""Owning a service in this process: its host, on a thread of its own."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from threading import Thread
from types import TracebackType

from carom.address import socket_path
from carom.binding import HostHandle
from carom.records import State, Waiting


class Host:
    """Claims a service's name and looks after its peers until close(). A context manager.

    service       name, or path of the socket if there is a "/" in it
    allowed_uids  users who may connect besides this process's own
    max_clients, max_workers, max_slots, max_block_bytes
                  limits; 0 means 1024, 256, 4096 per client, 1 GiB
    quarantine    folder where a request that killed two workers is written
    event_fd      a pipe that gets a line per event (carom.h, struct carom_host_options); 0 none
    ended         called on the host's thread when it ends, stopped or failed

    Raises OSError (EADDRINUSE: a live host serves this name), PermissionError, ValueError.
    """

    def __init__(
        self,
        service: str,
        *,
        allowed_uids: Sequence[int] = (),
        max_clients: int = 0,
        max_workers: int = 0,
        max_slots: int = 0,
        max_block_bytes: int = 0,
        quarantine: str | None = None,
        event_fd: int = 0,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = socket_path(service)
        self.error: Exception | None = None
        self._ended = ended
        self._handle = HostHandle(
            service,
            allowed_uids,
            max_clients=max_clients,
            max_workers=max_workers,
            max_slots=max_slots,
            max_block_bytes=max_block_bytes,
            quarantine=quarantine,
            event_fd=event_fd,
        )
        self._thread: Thread | None = Thread(target=self._run, name="carom-host", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def wait_ready(self, workers: int = 1, timeout: float | None = None) -> None:
        """Until so many workers are ready.

        Raises TimeoutError after `timeout` seconds, ConnectionAbortedError when stopped.
        """
        self._handle.wait_ready(workers, timeout)

    def note_end(self, pid: int, reason: str) -> None:
        """What the callers of a process's workers are told about its end.

        To be said before the process is reaped. Without it the host finds a signal out by itself.
        """
        self._handle.note_end(pid, reason)

    def dismiss(self, pid: int) -> int:
        """Asks the workers of a process to leave after their call; how many there are."""
        return self._handle.dismiss(pid)

    def waiting(self) -> Waiting:
        """Calls that no worker has claimed yet. To be asked regularly."""
        return self._handle.waiting()

    def describe(self, state: State, description: str) -> None:
        """How the service is, for tools (`Observer.description`)."""
        self._handle.describe(state, description)

    def stop(self) -> None:
        """Tells clients and workers that the service ends; no call begins any more."""
        self._handle.stop()

    def close(self) -> None:
        """Stops, removes the socket, disconnects every peer."""
        if self._thread is None:
            return
        self._handle.stop()
        self._thread.join()
        self._thread = None
        self._handle.close()
        atexit.unregister(self.close)

    def _run(self) -> None:
        try:
            self._handle.run()
        except Exception as error:  # for the thread that looks after this one
            self.error = error
        self._ended()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
