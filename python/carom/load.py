# SPDX-License-Identifier: Apache-2.0
"""What `carom bench` does to a service and what it measures, as plain records.

Times are in nanoseconds of CLOCK_MONOTONIC unless their name ends in `_s`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

NS_PER_S = 1e9
BEHIND_SHARE = 0.01
"""A schedule that is this share of its length behind at the end has not been kept."""


@dataclass(frozen=True)
class Work:
    """What is asked for, of all connections together."""

    data: bytes
    connections: int
    depth: int
    """Calls in flight on each connection, at most."""
    timeout_s: float
    """Of each call."""
    warm_up_s: float
    """Calls due in this time are made and not counted."""
    duration_s: float | None
    """How long calls are counted; None: until there are `calls`."""
    calls: int | None
    rate: float | None
    """Calls per second; None: the next call is sent when one is done (closed loop)."""


@dataclass(frozen=True)
class Plan:
    """What one connection is to do: struct carom_py_load_plan, explained in native/load.h."""

    data: bytes
    depth: int
    timeout_ns: int
    begin_ns: int
    measure_ns: int
    end_ns: int | None
    calls: int | None
    interval_ns: float


def plans(work: Work, begin_ns: int) -> list[Plan]:
    """The work, divided. The schedules of a rate interleave: no two calls are due at once."""
    measure_ns = begin_ns + int(work.warm_up_s * NS_PER_S)
    end_ns = None if work.duration_s is None else measure_ns + int(work.duration_s * NS_PER_S)
    step_ns = NS_PER_S / work.rate if work.rate is not None else 0.0
    return [
        Plan(
            data=work.data,
            depth=work.depth,
            timeout_ns=int(work.timeout_s * NS_PER_S),
            begin_ns=begin_ns + int(i * step_ns),
            measure_ns=measure_ns,
            end_ns=end_ns,
            calls=share(work.calls, work.connections, i),
            interval_ns=step_ns * work.connections,
        )
        for i in range(work.connections)
    ]


def share(calls: int | None, connections: int, index: int) -> int | None:
    """How many of the calls a connection makes."""
    return None if calls is None else calls // connections + (index < calls % connections)


@dataclass(frozen=True)
class Failures:
    """Calls that ended with one status."""

    count: int
    first_ns: int
    first: str
    """What the first of them said."""


@dataclass(frozen=True)
class Report:
    """What became of one connection's plan: struct carom_py_load_report, see native/load.h."""

    end_ns: int
    timely: int
    reply_bytes: int
    unfinished: int
    unsent: int
    delayed: int
    late_max_ns: int
    behind_ns: int
    total_ns: tuple[int, int]
    max_ns: tuple[int, int]
    full: bool
    lost: str | None
    errors: dict[str, Failures]


@dataclass(frozen=True)
class Histogram:
    """Latencies of many calls, counted in buckets at most 1.6 % wide."""

    counts: Sequence[int]
    lasts: Sequence[int]
    """Largest latency of each bucket."""
    total_ns: int = 0
    max_ns: int = 0

    @cached_property
    def count(self) -> int:
        """Calls."""
        return sum(self.counts)

    @property
    def mean_ns(self) -> float:
        """Exact."""
        return self.total_ns / self.count if self.count else 0.0

    @property
    def stdev_ns(self) -> float:
        """From the middles of the buckets."""
        mean = self.mean_ns
        squares = 0.0
        for first, last, count in self.buckets():
            squares += count * ((first + last) / 2 - mean) ** 2
        return math.sqrt(squares / self.count) if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """By nearest rank: the end of the bucket that holds it, and never more than the maximum."""
        rank = max(1, math.ceil(round(self.count * percent / 100, 6)))
        seen = 0
        for _, last, count in self.buckets():
            seen += count
            if seen >= rank:
                return min(last, self.max_ns) if self.max_ns else last
        return 0

    def buckets(self) -> Iterable[tuple[int, int, int]]:
        """First and last latency and count of every bucket that is not empty."""
        for i, count in enumerate(self.counts):
            if count:
                yield (self.lasts[i - 1] + 1 if i else 0), self.lasts[i], count


@dataclass(frozen=True)
class Result:
    """What was measured, of all connections together."""

    work: Work
    seconds: float
    """From the end of the warm-up until sending ended; with a count of calls, until the last was
    done, and no less than they should take at the asked rate."""
    begun_ns: int
    interrupted: bool
    ok: Histogram
    failed: Histogram
    reports: Sequence[Report]

    @property
    def calls(self) -> int:
        """Calls with an outcome."""
        return self.ok.count + self.failed.count

    @property
    def rate(self) -> float:
        """Calls per second. For a time: those done in it, begun in the warm-up or not. In a queue
        as many are left over from before as are left at the end, so this is what the service does.
        """
        timely = sum(report.timely for report in self.reports)
        calls = timely if self.work.calls is None else self.calls
        return calls / self.seconds if self.seconds > 0 else 0.0

    @property
    def sent_bytes(self) -> int:
        """Of requests."""
        return self.calls * len(self.work.data)

    @property
    def received_bytes(self) -> int:
        """Of replies."""
        return sum(report.reply_bytes for report in self.reports)

    @property
    def unfinished(self) -> int:
        """Calls given up in flight because the run was interrupted."""
        return sum(report.unfinished for report in self.reports)

    @property
    def unsent(self) -> int:
        """Calls that were due and never sent."""
        return sum(report.unsent for report in self.reports)

    @property
    def delayed(self) -> int:
        """Calls that became due while their connection had all it may have in flight."""
        return sum(report.delayed for report in self.reports)

    @property
    def late_max_ns(self) -> int:
        """Worst time between due and sent."""
        return max(report.late_max_ns for report in self.reports)

    @property
    def lost(self) -> list[str]:
        """Why connections ended early; each reason once."""
        return sorted({report.lost for report in self.reports if report.lost is not None})

    @property
    def errors(self) -> dict[str, Failures]:
        """By name of the status, the most frequent first."""
        found: dict[str, Failures] = {}
        for report in self.reports:
            for name, more in report.errors.items():
                found[name] = merged(found[name], more) if name in found else more
        return dict(sorted(found.items(), key=lambda item: -item[1].count))

    @property
    def saturated(self) -> bool:
        """Whether the asked rate was too much, for whatever reason."""
        if self.work.rate is None:
            return False
        length_ns = max(report.end_ns for report in self.reports) - self.begun_ns
        return self._most_behind.behind_ns > BEHIND_SHARE * length_ns

    @property
    def generator_limited(self) -> bool:
        """Saturated, but not by the service: calls that were due could have been sent."""
        return self.saturated and not self._most_behind.full

    @property
    def queueing(self) -> int:
        """Calls that were in flight at the end and would not have been, had the service done as
        many per second as it got; 0 if they are too few to matter."""
        if self.work.rate is None or self.work.calls is not None:
            return 0
        missing = round((self.work.rate - self.rate) * self.seconds) - self.unsent
        return missing if missing > BEHIND_SHARE * self.work.rate * self.seconds else 0

    @property
    def _most_behind(self) -> Report:
        return max(self.reports, key=lambda report: report.behind_ns)


def merged(one: Failures, other: Failures) -> Failures:
    """Both together."""
    earlier = min(one, other, key=lambda failures: failures.first_ns)
    return Failures(one.count + other.count, earlier.first_ns, earlier.first)
