# SPDX-License-Identifier: Apache-2.0
"""What changed between two runs, curve by curve, beyond noise.

A curve is a work of a peer with all its points (or one probe of bench-quick). carom's own curves
are judged; the others, which no change of carom can touch, are controls: how far they moved says
how far the machine did. Where the floor was measured in the same rounds, what follows it from round
to round is taken off first. A curve is called slower or faster when three things hold: the
permutation test says that it moved (after Holm's correction), it moved by at least `LEAST_CHANGE`,
and it still did after the controls' movement in the same work is taken off.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import BenchmarkFailed
from runner import noise, results
from runner.results import Results, Row

LEAST_CHANGE = 0.05
ALPHA = 0.05
ROUNDS_MIN = 3

Values = list[float]
Rounds = dict[int, float]
"""Round -> value."""

HIGHER_IS_BETTER = ("calls_per_s",)
MEASURES = {
    "depth": "calls_per_s",
    "clients": "calls_per_s",
    "workers": "calls_per_s",
    "oversubscribed": "calls_per_s",
    "rate": "p99_ns",
    "cost": "cpu_ns",
}
RATE_LOADS = ("80 %", "full")  # differ between runs, and beyond saturation all is queue

FLOOR = "floor"
QUICK_CONTROLS = ("floor", "unix", "parked_futex")
QUICK_GUIDES = {"parked": "parked_futex_rtt_ns", "crowd": ""}
QUICK_GUIDE = "floor_rtt_ns"
QUICK_IGNORED = ("least_share", "slept")


@dataclass
class Series:
    """One curve of one run."""

    work: str
    name: str
    control: bool
    higher_is_better: bool
    points: dict[str, Rounds] = field(default_factory=dict)
    guides: dict[str, Rounds] = field(default_factory=dict)
    """What the floor took at the same point, where it was measured."""


@dataclass
class Change:
    """A curve in both runs."""

    series: Series
    factor: float
    """Of slowness: 1.1 is a tenth slower, whatever the measure."""
    beyond_controls: float
    """The same without what the controls moved."""
    p: float
    worst: str
    """The point that changed most, for people."""
    verdict: str = "same"


def load(path: Path) -> list[Series]:
    """The curves of results.json, or of the quick-rounds.json of bench-quick."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise BenchmarkFailed(f"{path}: {error.strerror}") from None
    except ValueError:
        raise BenchmarkFailed(f"{path}: not JSON") from None
    if isinstance(data, dict) and "schema" in data:
        found = results.read(path)
        return of_rows(found) + of_quick(found.quick.get("rounds", {}))
    if is_quick(data):
        return of_quick(data)
    raise BenchmarkFailed(
        f"{path}: neither the results.json of `make bench` nor the quick-rounds.json of "
        "`make bench-quick`"
    )


def is_quick(data: Any) -> bool:
    return (
        isinstance(data, dict)
        and bool(data)
        and all(
            isinstance(series, list) and all(isinstance(value, (int, float)) for value in series)
            for series in data.values()
        )
    )


def of_rows(found: Results) -> list[Series]:
    series: dict[tuple[str, str], Series] = {}
    for row in found.rows:
        measure = MEASURES.get(row.work, "p50_ns")
        values = by_round(row, measure)
        if row.point.get("load") in RATE_LOADS or not values:
            continue
        control = found.peers.get(row.peer, {}).get("group", "carom") != "carom"
        key = (row.work, row.peer)
        if key not in series:
            better = measure in HIGHER_IS_BETTER
            series[key] = Series(row.work, found.title(row.peer), control, better)
        series[key].points[describe(row)] = values
        floor = next(found.find(row.work, FLOOR, **row.point), None)
        if floor and not control:
            series[key].guides[describe(row)] = by_round(floor, measure)
    return list(series.values())


def by_round(row: Row, measure: str) -> Rounds:
    return {
        int(figures["round"]): value
        for figures in row.rounds
        if (value := figures.get(measure)) and value > 0
    }


