# SPDX-License-Identifier: Apache-2.0
"""How soon a dead worker is replaced, and when there is no point in going on.

A death after a second or more of service is an accident: replaced at once. So is the first
worker that dies young. When the next one dies young too something is wrong with all of them:
the delay begins at 0.1 s, doubles each time and ends at 5 s. A worker that lived for a second ends
the doubling, and so does a whole window without any death.
"""

from __future__ import annotations

import math
from collections import deque

YOUNG_S = 1.0
FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0


class Crashes:
    """The deaths of a service's workers. max_crashes 0: never too many."""

    def __init__(self, max_crashes: int, window_s: float) -> None:
        self.last_reason = ""
        self._max = max_crashes
        self._window_s = window_s
        self._times: deque[float] = deque()
        self._last_s = -math.inf
        self._young = 0

    def died(self, now_s: float, age_s: float, reason: str) -> float:
        """Notes the death of a worker that had been ready for age_s (0: never was). Returns how
        long to wait before it is replaced."""
        if age_s >= YOUNG_S:
            self._young = 0
        elif now_s - self._last_s > self._window_s:
            self._young = 1
        else:
            self._young += 1
        self.last_reason = reason
        self._last_s = now_s
        self._times.append(now_s)
        self._prune(now_s)
        if self._young < 2:
            return 0.0
        return min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._young - 2, 30))

    def count(self, now_s: float) -> int:
        """Deaths within the window that ends now."""
        self._prune(now_s)
        return len(self._times)

    def too_many(self, now_s: float) -> bool:
        """Whether the service should give up serving until the window has passed."""
        return 0 < self._max <= self.count(now_s)

    def _prune(self, now_s: float) -> None:
        while self._times and now_s - self._times[0] > self._window_s:
            self._times.popleft()
