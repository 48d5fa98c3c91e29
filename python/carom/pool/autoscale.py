# SPDX-License-Identifier: Apache-2.0
"""How many workers there should be: more when calls wait too long, fewer after an idle time.

The wait is estimated by Little's law (J. Little, "A proof for the queuing formula L = lambda W",
1961): calls that wait = completions per second x time that each of them waits. It needs no
time stamp in any call and sees the wait of calls that have only just come, long before one of them
has waited that long. Completions are counted per worker, and only from looks between which calls
waited all the time: what idle workers finish says nothing about what busy ones can.

Growth doubles at most, and the next step waits until the new workers are there and two looks have
shown that they are not enough: neither is the wait below the target nor will the queue have been
worked off soon. So a step in load meets enough workers after a few steps of two looks each, and a
queue that is shrinking makes no worker.

A worker goes when for a whole idle time no call waited too long and nearly all looks found a
worker with nothing to do. A rare full look is allowed: under random arrivals it comes to any number
of workers. Every growth begins that time anew, so nothing flaps.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

WINDOW_S = 0.2
"""Completions are counted over this time."""
LOOKS = 2
"""So many looks in a row must find the wait too long."""
DRAIN_S = 0.5
"""A queue that will have shrunk to the target within this time needs no further worker."""
PATIENCE_S = 1.0
"""After this time, workers that have not arrived yet no longer hold up the next step."""
FULL_SHARE = 0.02
"""This share of the looks of an idle time may find every worker at work."""


@dataclass(frozen=True)
class Sample:
    """One look at the service."""

    now_s: float
    waiting: int
    """Calls that no worker has claimed yet."""
    oldest_wait_s: float
    """How long the first of them has waited, at least."""
    finished: int
    """Calls of all workers so far, with those of workers that have left: never falls."""
    busy: int
    """Workers that run a call now."""
    ready: int
    wanted: int


@dataclass(frozen=True)
class Decision:
    """How many workers there should be from now on, and why: for the log."""

    wanted: int
    reason: str


class Autoscaler:
    """Looks at samples, some 20 a second, and decides. Times in seconds."""

    def __init__(
        self, min_workers: int, max_workers: int, target_wait_s: float, idle_s: float
    ) -> None:
        self._min = min_workers
        self._max = max_workers
        self._target_s = target_wait_s
        self._idle_s = idle_s
        self._queue: deque[Sample] = deque()
        """The looks of WINDOW_S, all with waiting calls."""
        self._above = 0
        self._wanted: int | None = None
        self._changed_s = -math.inf
        self._settled_s: float | None = None
        """When all wanted workers were first seen ready."""
        self._idle = IdleTime()

    def decide(self, sample: Sample) -> Decision | None:
        """What this look changes; None: nothing."""
        self._note(sample)
        wait_s = self._wait_s(sample)
        if wait_s > self._target_s:
            self._idle.restart(sample.now_s)
        else:
            self._idle.look(sample)
        decision = self._grow(sample, wait_s) or self._shrink(sample)
        if decision:
            self._change(sample.now_s, decision.wanted)
        return decision

    def _note(self, sample: Sample) -> None:
        """Remembers what the next looks are compared with."""
        if sample.wanted != self._wanted:
            self._change(sample.now_s, sample.wanted)
        if self._settled_s is None and sample.ready >= sample.wanted:
            self._settled_s = sample.now_s
        if not sample.waiting:
            self._queue.clear()
            return
        self._queue.append(sample)
        while sample.now_s - self._queue[0].now_s > WINDOW_S + 1e-9:
            self._queue.popleft()

    def _change(self, now_s: float, wanted: int) -> None:
        """Another number of workers, decided here or asked for by a signal."""
        self._wanted = wanted
        self._changed_s = now_s
        self._settled_s = None
        self._above = 0
        self._idle.restart(now_s)

    def _wait_s(self, sample: Sample) -> float:
        """How long a call that comes now will wait, with the workers there are."""
        if not sample.waiting:
            return 0.0
        rate = self._rate_per_worker() * sample.ready
        return max(sample.oldest_wait_s, sample.waiting / rate if rate > 0.0 else 0.0)

    def _rate_per_worker(self) -> float:
        """Completions per second of a worker that always had one more to do; 0 not known."""
        looks = list(self._queue)
        if len(looks) < 2:
            return 0.0
        worked_s = sum(max(1, one.ready) * (two.now_s - one.now_s) for one, two in pairwise(looks))
        return (looks[-1].finished - looks[0].finished) / worked_s if worked_s > 0.0 else 0.0

    def _grow(self, sample: Sample, wait_s: float) -> Decision | None:
        pending = max(0, sample.wanted - sample.ready)
        if pending and sample.now_s - self._changed_s < PATIENCE_S:
            self._above = 0
            return None
        expected_s = wait_s * sample.ready / (sample.ready + pending) if pending else wait_s
        self._above = self._above + 1 if expected_s > self._target_s else 0
        if self._above < LOOKS or not sample.ready or self._draining(sample):
            return None
        wanted = self._enough(sample, wait_s)
        if wanted <= sample.wanted:
            return None
        return Decision(
            wanted,
            f"calls wait {milliseconds(wait_s)} (target {milliseconds(self._target_s)}), "
            f"{sample.waiting} waiting, {sample.busy} {plural('worker', sample.busy)} busy",
        )

    def _draining(self, sample: Sample) -> bool:
        """Whether the workers there are will soon have done away with the wait by themselves."""
        since_s = self._settled_s
        looks = [look for look in self._queue if since_s is None or look.now_s >= since_s]
        if len(looks) < 2:
            return False
        before = looks[0]
        fall = (before.waiting - sample.waiting) / max(1e-9, sample.now_s - before.now_s)
        harmless = self._rate_per_worker() * sample.ready * self._target_s
        return fall > 0.0 and sample.waiting - harmless <= fall * DRAIN_S

    def _enough(self, sample: Sample, wait_s: float) -> int:
        """As many as bring the wait to the target: at most twice as many as there are, and no more
        than have a call to run."""
        asked = math.inf if self._target_s <= 0.0 else sample.ready * wait_s / self._target_s
        most = min(self._max, 2 * sample.wanted, sample.ready + sample.waiting)
        return most if asked >= most else math.ceil(asked)

    def _shrink(self, sample: Sample) -> Decision | None:
        if sample.ready != sample.wanted or sample.wanted <= self._min:
            return None
        if sample.now_s - self._idle.since_s < self._idle_s:
            return None
        reason = f"one fewer would have done for {self._idle_s:g} s: {self._idle.describe(sample)}"
        return Decision(sample.wanted - 1, reason)


class IdleTime:
    """The time since when one worker fewer would have done."""

    def __init__(self) -> None:
        self.since_s = math.inf
        self._looks = 0
        self._full = 0
        self._busy = 0

    def restart(self, now_s: float) -> None:
        """It begins now."""
        self.since_s = now_s
        self._looks = self._full = self._busy = 0

    def look(self, sample: Sample) -> None:
        """Begins anew if too many looks found every worker at work."""
        if self.since_s == math.inf:
            self.restart(sample.now_s)
        self._looks += 1
        self._busy += sample.busy
        self._full += sample.busy + sample.waiting >= sample.ready
        if self._full > FULL_SHARE * self._looks:
            self.restart(sample.now_s)

    def describe(self, sample: Sample) -> str:
        """For the reason."""
        mean = self._busy / max(1, self._looks)
        return f"{mean:.1f} of {sample.ready} workers busy on average"


def milliseconds(seconds: float) -> str:
    """A wait for people: "0.4 ms", "35 ms"."""
    value = seconds * 1e3
    return f"{value:.0f} ms" if value >= 10.0 else f"{value:.2g} ms"


def plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
