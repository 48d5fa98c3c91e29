# SPDX-License-Identifier: Apache-2.0
"""The load generator of `carom bench`: connections, a thread for each, and what they measured.

The threads run in C without the interpreter lock (native/load.c); Python only starts, watches and
stops them.
"""

from __future__ import annotations

import time
from threading import Event, Lock, Thread
from types import TracebackType

from carom.binding import ClientHandle, LoadHandle, bucket_lasts, latency_counts
from carom.load import Histogram, Result, Work, plans

DEPTH_MOST = 4096
SLOTS_LEAST = 256
BLOCK_LEAST_BYTES = 64 << 20
HEAD_START_S = 0.02
HEAD_START_EACH_S = 0.0005
STOP_AGAIN_S = 0.05


class Generator:
    """Connects at once; then start(), wait() until true, result(). stop() ends it early.

    A context manager: leaving it stops the threads and disconnects. Raises as `connect` does, and
    UnknownMethodError. stop() may be called by a signal handler, the rest by one thread.
    """

    def __init__(self, service: str, method: str, work: Work, timeout_s: float) -> None:
        self.work = work
        self._begun_ns = 0
        self._clients: list[ClientHandle] = []
        self._loads: list[LoadHandle] = []
        self._threads: list[Thread] = []
        self._left = work.connections
        self._lock = Lock()
        self._ended = Event()
        self._stopping = False
        try:
            self._connect(service, method, timeout_s)
        except BaseException:
            self.close()
            raise

    def _connect(self, service: str, method: str, timeout_s: float) -> None:
        for _ in range(self.work.connections):
            client = ClientHandle(
                service,
                timeout_s,
                slots=slots_for(self.work.depth),
                request_block_bytes=max(BLOCK_LEAST_BYTES, len(self.work.data)),
            )
            self._clients.append(client)
            self._method = client.method(method)  # fails after one connection, not after all

    def start(self) -> None:
        """Begins shortly after now, everywhere at the same time."""
        head_start_s = HEAD_START_S + HEAD_START_EACH_S * self.work.connections
        self._begun_ns = time.monotonic_ns() + int(head_start_s * 1e9)
        for client, plan in zip(self._clients, plans(self.work, self._begun_ns), strict=True):
            self._loads.append(LoadHandle(client, self._method, plan))
        for load in self._loads:
            thread = Thread(target=self._run, args=(load,), daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise OSError(f"cannot start {self.work.connections} threads: {error}") from None
            self._threads.append(thread)

    def _run(self, load: LoadHandle) -> None:
        try:
            load.run()
        finally:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Whether all threads have ended, after at most so many seconds."""
        if not self._stopping:
            return self._ended.wait(seconds)
        self.stop()  # again: a thread may have been about to sleep the last time
        return self._ended.wait(STOP_AGAIN_S)

    def stop(self) -> None:
        """Ends early; calls in flight are given up."""
        self._stopping = True
        for load in self._loads:
            load.stop()

    @property
    def measured_s(self) -> float:
        """Seconds since the end of the warm-up; negative before it."""
        return (time.monotonic_ns() - self._begun_ns) / 1e9 - self.work.warm_up_s

    def counts(self, *, failed: bool) -> list[int]:
        """Calls so far by latency, while it runs: of those with OK, or of those that failed."""
        return latency_counts(self._loads, failed=failed)

    def result(self) -> Result:
        """What was measured. When wait() was true."""
        reports = [load.report() for load in self._loads]
        measured_ns = self._begun_ns + int(self.work.warm_up_s * 1e9)
        ok, failed = (
            Histogram(
                self.counts(failed=bool(kind)),
                bucket_lasts(),
                sum(report.total_ns[kind] for report in reports),
                max(report.max_ns[kind] for report in reports),
            )
            for kind in (0, 1)
        )
        seconds = max(0, max(report.end_ns for report in reports) - measured_ns) / 1e9
        early = self._stopping or any(report.lost is not None for report in reports)
        if self.work.calls is not None and self.work.rate is not None and not early:
            seconds = max(seconds, self.work.calls / self.work.rate)
        return Result(
            work=self.work,
            seconds=seconds,
            begun_ns=self._begun_ns,
            interrupted=self._stopping,
            ok=ok,
            failed=failed,
            reports=reports,
        )

    def close(self) -> None:
        """Stops what runs, frees and disconnects."""
        while any(thread.is_alive() for thread in self._threads):
            self.stop()
            for thread in self._threads:
                thread.join(STOP_AGAIN_S)
        for load in self._loads:
            load.close()
        for client in self._clients:
            client.close()

    def __enter__(self) -> Generator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def slots_for(depth: int) -> int:
    """A power of two with room for calls that timed out while a worker was busy with them."""
    return min(DEPTH_MOST, max(SLOTS_LEAST, 1 << (2 * depth - 1).bit_length()))
