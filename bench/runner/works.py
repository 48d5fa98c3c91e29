# SPDX-License-Identifier: Apache-2.0
"""The works that are curves: which peers are measured at which points, and how often.

Slow peers get fewer points and rounds, and steps of their own, so that their servers (some of which
are never quite idle) do not run beside the others'. A peer whose both sides spin is left out where
there are more processes than CPUs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runner.peer import Peer
from runner.points import FREE, KIB, MIB, ONE_CPU, TWO_CPUS, Cell, Place, Point
from runner.results import Results

SIZES = (0, 64, KIB, 4 * KIB, 64 * KIB, MIB, 16 * MIB)
DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CLIENTS = (1, 2, 4, 8, 16)
WORKERS = (1, 2, 4, 8)
COMPUTE_NS = (0, 10_000, 100_000, 1_000_000)
WORKER_CLIENTS = 8
LEAST_RATE = 1000
RATE_FACTOR = 8
LOADS = {"half": 0.5, "80 %": 0.8, "full": 1.0}

PAIR = Place()
FREE_PAIR = Place(FREE)

MakeCells = Callable[[Peer, Results], list[Cell]]


@dataclass(frozen=True)
class Curve:
    """One work, or a part of one that is run by itself."""

    work: str
    cells: MakeCells
    seconds: float
    """Its share of the time of a full run."""
    rounds_max: int = 15


def spinning_fits(peer: Peer, processes: int) -> bool:
    return not peer.spins or processes <= (os.cpu_count() or 1)


def fewer(peer: Peer, values: Sequence[int], kept: Sequence[int]) -> list[int]:
    """For slow peers the kept ones only."""
    return [value for value in values if not peer.slow or value in kept]


def latency(peer: Peer, _: Results) -> list[Cell]:
    sizes = fewer(peer, SIZES, (64, 4 * KIB, MIB))
    return [(PAIR, Point(bytes=size)) for size in sizes if size <= peer.bytes_max]


def one_cpu(peer: Peer, _: Results) -> list[Cell]:
    return [] if peer.spins else [(Place(ONE_CPU), Point())]


def unpinned(peer: Peer, _: Results) -> list[Cell]:
    return [(FREE_PAIR, Point())] if spinning_fits(peer, 2) else []


def depth(peer: Peer, _: Results) -> list[Cell]:
    depths = fewer(peer, DEPTHS, (1, 16, 64))
    points = [Point("depth", depth=depth) for depth in depths if depth <= peer.depth_max]
    return [(PAIR, point) for point in points]


def saturation(peer: Peer, results: Results) -> tuple[float, int]:
    """The most calls per second that were seen, and at which depth."""
    best, at = 0.0, 1
    for row in results.find("depth", peer.name, placement=TWO_CPUS):
        calls = row.median("calls_per_s") or 0.0
        if calls > best:
            best, at = calls, int(row.point["depth"])
    return best, at


def rate(peer: Peer, results: Results) -> list[Cell]:
    """Powers of eight from 1,000/s on, so that runs have rates in common, and the three loads."""
    most, deep = saturation(peer, results)
    rates: dict[str, float] = {}
    steady = float(LEAST_RATE)
    while steady < 0.45 * most and not peer.slow:
        rates[f"{steady:,.0f}/s"] = steady
        steady *= RATE_FACTOR
    rates |= {load: share * most for load, share in LOADS.items() if most}
    return [(PAIR, rate_point(load, per_s, deep)) for load, per_s in rates.items()]


def rate_point(load: str, per_s: float, depth: int) -> Point:
    ms = rate_ms(per_s)
    return Point("rate", depth=depth, rate=max(1, int(per_s)), load=load, ms=ms, warm_ms=ms // 4)


def rate_ms(per_s: float) -> int:
    """Long enough for some hundred calls, short enough for many rounds."""
    return int(min(1000, max(150, 300_000 / per_s)))


def mixed(peer: Peer, _: Results) -> list[Cell]:
    return [(PAIR, Point("mixed"))] if peer.bytes_max >= MIB else []


def clients(peer: Peer, _: Results) -> list[Cell]:
    counts = [n for n in fewer(peer, CLIENTS, (1, 4)) if n <= peer.clients_max]
    return [(FREE_PAIR, Point(clients=n, ms=120)) for n in counts if spinning_fits(peer, n + 1)]


def workers(compute_ns: int) -> MakeCells:
    """For one duration of the handler: the same eight clients, more and more workers."""

    def cells(peer: Peer, _: Results) -> list[Cell]:
        if peer.workers_max == 1 or peer.spins or (peer.slow and 0 < compute_ns < 1_000_000):
            return []
        point = Point(clients=min(WORKER_CLIENTS, peer.clients_max), ms=150)
        counts = [n for n in fewer(peer, WORKERS, (1, 4)) if n <= peer.workers_max]
        return [(Place(FREE, n, compute_ns), point) for n in counts]

    return cells


def oversubscribed(peer: Peer, _: Results) -> list[Cell]:
    """More processes than CPUs beside one of each."""
    if peer.workers_max < 4 or peer.clients_max < 4 or peer.spins or peer.slow:
        return []
    return [(Place(FREE, w), Point(clients=c, ms=120)) for c, w in ((1, 1), (4, 1), (4, 4))]


CURVES = (
    Curve("latency", latency, 270),
    Curve("depth", depth, 130),
    Curve("rate", rate, 200),
    Curve("mixed", mixed, 50),
    Curve("unpinned", unpinned, 40),
    Curve("clients", clients, 110),
    Curve("one-cpu", one_cpu, 40),
    *(Curve("workers", workers(ns), 55) for ns in COMPUTE_NS),
    Curve("oversubscribed", oversubscribed, 40),
)
