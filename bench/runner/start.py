# SPDX-License-Identifier: Apache-2.0
"""The work `start`: a server from nothing to ready, a client to its first answer, and calls that
come after 10 ms without any. Nothing else runs meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from processes import BenchmarkFailed
from runner import rounds
from runner.peers import Entry
from runner.points import Place, Point, key_of
from runner.servers import stop
from runner.session import Session

WORK = "start"
PLACE = Place()
POINT = Point("first", ms=100, warm_ms=0)
ROUNDS = 5
SLOW_ROUNDS = 1


def run(session: Session, entries: Sequence[Entry], seconds: float) -> None:
    """Rounds over all peers, one server at a time."""
    deadline = time.monotonic() + seconds
    session.servers.stop_all()

    def one(number: int) -> Iterator[str]:
        for entry in entries if number % 2 == 0 else list(entries)[::-1]:
            if entry.peer.slow and number >= SLOW_ROUNDS:
                continue
            yield entry.name
            if not session.given_up(WORK, entry, PLACE, POINT):
                measure(session, entry, number)

    rounds.repeat(session, WORK, one, deadline, ROUNDS)


def measure(session: Session, entry: Entry, number: int) -> None:
    try:
        running = session.servers.start(entry, PLACE)
        try:
            output = session.call(entry, running, PLACE, POINT)
        finally:
            stop(running)
    except BenchmarkFailed as failure:
        session.note(WORK, entry, PLACE, POINT, str(failure))
        return
    if running.server:
        output["ready_ms"] = running.ready_ms
    session.results.row(WORK, entry.name, key_of(PLACE, POINT)).add(number, output)
