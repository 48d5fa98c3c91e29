# SPDX-License-Identifier: Apache-2.0
"""What a caller in Python measured, and the figures that it prints: the same as driver/report.c."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from driver.arguments import Config

SUB_BITS = 6
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}


@dataclass
class Result:
    """What one client measured."""

    calls: int = 0
    begin_ns: int = 0
    end_ns: int = 0
    cpu_ns: int = 0
    connect_ns: int = 0
    first_ns: int = 0
    late_max_ns: int = 0
    unsent: int = 0
    depth: int = 1
    times: list[int] = field(default_factory=list)
    large: list[int] = field(default_factory=list)

    def begin(self, now_ns: int) -> None:
        """The measured time begins."""
        self.begin_ns = now_ns
        self.cpu_ns = -time.process_time_ns()

    def end(self, now_ns: int) -> None:
        """The measured time is over."""
        self.end_ns = now_ns
        self.cpu_ns += time.process_time_ns()


def report(config: Config, results: list[Result]) -> dict[str, Any]:
    """What report.c prints."""
    # From the first begin to the last end: clients may have had to wait for each other.
    first, last = min(one.begin_ns for one in results), max(one.end_ns for one in results)
    seconds = (last - first) * 1e-9
    calls = [result.calls for result in results]
    figures: dict[str, Any] = {
        "work": config.work,
        "bytes": config.bytes,
        "depth": results[0].depth,
        "clients": config.clients,
        "calls": sum(calls),
        "seconds": round(seconds, 6),
        "calls_per_s": round(sum(calls) / seconds, 1),
        "cpu_s": round(sum(result.cpu_ns for result in results) * 1e-9, 6),
        "least_share": round(min(calls) * config.clients / max(sum(calls), 1), 4),
    }
    figures |= describe([ns for result in results for ns in result.times])
    if config.work == "mixed":
        large = describe([ns for result in results for ns in result.large])
        figures |= {f"large_{name}": value for name, value in large.items()}
    if config.work == "first":
        figures["connect_ns"] = results[0].connect_ns
        figures["first_ns"] = results[0].first_ns
        figures["idle_p50_ns"] = figures["p50_ns"]
    if config.work == "rate":
        figures["rate_asked"] = config.rate
        figures["late_max_ns"] = max(result.late_max_ns for result in results)
        figures["unsent"] = sum(result.unsent for result in results)
    return figures


def describe(times: list[int]) -> dict[str, Any]:
    """Percentiles and histogram; the percentiles are exact here, the histogram is as in C."""
    ordered = sorted(times)
    last = len(ordered) - 1
    figures: dict[str, Any] = {
        f"{name}_ns": ordered[min(int(fraction * len(ordered)), last)] if ordered else None
        for name, fraction in PERCENTILES.items()
    }
    figures["max_ns"] = ordered[last] if ordered else None
    figures["mean_ns"] = sum(ordered) // len(ordered) if ordered else None
    figures["histogram"] = sorted(Counter(map(bucket_upper_ns, ordered)).items())
    return figures


def bucket_upper_ns(ns: int) -> int:
    """The longest time in the same bucket of histogram.h."""
    shift = max(ns.bit_length() - 1 - SUB_BITS, 0)
    return ((ns >> shift) + 1 << shift) - 1
