# SPDX-License-Identifier: Apache-2.0
"""Histograms as the driver prints them, [[upper bound in ns, count], ...]: added up, asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Histogram = dict[int, int]

BEYOND_MIN = 10
"""So many calls must lie beyond a percentile, else it says nothing."""

PERCENTILES = {
    "p50_ns": 0.5,
    "p90_ns": 0.9,
    "p99_ns": 0.99,
    "p999_ns": 0.999,
    "p9999_ns": 0.9999,
}


def add(into: Histogram, pairs: Iterable[Sequence[float]]) -> None:
    """The buckets are the same in all runs, so counts can be added."""
    for upper, count in pairs:
        into[int(upper)] = into.get(int(upper), 0) + int(count)


def pairs(histogram: Histogram) -> list[list[int]]:
    """In order, as in JSON."""
    return [[upper, histogram[upper]] for upper in sorted(histogram)]


def percentile(histogram: Histogram, fraction: float) -> int | None:
    """The upper bound of the bucket in which the percentile lies; None when too few calls do."""
    total = sum(histogram.values())
    if total * (1 - fraction) < BEYOND_MIN and fraction > 0.5:
        return None
    seen = 0
    for upper in sorted(histogram):
        seen += histogram[upper]
        if seen >= fraction * total:
            return upper
    return None


def percentiles(histogram: Histogram) -> dict[str, int]:
    """All that can be said."""
    found = {name: percentile(histogram, at) for name, at in PERCENTILES.items()}
    return {name: value for name, value in found.items() if value is not None}


def exceedance(histogram: Histogram) -> list[tuple[int, float]]:
    """(latency, share of the calls that took longer), for the picture of the tail."""
    total = sum(histogram.values())
    seen, points = 0, []
    for upper in sorted(histogram):
        seen += histogram[upper]
        points.append((upper, (total - seen) / total))
    return points
