# SPDX-License-Identifier: Apache-2.0
"""Figures of times that were measured."""

from __future__ import annotations

from report import Report


def quantile_ms(times_ns: list[int], fraction: float) -> float:
    ranked = sorted(times_ns)
    return ranked[min(len(ranked) - 1, int(fraction * len(ranked)))] / 1e6


def report_delays(report: Report, name: str, times_ns: list[int]) -> None:
    """Median, 99th percentile and longest, in milliseconds, and how many there were."""
    if not times_ns:
        return
    report.figure(f"{name}_count", len(times_ns), "times")
    report.figure(f"{name}_p50_ms", quantile_ms(times_ns, 0.5), "ms")
    report.figure(f"{name}_p99_ms", quantile_ms(times_ns, 0.99), "ms")
    report.figure(f"{name}_max_ms", max(times_ns) / 1e6, "ms")
