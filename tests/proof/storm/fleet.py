# SPDX-License-Identifier: Apache-2.0
"""The service and its clients, as the driver starts, watches and ends them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carom import Observer
from tally import PAUSE, RUN, STOP, Notice, Tallies, Tally
from tree import Broken, Target, Tree, belongings, children

RECORD_BYTES = 16
IN_FLIGHT = 6
"""Calls that a thread has begun and not ended at the most: BURST of client.c."""


class Service:
    """One `carom serve`; its process may be killed and is then started again by restart()."""

    def __init__(self, tree: Tree, folder: Path, *options: str) -> None:
        self.tree = tree
        self.log = folder / "log"
        self.preloads = "--no-preload" not in options
        self.pid = 0
        self._command = [sys.executable, "-m", "carom", "serve", "application:service"]
        self._command += ["--max-crashes=0", "--crash-window=1ms", *options]
        self._stdout = -1
        self._line = b""
        self._observer: Observer | None = None
        self.restart()

    def restart(self) -> None:
        """A new supervisor, in place of one that has ended."""
        self.close()
        self._line = b""
        self._stdout, writer = os.pipe()
        os.set_blocking(self._stdout, False)
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self.pid = self.tree.start(self._command, writer, log)
        finally:
            os.close(writer)
            os.close(log)

    def is_announced(self) -> bool:
        """Whether all its workers have been ready once; then it can be looked at."""
        if not self._line.endswith(b"\n"):
            with contextlib.suppress(BlockingIOError):
                self._line += os.read(self._stdout, 4096)
        return self._line.endswith(b"\n")

    def describe(self) -> dict[str, Any] | None:
        """What the supervisor says; None: it is not there, or does not answer now."""
        observer = self.observe()
        if observer is None:
            return None
        try:
            described: dict[str, Any] = json.loads(observer.description())
        except (OSError, ValueError):
            self.look_away()
            return None
        return described

    def observe(self) -> Observer | None:
        if self._observer is None and self.is_announced():
            with contextlib.suppress(OSError):
                self._observer = Observer("storm")
        return self._observer

    def look_away(self) -> None:
        """Closes the observer, which the host counts among its peers."""
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def running(self, method: str) -> list[int]:
        """Workers that run a method."""
        observer = self.observe()
        try:
            workers = observer.workers() if observer is not None else []
        except OSError:
            self.look_away()
            return []
        return [worker.pid for worker in workers if worker.running == method]

    def is_ready(self) -> bool:
        """As many workers as wanted are ready, and a template waits, if there is to be one."""
        described = self.describe()
        if described is None:
            return False
        if described["state"] != "ready" or (self.preloads and described["template"] is None):
            return False
        stages = [worker["stage"] for worker in described["workers"]]
        return stages == ["ready"] * described["wanted"]

    def is_idle(self) -> bool:
        """The same, and nobody runs a call."""
        if not self.is_ready() or self._observer is None:
            return False
        return all(worker.running is None for worker in self._observer.workers())

    def template(self) -> int | None:
        described = self.describe()
        return described["template"] if described else None

    def workers(self) -> list[int]:
        """Processes that are workers or will be, as the kernel sees them. None before the
        service is announced, nor while the template cannot be told from them.
        """
        template = self.template()
        if not self.is_announced() or (self.preloads and template is None):
            return []
        return [pid for pid in children(self.pid) if pid != template]

    def aim(self, pid: int) -> Target | None:
        """A worker or the template, unless it is gone."""
        with contextlib.suppress(ProcessLookupError):
            return Target(pid, self.pid)
        return None

    def belongings(self) -> dict[str, list[Counter[str]]]:
        """Of host, template and workers; the workers in any order."""
        template = self.template()
        workers = self.workers()
        self.look_away()
        found = {"host": [belongings(self.pid)], "workers": [belongings(pid) for pid in workers]}
        if template is not None:
            found["template"] = [belongings(template)]
        found["workers"].sort(key=lambda counter: sorted(counter.items()))
        return found

    def stop(self) -> None:
        """In order: exit status 0."""
        self.look_away()
        self.tree.signal(self.pid, signal.SIGTERM)
        status = self.tree.wait(self.pid, "end", "the service to stop")
        if status != 0:
            raise Broken("end", f"the service ended with status {status}: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-12:])

    def close(self) -> None:
        self.look_away()
        if self._stdout >= 0:
            os.close(self._stdout)
            self._stdout = -1


@dataclass
class Client:
    """One of the fleet's clients, in its present life."""

    number: int
    threads: int
    mode: str
    launch: int = 0
    pid: int = 0


@dataclass
class Runs:
    """What is known of the calls of `once` of one launch."""

    begun: int = 0
    replies: int = 0


