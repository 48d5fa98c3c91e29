# SPDX-License-Identifier: Apache-2.0
"""Rounds: every peer once at every point, then again, every second time backwards.

So whatever disturbs the machine hurts all alike, and no peer always follows the same one. There are
as many rounds as fit into the time, but never fewer than `ROUNDS_MIN`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from runner.peers import Entry
from runner.points import Cell, label
from runner.session import Session

ROUNDS_MIN = 2

Cells = Sequence[tuple[Entry, Cell]]


def interleave(cells: Iterable[tuple[Entry, Sequence[Cell]]]) -> list[tuple[Entry, Cell]]:
    """Point by point: all peers at their first point, all at their second, and so on."""
    columns = [[(entry, cell) for cell in own] for entry, own in cells]
    longest = max((len(column) for column in columns), default=0)
    return [column[at] for at in range(longest) for column in columns if at < len(column)]


def run(session: Session, work: str, cells: Cells, seconds: float, rounds_max: int) -> None:
    """Measures rounds of these cells until the time, that of starting servers included, is up."""
    begin = time.monotonic()
    prepare(session, work, cells)

    def one(number: int) -> Iterator[str]:
        for entry, (place, point) in cells if number % 2 == 0 else cells[::-1]:
            yield f"{entry.name}, {label(place, point)}"
            session.measure(work, entry, place, point, number)

    repeat(session, work, one, begin + seconds, rounds_max)


def prepare(session: Session, work: str, cells: Cells) -> None:
    """Starts the servers; what needs one that does not start is left out of the step."""
    session.progress.step(f"{work}: starting servers")
    wanted = {(entry, place): None for entry, (place, _) in cells if not session.is_dead(entry)}
    failures = session.servers.prepare(wanted)
    for entry, (place, point) in cells:
        reason = failures.pop((entry.name, place), None)
        if reason:
            session.note(work, entry, place, point, reason)
            session.leave_out(work, entry, [cell for other, cell in cells if other == entry])


def repeat(
    session: Session,
    work: str,
    one: Callable[[int], Iterator[str]],
    deadline: float,
    rounds_max: int,
) -> None:
    """Runs `one` for each round that fits, and shows what it is about to measure."""
    for number in range(rounds_max):
        begin = time.monotonic()
        for detail in one(number):
            session.progress.step(f"{work}: round {number + 1}", detail)
        now = time.monotonic()
        took = now - begin
        if number + 1 >= ROUNDS_MIN and now + took > deadline:
            break
        left = min(deadline - now, took * (rounds_max - number - 1))
        session.progress.expect(left + session.progress.later_s)
