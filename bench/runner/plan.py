# SPDX-License-Identifier: Apache-2.0
"""What a run consists of, in which order, and how long each step may take.

The whole time is shared out by weight. A step that needs less leaves its time to those that
follow, one that takes longer takes it from them; so the run ends when it should, with as many
rounds as fit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from processes import BenchmarkFailed
from runner import cost, idle_clients, quick_part, rounds, start
from runner.peers import Entry
from runner.points import Cell
from runner.results import Results
from runner.session import Session
from runner.works import CURVES, Curve

RUN_SECONDS = 21 * 60.0
SLOW_ROUNDS_MAX = 3
SLOW_SHARE = 0.2
CALL_OVERHEAD_S = 0.08

WORKS = {
    "quick": "the figures of `make bench-quick`: ratios to the floor, calls/s, idle CPU",
    "latency": "one call in flight, 0 B to 16 MiB, each side pinned to a CPU of its own",
    "depth": "throughput against calls in flight, 1 to 256",
    "rate": "open loop: latency at fixed rates from 1,000/s to saturation (runs depth as well)",
    "mixed": "95 % of 64 B, 5 % of 1 MiB, their latencies apart",
    "unpinned": "64 B, nobody pinned",
    "clients": "1 to 16 clients, one server process, nobody pinned",
    "one-cpu": "64 B, both sides pinned to the same CPU",
    "workers": "1 to 8 server processes that compute for 0, 10 us, 100 us, 1 ms; 8 clients",
    "oversubscribed": "4 clients with 4 and 1 server processes over 1 and 1",
    "start": "server start, connection, first call, calls after 10 ms of idleness",
    "cost": "CPU time, system calls, energy and memory of a call",
    "idle-clients": "a call beside 256 connected idle clients (carom only)",
}
NEEDS = {"rate": ("depth",)}

SPECIAL_SECONDS = {"quick": 45.0, "start": 70.0, "cost": 150.0, "idle-clients": 25.0}


@dataclass(frozen=True)
class Step:
    """A work or a part of it, for some of the peers."""

    work: str
    run: Callable[[Session, float], None]
    weight: float
    least_s: Callable[[Results], float]
    """About how long it takes when every round that is wanted is run."""


def select_works(asked: Sequence[str]) -> list[str]:
    """In the order of WORKS, with what they need; all without a wish."""
    wishes = {wish for wish in asked if wish}
    for wish in sorted(wishes):
        if wish not in WORKS:
            raise BenchmarkFailed(f"BENCH={wish}: no such work; `make bench-list` names them")
    for wish in list(wishes):
        wishes.update(NEEDS.get(wish, ()))
    return [name for name in WORKS if not wishes or name in wishes]


def steps(works: Sequence[str], entries: Sequence[Entry]) -> list[Step]:
    """Curves whose servers run at the same place follow each other; slow peers come last."""
    fast = [entry for entry in entries if not entry.peer.slow]
    slow = [entry for entry in entries if entry.peer.slow]
    found = [special("quick", lambda session, s: quick_part.run(session, s))]
    for group in (CURVES[:4], CURVES[4:]):
        found += [curve_step(curve, fast, bool(slow), 1 - SLOW_SHARE) for curve in group if fast]
        found += [curve_step(curve, slow, True, SLOW_SHARE) for curve in group if slow]
    found.append(special("start", lambda session, s: start.run(session, entries, s)))
    found.append(special("cost", lambda session, s: cost.run(session, entries, s)))
    if any(entry.peer.group == "carom" for entry in entries):
        found.append(special("idle-clients", idle_clients.run))
    return [step for step in found if step.work in works]


def special(work: str, run: Callable[[Session, float], None]) -> Step:
    seconds = SPECIAL_SECONDS[work]
    return Step(work, run, seconds, lambda _: seconds)


def curve_step(curve: Curve, entries: Sequence[Entry], shared: bool, share: float) -> Step:
    """One curve for the fast or for the slow peers."""
    rounds_max = SLOW_ROUNDS_MAX if entries[0].peer.slow else curve.rounds_max

    def cells_now(results: Results) -> list[tuple[Entry, Cell]]:
        return rounds.interleave((entry, curve.cells(entry.peer, results)) for entry in entries)

    def run(session: Session, seconds: float) -> None:
        cells = cells_now(session.results)
        if cells:
            rounds.run(session, curve.work, cells, seconds, rounds_max)

    def least_s(results: Results) -> float:
        once = sum(
            (point.ms + point.warm_ms) / 1e3 + CALL_OVERHEAD_S
            for _, (_, point) in cells_now(results)
        )
        return once * rounds_max or weight  # rates are known only when depths have been measured

    weight = curve.seconds * (share if shared else 1.0)
    return Step(curve.work, run, weight, least_s)


def run(session: Session, todo: Sequence[Step], seconds: float) -> None:
    """All steps within the time, as well as that can be had."""
    deadline = time.monotonic() + seconds
    for number, step in enumerate(todo):
        rest = todo[number:]
        left = max(0.0, deadline - time.monotonic())
        unit = left / sum(other.weight for other in rest)
        wanted = [min(other.weight * unit, other.least_s(session.results)) for other in rest]
        session.progress.later_s = sum(wanted[1:])
        session.progress.expect(sum(wanted))
        begin = time.monotonic()
        try:
            step.run(session, step.weight * unit)
        except BenchmarkFailed as failure:
            session.results.fail("", step.work, "", str(failure))
            session.progress.say(f"{step.work}: {failure}")
        spent = {"work": step.work, "seconds": round(time.monotonic() - begin, 1)}
        session.results.about.setdefault("steps", []).append(spent)