@dataclass
class Fleet:
    """Clients, each started again when it has been killed, and what all have written down."""

    tree: Tree
    program: Path
    folder: Path
    modes: list[tuple[int, str]]
    """Threads and kind of load of each client."""
    total: Tally = field(default_factory=Tally)
    runs: dict[int, Runs] = field(default_factory=dict)
    launches: int = 0
    run_count: int = 0

    def __post_init__(self) -> None:
        self.tallies = Tallies(self.folder / "tallies", len(self.modes))
        self.runs_path = self.folder / "runs"
        self.runs_path.write_bytes(b"")
        self.clients = [Client(i, *mode) for i, mode in enumerate(self.modes)]

    def start(self) -> None:
        self.resume()
        for client in self.clients:
            self.launch(client)

    def launch(self, client: Client) -> None:
        """Its next life."""
        self.launches += 1
        client.launch = self.launches
        words = [self.program, self.tallies.path, client.number, client.launch, client.threads]
        program, path, *numbers = map(str, words)
        client.pid = self.tree.start([program, "storm", path, *numbers, client.mode], 1, 2)

    # ---- what it has written down

    def now(self, client: Client) -> Tally:
        """All its threads together."""
        tally = Tally()
        for thread in range(client.threads):
            tally.add(self.tallies.read(client.number, thread))
        return tally

    def heard(self, client: Client, thread: int, since: int) -> list[Notice]:
        return self.tallies.notices(client.number, thread, since)

    def check(self, client: Client, in_flight: int) -> None:
        """Its calls ended as they may; at most so many in each thread have not ended."""
        for thread in range(client.threads):
            tally = self.tallies.read(client.number, thread)
            if tally.wrong:
                raise Broken("calls", self.tallies.text(client.number))
            if not 0 <= tally.begun - tally.ended <= in_flight:
                raise Broken("calls", f"launch {client.launch} ended otherwise: {tally}")

    def bury(self, client: Client) -> None:
        """Takes over what it had written when it died or ended."""
        self.check(client, IN_FLIGHT)
        runs = self.runs.setdefault(client.launch, Runs())
        for thread in range(client.threads):
            tally = self.tallies.read(client.number, thread)
            self.total.add(tally)
            runs.begun += tally.once_begun
            runs.replies += tally.once_replies
        self.tallies.clear(client.number)
        client.pid = 0

    def tend(self) -> None:
        """Starts again who was killed."""
        for client in self.clients:
            status = self.tree.ended(client.pid)
            if status is None:
                continue
            if status != -signal.SIGKILL:
                text = self.tallies.text(client.number)
                raise Broken("calls", f"launch {client.launch} ended with {status}: {text}")
            self.bury(client)
            self.launch(client)

    # ---- quiet points

    def pause(self) -> None:
        """Every thread has ended its calls and begins no other."""
        self.tallies.command(PAUSE)
        self.tree.until(self._is_parked, "calls", lambda: f"calls to end: {self._hanging()}")
        for client in self.clients:
            self.check(client, 0)

    def resume(self) -> None:
        self.tallies.command(RUN)

    def belongings(self) -> list[Counter[str]]:
        """Of each client."""
        return [belongings(client.pid) for client in self.clients]

    def _is_parked(self) -> bool:
        self.tend()
        return all(
            self.tallies.read(client.number, thread).parked
            for client in self.clients
            for thread in range(client.threads)
        )

    def _hanging(self) -> str:
        found = []
        for client in self.clients:
            for thread in range(client.threads):
                tally = self.tallies.read(client.number, thread)
                if not tally.parked:
                    found.append(f"launch {client.launch} thread {thread} in {tally.operation!r}")
        return ", ".join(found)

    def stop(self) -> None:
        """Every client ends by itself."""
        self.tallies.command(STOP)
        for client in self.clients:
            what = f"launch {client.launch} to end: {self._hanging()}"
            status = self.tree.wait(client.pid, "calls", what)
            if status != 0:
                text = self.tallies.text(client.number)
                raise Broken("calls", f"launch {client.launch} ended with {status}: {text}")
            self.bury(client)

    def count_runs(self) -> None:
        """No call of `once` ran twice, and none was answered that had not run. Nobody runs one."""
        content = self.runs_path.read_bytes()
        records = Counter(
            content[at : at + RECORD_BYTES] for at in range(0, len(content), RECORD_BYTES)
        )
        twice = [record for record, count in records.items() if count > 1]
        if twice:
            launch, thread = (int.from_bytes(twice[0][at : at + 4], "little") for at in (0, 4))
            number = int.from_bytes(twice[0][8:], "little")
            text = f"launch {launch} thread {thread} call {number} ran {records[twice[0]]} times"
            raise Broken("once", f"{len(twice)} calls of 'once' ran more than once: {text}")
        ran = Counter(int.from_bytes(record[:4], "little") for record in records)
        for launch in ran.keys() | self.runs.keys():
            runs = self.runs.get(launch, Runs())
            if not runs.replies <= ran[launch] <= runs.begun:
                text = f"of {runs.begun} calls {ran[launch]} ran and {runs.replies} were answered"
                raise Broken("once", f"launch {launch}: {text}")
        self.run_count += len(records)
        self.runs.clear()
        self.runs_path.write_bytes(b"")

    def close(self) -> None:
        self.tallies.close()