def describe(row: Row) -> str:
    """The point in a few words: what is not as usual."""
    usual = {"bytes": 64, "depth": 1, "clients": 1, "workers": 1, "compute_ns": 0, "load": ""}
    parts = [
        f"{name} {value}"
        for name, value in row.point.items()
        if name != "placement" and value != usual.get(name)
    ]
    return ", ".join(parts) or "64 bytes"


def of_quick(rounds: Mapping[str, Sequence[float]]) -> list[Series]:
    found = []
    for name, values in rounds.items():
        if values and not name.endswith(QUICK_IGNORED):
            better = name.endswith("calls_per_s") or name.startswith("crowd")
            control = name.startswith(QUICK_CONTROLS)
            series = Series("quick", name, control, better, {"": dict(enumerate(values))})
            guide = rounds.get(guide_of(name), [])
            if not control and guide:
                series.guides[""] = dict(enumerate(guide))
            found.append(series)
    return found


def guide_of(name: str) -> str:
    """The probe of bench-quick that says what the machine itself took in the same round."""
    prefix = name.partition("_")[0]
    return QUICK_GUIDES.get(prefix, QUICK_GUIDE)


def compare(before: Sequence[Series], after: Sequence[Series]) -> list[Change]:
    """Every curve that both have, with its verdict."""
    later = {(series.work, series.name): series for series in after}
    pairs = [
        (series, later[series.work, series.name])
        for series in before
        if (series.work, series.name) in later
    ]
    changes = [change for a, b in pairs if (change := compare_curve(a, b))]
    for work in {change.series.work for change in changes}:
        take_off_controls([change for change in changes if change.series.work == work])
    own = [change for change in changes if not change.series.control]
    for change, p in zip(own, noise.holm([change.p for change in own]), strict=True):
        change.p = p
        change.verdict = judge(change)
    return changes


def compare_curve(a: Series, b: Series) -> Change | None:
    """At the points that both have measured often enough."""
    shared = {
        point: pair for point in a.points if point in b.points and (pair := logs(a, b, point))
    }
    if not shared:
        return None
    sign = -1.0 if a.higher_is_better else 1.0
    moves = {point: sign * noise.log_change(*pair) for point, pair in shared.items()}
    worst = max(moves, key=lambda point: abs(moves[point]))
    note = f"{worst}: {percent(math.exp(moves[worst]))}" if len(moves) > 1 else ""
    factor = math.exp(statistics.fmean(moves.values()))
    p = 1.0 if a.control else noise.p_value(list(shared.values()))
    return Change(a, factor, factor, p, note)


def logs(a: Series, b: Series, point: str) -> tuple[Values, Values] | None:
    """Logarithms of both runs at a point, steadied by the floor where it is known."""
    both = [a.points[point], b.points[point]]
    if min(len(rounds) for rounds in both) < ROUNDS_MIN:
        return None
    guides = [a.guides.get(point, {}), b.guides.get(point, {})]
    common = [sorted(v.keys() & g.keys()) for v, g in zip(both, guides, strict=True)]
    if min(len(rounds) for rounds in common) < ROUNDS_MIN:
        plain = [[math.log(value) for value in rounds.values()] for rounds in both]
        return plain[0], plain[1]
    values = [[run[n] for n in rounds] for run, rounds in zip(both, common, strict=True)]
    guide = [[run[n] for n in rounds] for run, rounds in zip(guides, common, strict=True)]
    before, after = noise.steady(values, guide)
    return list(before), list(after)


def take_off_controls(changes: Sequence[Change]) -> None:
    """Within one work."""
    moved = controls_factor(changes)
    for change in changes:
        change.beyond_controls = change.factor / moved


def controls_factor(changes: Iterable[Change]) -> float:
    """The median movement of what carom does not touch; 1 when there is none of it."""
    moves = [change.factor for change in changes if change.series.control]
    return statistics.median(moves) if moves else 1.0


def judge(change: Change) -> str:
    if change.p > ALPHA:
        return "same"
    most = 1 + LEAST_CHANGE
    if min(change.factor, change.beyond_controls) > most:
        return "slower"
    if max(change.factor, change.beyond_controls) < 1 / most:
        return "faster"
    return "same"


def percent(factor: float) -> str:
    """+12 % is slower."""
    return f"{100 * (factor - 1):+.0f} %"
