# SPDX-License-Identifier: Apache-2.0
"""The figures that carom has to reach, each with its limit and where it comes from.

A ratio of two rows is the median over rounds of the ratio within the round.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quick import Limit, number
from runner.points import MIB
from runner.results import Results, Row, find_ratio
from runner.works import COMPUTE_NS

P50 = "p50_ns"
CALLS = "calls_per_s"
HUNDRED_US = COMPUTE_NS[2]


@dataclass(frozen=True)
class Figure:
    """One of them."""

    limit: Limit
    what: str
    of: Callable[[Results], float | None]


def quick(key: str) -> Callable[[Results], float | None]:
    """As bench-quick defines it."""
    return lambda results: results.quick.get("figures", {}).get(key)


def ratio(
    above: str, below: str, work: str = "latency", name: str = P50, **point: Any
) -> Callable[[Results], float | None]:
    """One peer's figure over another's at the same point; of several peers above, the best."""
    wanted = {"bytes": 64, **point}

    def of(results: Results) -> float | None:
        under = results.first(work, below, **wanted)
        rows = [results.first(work, peer, **wanted) for peer in above.split()]
        return best_ratio([row for row in rows if row], under, name)

    return of


def best_ratio(above: Sequence[Row], below: Row | None, name: str) -> float | None:
    ratios = [find_ratio(row, below, name) for row in above if below]
    return min((value for value in ratios if value is not None), default=None)


def tail(peer: str) -> Callable[[Results], float | None]:
    """p99.9 over p50 at half the saturation rate, over the same figure of the floor."""

    def of(results: Results) -> float | None:
        own = results.first("rate", peer, load="half")
        floor = results.first("rate", "floor", load="half")
        return find_ratio(tailed(own), tailed(floor), "tail") if own and floor else None

    return of


def tailed(row: Row) -> Row:
    """The row with p99.9 over p50 of each round."""
    figures = [
        {"round": r["round"], "tail": r["p999_ns"] / r[P50]} for r in row.rounds if r.get(P50)
    ]
    return Row(row.work, row.peer, row.point, figures)


def workers(peer: str, more: int, fewer: int) -> Callable[[Results], float | None]:
    """Throughput with more workers over that with fewer, handlers of 100 us."""

    def of(results: Results) -> float | None:
        rows = [
            results.first("workers", peer, workers=count, compute_ns=HUNDRED_US)
            for count in (more, fewer)
        ]
        return find_ratio(rows[0], rows[1], CALLS) if rows[0] and rows[1] else None

    return of


def idle_clients(results: Results) -> float | None:
    many = results.first("idle-clients", "carom-c", idle_clients=256)
    one = results.first("idle-clients", "carom-c", idle_clients=1)
    return find_ratio(many, one, P50) if many and one else None


def least(key: str, value: float) -> Limit:
    return Limit(key, least=value)


def most(key: str, value: float) -> Limit:
    return Limit(key, most=value)


GRPC = "grpc grpc-stream"
HTTP = "http-fastapi http-flask"

FIGURES = (
    Figure(most("c_over_floor", 2), "C -> C round trip over the floor", quick("c_over_floor")),
    Figure(most("py_over_floor", 3), "C -> Python over the floor", quick("py_over_floor")),
    Figure(least("unix_over_py", 100), "Unix stream over carom, two CPUs", quick("unix_over_py")),
    Figure(
        least("unix_one_cpu_over_py_one_cpu", 1.5),
        "Unix stream over carom, both sides on one CPU",
        ratio("unix", "carom", "one-cpu"),
    ),
    Figure(least("grpc_over_py", 300), "gRPC (the faster one) over carom", ratio(GRPC, "carom")),
    Figure(least("grpc_unary_over_py", 300), "gRPC, a unary call", ratio("grpc", "carom")),
    Figure(least("zeromq_over_py", 100), "ZeroMQ over carom, 64 B", ratio("zeromq", "carom")),
    Figure(least("http_over_py", 1000), "HTTP (the faster one) over carom", ratio(HTTP, "carom")),
    Figure(least("c_calls_per_s", 12e6), "calls/s, C -> C, 64 in flight", quick("c_calls_per_s")),
    Figure(
        least("py_calls_per_s", 5e6), "calls/s, C -> Python, 64 in flight", quick("py_calls_per_s")
    ),
    Figure(
        most("big_over_floor", 1.1),
        "1 MiB, every byte written and read, C -> C over the floor, both spinning",
        ratio("carom-c-spin", "floor", bytes=MIB),
    ),
    Figure(
        most("big_adaptive_over_floor", 1.1),
        "the same, carom waiting as by default",
        ratio("carom-c", "floor", bytes=MIB),
    ),
    Figure(
        most("parked_over_futex", 1.1),
        "both sides asleep, over bare futexes",
        quick("parked_over_futex"),
    ),
    Figure(
        most("tail_over_floor", 2),
        "p99.9 over p50 at half saturation, C -> C, over the floor's",
        tail("carom-c"),
    ),
    Figure(
        most("py_tail_over_floor", 2),
        "the same, C -> Python",
        tail("carom"),
    ),
    Figure(
        least("four_workers_over_two", 0.95),
        "calls/s of 4 workers over 2, handler 100 us",
        workers("carom", 4, 2),
    ),
    Figure(
        least("oversubscribed_ratio", 0.8),
        "4 clients and 4 workers over 1 and 1",
        quick("oversubscribed_ratio"),
    ),
    Figure(
        least("four_clients_one_worker_ratio", 0.6),
        "4 clients and 1 worker over 1 and 1",
        quick("four_clients_one_worker_ratio"),
    ),
    Figure(most("idle_clients_ratio", 1.2), "256 idle clients over 1", idle_clients),
    Figure(
        least("iceoryx2_over_c", 1),
        "iceoryx2, polling, over carom C -> C, 64 B",
        ratio("iceoryx2", "carom-c"),
    ),
)

INSTRUCTIONS = (
    (most("client_instructions", 150), "instructions per call, C side: submit and wait"),
    (most("worker_instructions", 400), "instructions per call, worker without the handler"),
)


def evaluate(results: Results, programs: Path) -> list[dict[str, Any]]:
    """Every figure with its verdict: met, missed, or not measured."""
    found = [entry(figure.limit, figure.what, figure.of(results)) for figure in FIGURES]
    counts = instructions(programs / "instructions.json")
    return found + [entry(limit, what, counts.get(limit.key)) for limit, what in INSTRUCTIONS]


def instructions(path: Path) -> Mapping[str, float]:
    """What the instruction-count guard wrote, if it has run."""
    try:
        found = json.loads(path.read_text())
        return {str(key): float(value) for key, value in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def entry(limit: Limit, what: str, value: float | None) -> dict[str, Any]:
    verdict = "not measured" if value is None else "met" if limit.met(value) else "missed"
    rounded = None if value is None else round(value, 4)
    return {
        "figure": limit.key,
        "what": what,
        "value": rounded,
        "limit": str(limit),
        "verdict": verdict,
    }


def lines(figures: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """For the terminal; what was not measured is left out."""
    for figure in figures:
        if figure["value"] is not None:
            verdict = figure["verdict"] if figure["verdict"] == "met" else "MISSED"
            yield (
                f"{figure['figure']:30} {number(figure['value']):>12}   {figure['limit']:14} "
                f"{verdict:7} {figure['what']}"
            )
