# SPDX-License-Identifier: Apache-2.0
"""What to do about a call that runs longer than it may: three steps, each at a look of its own.

    dump        at the limit: the Python stacks of the worker go to the log
    interrupt   a moment later, when they have been written: an exception for the handler
    kill        the grace time after the dump: SIGKILL

The grace time counts from the dump and not from the limit, so that a supervisor that was itself
stopped for a while gives a handler no less time. Without a time limit nothing is ever done: a
worker that is merely busy, or stopped in a debugger, is nobody's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

DUMP_S = 0.05
"""A worker has this long to write its stacks before anything else happens to it."""

Kind = Literal["dump", "interrupt", "kill"]
Call = tuple[int, float]
"""A call in progress, told from all others: its worker's id, and since when it runs."""


@dataclass(frozen=True)
class Running:
    """A worker that runs a call."""

    pid: int
    worker: int
    method: str
    timeout_s: float | None
    """The method's own; None: the service's."""
    since_s: float


@dataclass(frozen=True)
class Action:
    """What is due now."""

    kind: Kind
    pid: int
    worker: int
    method: str
    ran_s: float
    limit_s: float


@dataclass
class Steps:
    """What has been done about one call."""

    dumped_s: float
    interrupted: bool = False
    killed: bool = False


class StuckWatch:
    """Remembers what has been done about each call; every step is taken once."""

    def __init__(self, grace_s: float, default_timeout_s: float | None = None) -> None:
        self._grace_s = grace_s
        self._default_s = default_timeout_s
        self._steps: dict[Call, Steps] = {}

    def actions(self, now_s: float, running: Iterable[Running]) -> list[Action]:
        """What is due, given all calls in progress. What is no longer among them is forgotten."""
        due: list[Action] = []
        seen: set[Call] = set()
        for call in running:
            seen.add((call.worker, call.since_s))
            limit_s = self._default_s if call.timeout_s is None else call.timeout_s
            ran_s = now_s - call.since_s
            if limit_s is None or ran_s < limit_s:
                continue
            if kind := self._next(now_s, (call.worker, call.since_s)):
                due.append(Action(kind, call.pid, call.worker, call.method, ran_s, limit_s))
        for gone in self._steps.keys() - seen:
            del self._steps[gone]
        return due

    def _next(self, now_s: float, call: Call) -> Kind | None:
        """The next step for a call beyond its limit, if its time has come."""
        steps = self._steps.get(call)
        if steps is None:
            self._steps[call] = Steps(now_s)
            return "dump"
        since_s = now_s - steps.dumped_s
        if not steps.interrupted:
            steps.interrupted = since_s >= DUMP_S
            return "interrupt" if steps.interrupted else None
        if not steps.killed:
            steps.killed = since_s >= self._grace_s
            return "kill" if steps.killed else None
        return None
