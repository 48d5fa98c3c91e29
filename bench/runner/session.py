# SPDX-License-Identifier: Apache-2.0
"""One run: where things are, what is measured, and how one measurement is taken and noted.

A peer that fails is noted with its reason and does not stop the run: the failed point is left out
of the following rounds, and after a few of them the peer is left out of the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from processes import BenchmarkFailed
from runner import client
from runner.command import Cpus, Words, client_command
from runner.peers import Entry
from runner.points import Cell, Place, Point, key_of, label
from runner.progress import Progress
from runner.results import Results
from runner.servers import Running, Servers, stop

FAILURES_MAX = 3
STARTS_MAX = 2


@dataclass
class Session:
    """What every part of the run needs."""

    entries: Sequence[Entry]
    words: Words
    cpus: Cpus
    programs: Path
    folder: Path
    environment: Mapping[str, str]
    servers: Servers
    results: Results
    progress: Progress
    failed: set[tuple[str, str, Place, Point]] = field(default_factory=set)
    """What is left out of the following rounds."""
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    """(work, peer) -> how often it has failed there."""
    not_started: dict[str, int] = field(default_factory=dict)
    """peer -> how often its server did not start."""

    def measure(
        self, work: str, entry: Entry, place: Place, point: Point, number: int
    ) -> dict[str, float] | None:
        """One measurement of a round, noted; None when it failed or has failed before."""
        if self.given_up(work, entry, place, point):
            return None
        try:
            running = self.reach(entry, place)
            try:
                output = self.call(entry, running, place, point)
            finally:
                if entry.peer.spins:
                    stop(running)
        except BenchmarkFailed as failure:
            self.note(work, entry, place, point, str(failure))
            return None
        self.results.row(work, entry.name, key_of(place, point)).add(number, output)
        return output

    def reach(self, entry: Entry, place: Place) -> Running:
        """A server that is ready: a new one for peers that spin, else the one that is there."""
        if entry.peer.spins:
            return self.servers.start(entry, place)
        return self.servers.get(entry, place)

    def call(self, entry: Entry, running: Running, place: Place, point: Point) -> dict[str, float]:
        """Runs the client."""
        command = self.command(entry, running, place, point)
        return client.run(command, self.environment_of(running))

    def command(self, entry: Entry, running: Running, place: Place, point: Point) -> list[str]:
        cpu, peer_cpu = self.cpus.of_client(place), self.cpus.of_server(place)
        return client_command(self.words, entry, running.at, cpu, peer_cpu, point)

    def environment_of(self, running: Running) -> dict[str, str]:
        """With the server's own folder for carom, so that no other service is in the way."""
        return {**self.environment, "CAROM_DIR": str(Path(running.at).parent)}

    def given_up(self, work: str, entry: Entry, place: Place, point: Point) -> bool:
        if self.is_dead(entry) or self.counts.get((work, entry.name), 0) >= FAILURES_MAX:
            return True
        return (work, entry.name, place, point) in self.failed

    def note(self, work: str, entry: Entry, place: Place, point: Point, reason: str) -> None:
        """Writes a failure down; the server is made anew, as nobody knows in what state it is."""
        self.failed.add((work, entry.name, place, point))
        count = self.counts[work, entry.name] = self.counts.get((work, entry.name), 0) + 1
        if count == FAILURES_MAX:
            reason += f"; left out of {work} from here on"
        self.results.fail(entry.name, work, label(place, point), reason)
        self.progress.say(f"{work}: {entry.name}, {label(place, point)}: {reason}")
        self.servers.drop(entry.name, place)

    def leave_out(self, work: str, entry: Entry, cells: Iterable[Cell]) -> None:
        """After a server that did not start: nothing of it is tried again in this step, and after
        a second one nothing at all."""
        self.failed.update((work, entry.name, place, point) for place, point in cells)
        self.not_started[entry.name] = self.not_started.get(entry.name, 0) + 1

    def is_dead(self, entry: Entry) -> bool:
        return self.not_started.get(entry.name, 0) >= STARTS_MAX
