# SPDX-License-Identifier: Apache-2.0
"""respawn_ms and crash_notice_ms: what follows a SIGKILL of one of four workers.

All four are busy with a call that ends only when it is told to, and one more call waits. So when
a worker is killed nobody can run the waiting call but the replacement, and its answer, with a pid
that was never seen before, is the moment at which the replacement has answered. The call of the
killed worker has a thread waiting for it, which notes when it has the error. One kill gives both
figures, each with the other's work going on at the same time.

The oldest worker is always the next; it has lived for more than a second, because a worker that
dies sooner is replaced with a delay on purpose.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from carom import Client
from poolbench.served import PATIENCE_S, Served
from processes import BenchmarkFailed, measure

WORKERS = 4
KILLS = 20
"""In each round."""
CALL_S = 60.0
GROWN_UP_S = 1.1
QUEUED_S = 0.02
"""The thread of the waiting call has submitted it and sleeps after this time."""


class Caller(threading.Thread):
    """A thread that makes one call and notes when it had which outcome."""

    def __init__(self, client: Client, method: str, data: bytes) -> None:
        super().__init__(daemon=True)
        self._ask = partial(client.call, method, data, timeout=CALL_S)
        self.reply = b""
        self.error: Exception | None = None
        self.ended_ns = 0
        self.start()

    def run(self) -> None:
        try:
            self.reply = self._ask()
        except Exception as error:
            self.error = error
        self.ended_ns = time.monotonic_ns()

    def wait(self, what: str) -> None:
        self.join(PATIENCE_S)
        if self.is_alive():
            raise BenchmarkFailed(f"{what}: no outcome in {PATIENCE_S:.0f} s")


@dataclass
class Held:
    """A worker that runs `hold`, and the caller that waits for it."""

    pid: int
    since_s: float
    end: socket.socket
    caller: Caller


class Holder:
    """Keeps workers busy."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._path = str(folder / "hold")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self._path)
        self._socket.listen(64)
        self._socket.settimeout(PATIENCE_S)

    def hold(self) -> Held:
        """One worker more; returns when it is busy."""
        caller = Caller(self._client, "hold", self._path.encode())
        try:
            end, _ = self._socket.accept()
        except TimeoutError:
            raise BenchmarkFailed(f"no worker runs the call: {caller.error}") from None
        end.settimeout(PATIENCE_S)
        return Held(int(end.recv(32)), time.monotonic(), end, caller)

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Death:
    """What one SIGKILL was followed by."""

    respawn_ms: float
    notice_ms: float


def deaths_of_a_round() -> list[Death]:
    """One service, KILLS kills."""
    options = (f"--workers={WORKERS}", "--max-crashes=0")
    with (
        Served("pool_numpy:service", *options) as served,
        all_held(served) as (client, holder, held),
    ):
        known = {worker.pid for worker in held}
        found = []
        for _ in range(KILLS):
            victim = held.pop(0)
            time.sleep(max(0.0, GROWN_UP_S - (time.monotonic() - victim.since_s)))
            found.append(kill(client, victim, known))
            held.append(holder.hold())
        return found


@contextmanager
def all_held(served: Served) -> Iterator[tuple[Client, Holder, list[Held]]]:
    """Every worker is busy; the list may be changed. Afterwards all are let go."""
    with served.client() as client, closing(Holder(client, served.folder)) as holder:
        held: list[Held] = []
        served.wait_for_workers(WORKERS)
        try:
            held.extend(holder.hold() for _ in range(WORKERS))
            yield client, holder, held
        finally:
            for worker in held:
                worker.end.close()
            for worker in held:
                worker.caller.join(PATIENCE_S)


def kill(client: Client, victim: Held, known: set[int]) -> Death:
    """One death, measured and checked."""
    waiting = Caller(client, "pid", b"")
    time.sleep(QUEUED_S)
    killed_ns = time.monotonic_ns()
    os.kill(victim.pid, signal.SIGKILL)
    victim.caller.wait("the call of the killed worker")
    waiting.wait("the call for the replacement")
    victim.end.close()
    if "SIGKILL" not in str(victim.caller.error):
        raise BenchmarkFailed(f"the caller should read of SIGKILL, not: {victim.caller.error}")
    if waiting.error:
        raise BenchmarkFailed(f"the waiting call: {waiting.error}")
    replacement = int(waiting.reply)
    if replacement in known:
        raise BenchmarkFailed(f"worker {replacement} was busy and has answered")
    known.add(replacement)
    return Death(
        respawn_ms=(waiting.ended_ns - killed_ns) / 1e6,
        notice_ms=(victim.caller.ended_ns - killed_ns) / 1e6,
    )


def bare_fork_ms() -> float:
    """What a fork of a process with numpy takes by itself, until the child has said something."""
    script = str(Path(__file__).with_name("bare_fork.py"))
    return measure("bare_fork", [sys.executable, script], os.environ)["fork_ms"]
