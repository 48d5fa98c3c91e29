# SPDX-License-Identifier: Apache-2.0
"""When a worker has done enough: after so many calls, at so much memory, at such an age.

Workers that began together would reach --max-requests together; the jitter, drawn once for each,
keeps them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Protocol


@dataclass(frozen=True)
class Usage:
    """A worker process as it is now."""

    pid: int
    age_s: float
    calls: int
    rss_bytes: int


class Limits(Protocol):
    """The fields of pool.settings.Settings that count here; 0 means without this limit."""

    @property
    def max_requests(self) -> int: ...
    @property
    def max_requests_jitter(self) -> int: ...
    @property
    def max_rss(self) -> int: ...
    @property
    def max_age(self) -> float: ...


class Recycler:
    """Knows the limits, and what each worker may do beyond --max-requests."""

    def __init__(self, settings: Limits, random: Random | None = None) -> None:
        self._limits = settings
        self._random = random or Random()
        self._extra: dict[int, int] = {}

    def reason(self, usage: Usage) -> str | None:
        """Why this worker should be exchanged; None: it may go on."""
        return self._too_many_calls(usage) or self._too_large(usage) or self._too_old(usage)

    def forget(self, pid: int) -> None:
        """The worker has gone: another one with its pid draws anew."""
        self._extra.pop(pid, None)

    def _too_many_calls(self, usage: Usage) -> str | None:
        most, jitter = self._limits.max_requests, self._limits.max_requests_jitter
        if most <= 0:
            return None
        if usage.pid not in self._extra:
            self._extra[usage.pid] = self._random.randint(0, jitter) if jitter > 0 else 0
        extra = self._extra[usage.pid]
        if usage.calls < most + extra:
            return None
        limit = f"--max-requests {most}" + (f" + {extra}" if extra else "")
        return f"ran {usage.calls} calls ({limit})"

    def _too_large(self, usage: Usage) -> str | None:
        most = self._limits.max_rss
        if most <= 0 or usage.rss_bytes < most:
            return None
        return f"uses {mebibytes(usage.rss_bytes)} of memory (--max-rss {mebibytes(most)})"

    def _too_old(self, usage: Usage) -> str | None:
        most = self._limits.max_age
        if most <= 0 or usage.age_s < most:
            return None
        return f"is {usage.age_s:.1f} s old (--max-age {most:g} s)"


def mebibytes(count: int) -> str:
    """Memory for people."""
    return f"{count / (1 << 20):.1f} MiB"
