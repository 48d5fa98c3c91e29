# SPDX-License-Identifier: Apache-2.0
"""The servers of a run: started when a step needs them, kept while the next ones need them too.

A server that spins is started for each measurement and ended after it, so that it takes no CPU from
the others. All others sleep while they are not asked.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from processes import BenchmarkFailed, Server
from runner.command import Cpus, Words, server_command
from runner.peers import Entry
from runner.points import Place

READY_TIMEOUT_S = 60.0
RETRY_WITHIN_S = 3.0
RETRY_AFTER_S = 0.5
AT_A_TIME = 4


@dataclass
class Running:
    """A server and where its clients reach it; without a process when the peer needs none."""

    at: str
    server: Server | None = None
    ready_ms: float = 0.0

    @property
    def pid(self) -> int | None:
        return self.server.pid if self.server else None


Iterations = Callable[[str, int], int]
"""(language, ns) -> iterations of work.compute that take so long."""


class Servers:
    """A context manager that ends every server it started."""

    def __init__(
        self,
        words: Words,
        cpus: Cpus,
        folder: Path,
        logs: Path,
        environment: Mapping[str, str],
        iterations: Iterations,
    ) -> None:
        self.words = words
        self.cpus = cpus
        self.folder = folder
        self.logs = logs
        self.environment = environment
        self.iterations = iterations
        self.running: dict[tuple[str, Place], Running] = {}
        self.numbers = itertools.count()

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_all()

    def launch(self, entry: Entry, place: Place) -> Running:
        """Starts a server, in a folder of its own, without waiting for it."""
        number = next(self.numbers)
        folder = self.folder / str(number)
        folder.mkdir()
        at = str(folder / "at")
        if not entry.peer.server:
            return Running(at)
        iterations = self.iterations(entry.peer.server_language, place.compute_ns)
        cpu = self.cpus.of_server(place)
        command = server_command(self.words, entry, at, cpu, place.workers, iterations)
        environment = {**self.environment, "CAROM_DIR": str(folder)}
        log = self.logs / f"{entry.name}.{place.placement}.{place.workers}.log"
        try:
            return Running(at, Server("server", command, environment, log))
        except OSError as error:
            raise BenchmarkFailed(f"server: {command[0]}: {error.strerror}") from None

    def await_ready(self, running: Running) -> Running:
        """Waits for "ready" or "ready ADDRESS"; a server that does not say it is ended."""
        if running.server:
            try:
                line = running.server.await_ready(READY_TIMEOUT_S)
                word, _, address = line.partition(" ")
                if word != "ready":
                    raise BenchmarkFailed(f"server: printed {line[:80]!r} instead of ready")
                running.at = address or running.at
            except BaseException:
                running.server.stop()
                raise
        return running

    def start(self, entry: Entry, place: Place) -> Running:
        """One server, ready; the caller ends it. One that fails at once gets a second try, as what
        its predecessor held may not have been free yet."""
        begin = time.monotonic()
        try:
            return self.start_once(entry, place)
        except BenchmarkFailed:
            if time.monotonic() - begin > RETRY_WITHIN_S:
                raise
        time.sleep(RETRY_AFTER_S)
        return self.start_once(entry, place)

    def start_once(self, entry: Entry, place: Place) -> Running:
        begin = time.monotonic()
        running = self.await_ready(self.launch(entry, place))
        running.ready_ms = (time.monotonic() - begin) * 1e3
        return running

    def get(self, entry: Entry, place: Place) -> Running:
        """The server that is there, or a new one that stays."""
        key = (entry.name, place)
        if key not in self.running:
            self.running[key] = self.start(entry, place)
        return self.running[key]

    def prepare(self, wanted: Iterable[tuple[Entry, Place]]) -> dict[tuple[str, Place], str]:
        """Ends what nobody wants any more and starts what is missing, some at a time; returns why
        some could not be started."""
        wishes = {(entry.name, place): entry for entry, place in wanted}
        for key in self.running.keys() - wishes.keys():
            self.drop(*key)
        missing = [key for key in wishes if key not in self.running and not wishes[key].peer.spins]
        failures: dict[tuple[str, Place], str] = {}
        for first in range(0, len(missing), AT_A_TIME):
            launched: dict[tuple[str, Place], Running] = {}
            for key in missing[first : first + AT_A_TIME]:
                try:
                    launched[key] = self.launch(wishes[key], key[1])
                except BenchmarkFailed as failure:
                    failures[key] = str(failure)
            self.running.update(launched)  # from here on they are ended, whatever happens
            for key, running in launched.items():
                try:
                    self.await_ready(running)
                except BenchmarkFailed as failure:
                    del self.running[key]
                    failures[key] = str(failure)
        return failures

    def drop(self, name: str, place: Place) -> None:
        """Ends one, if it runs."""
        running = self.running.pop((name, place), None)
        if running:
            stop(running)

    def stop_all(self) -> None:
        for key in list(self.running):
            self.drop(*key)


def stop(running: Running) -> None:
    if running.server:
        running.server.stop()
