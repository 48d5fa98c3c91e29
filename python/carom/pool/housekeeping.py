# SPDX-License-Identifier: Apache-2.0
"""What the supervisor looks at regularly: calls that run too long, workers that have done enough,
calls that wait. The policies decide (stuck, recycle, autoscale); here they are fed and obeyed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from carom.observer import Observer
from carom.pool.autoscale import Autoscaler, Sample
from carom.pool.channel import DUMP_SIGNAL, INTERRUPT_SIGNAL
from carom.pool.crew import Crew
from carom.pool.memory import rss_bytes
from carom.pool.process import Process
from carom.pool.recycle import Recycler, Usage
from carom.pool.scene import Scene
from carom.pool.stuck import Action, Running, StuckWatch
from carom.records import WorkerRecord

OFTEN_S = 0.05
SOMETIMES_S = 0.25
SELDOM_S = 1.0
NS_PER_S = 1e9


class Housekeeping:
    """Looks and acts, once per look(); to be made when the host is open."""

    def __init__(self, scene: Scene, crew: Crew) -> None:
        settings = scene.settings
        self._scene = scene
        self._crew = crew
        self._observer: Observer | None = None
        self._stuck = StuckWatch(settings.timeout_grace, settings.timeout)
        self._recycler = Recycler(settings)
        self._autoscaler: Autoscaler | None = None
        if settings.min_workers < settings.max_workers:
            self._autoscaler = Autoscaler(
                settings.min_workers,
                settings.max_workers,
                settings.target_wait,
                settings.idle_time,
            )
        self._counts: dict[tuple[int, int], int] = {}
        self._finished = 0

    def interval_s(self) -> float:
        """How long until the next look: nobody wakes more often than is of use."""
        settings, generation = self._scene.settings, self._crew.generation
        timeouts = generation is not None and generation.has_timeouts()
        if self._autoscaler or timeouts or settings.timeout is not None:
            return OFTEN_S
        if settings.max_requests or settings.max_rss or settings.max_age:
            return SOMETIMES_S
        return SELDOM_S

    def look(self) -> None:
        """Once round. Raises ConnectionResetError when the host has gone."""
        if self._observer is None and not self._observe():
            return
        assert self._observer is not None
        now_s = time.monotonic()
        records = [record for record in self._observer.workers() if self._crew.find(record.pid)]
        self._look_at_running(now_s, records)
        if self._scene.ending or not self._scene.announced:
            return
        self._look_at_usage(records)
        if self._autoscaler is not None:
            self._look_at_waiting(now_s, records, self._autoscaler)

    def forget(self, pid: int) -> None:
        """The worker with this pid has ended."""
        self._recycler.forget(pid)

    def close(self) -> None:
        """Looks no more."""
        if self._observer is not None:
            self._observer.close()

    def _observe(self) -> bool:
        """False: the host has no time for that now."""
        try:
            self._observer = Observer(self._scene.name)
        except TimeoutError:
            return False
        return True

    # ---- calls that run too long

    def _look_at_running(self, now_s: float, records: Sequence[WorkerRecord]) -> None:
        for action in self._stuck.actions(now_s, map(self._running, busy(records))):
            worker = self._crew.find(action.pid)
            if worker is not None:
                self._act(worker, action)

    def _running(self, record: WorkerRecord) -> Running:
        generation = self._crew.generation
        return Running(
            pid=record.pid,
            worker=record.id,
            method=record.running or "",
            timeout_s=generation.timeout_s(record.running) if generation else None,
            since_s=record.running_since_ns / NS_PER_S,
        )

    def _act(self, worker: Process, action: Action) -> None:
        limit = f"its timeout of {action.limit_s:g} s"
        if action.kind == "dump":
            text = f"worker {worker.pid} runs {action.method!r} longer than {limit}"
            self._scene.log.event("stuck", text, pid=worker.pid, method=action.method)
            worker.signal(DUMP_SIGNAL)
        elif action.kind == "interrupt":
            worker.signal(INTERRUPT_SIGNAL)
        else:
            self._crew.kill(worker, f"ran {action.method!r} longer than {limit} and was killed")

    # ---- workers that have done enough

    def _look_at_usage(self, records: Sequence[WorkerRecord]) -> None:
        for worker in self._crew.ready():
            if worker in self._crew.due:
                continue
            reason = self._recycler.reason(self._usage(worker, records))
            if reason:
                self._crew.due[worker] = reason
                text = f"worker {worker.pid} {reason}; starting another in its place"
                self._scene.log.event("recycle", text, pid=worker.pid)

    def _usage(self, worker: Process, records: Sequence[WorkerRecord]) -> Usage:
        pid = worker.pid or 0
        return Usage(
            pid=pid,
            age_s=worker.age_s(),
            calls=sum(record.calls for record in records if record.pid == pid),
            rss_bytes=rss_bytes(pid) if self._scene.settings.max_rss else 0,
        )

    # ---- calls that wait

    def _look_at_waiting(
        self, now_s: float, records: Sequence[WorkerRecord], autoscaler: Autoscaler
    ) -> None:
        assert self._scene.host is not None
        waiting = self._scene.host.waiting()
        crew, threads = self._crew, self._scene.settings.threads
        sample = Sample(
            now_s=now_s,
            waiting=waiting.calls,
            oldest_wait_s=waiting.oldest_ns / NS_PER_S,
            finished=self._count(records),
            busy=-(-len(busy(records)) // threads),
            ready=len(crew.ready()),
            wanted=crew.wanted,
        )
        decision = autoscaler.decide(sample)
        if decision is not None:
            text = f"from {crew.wanted} to {decision.wanted} workers: {decision.reason}"
            crew.wanted = decision.wanted
            self._scene.log.event("scale", text, wanted=decision.wanted)

    def _count(self, records: Sequence[WorkerRecord]) -> int:
        """Calls that were finished by workers, those that have left included."""
        now = {(record.id, record.joined_ns): record.calls for record in records}
        for key, calls in now.items():
            self._finished += max(0, calls - self._counts.get(key, 0))
        self._counts = now
        return self._finished


def busy(records: Sequence[WorkerRecord]) -> list[WorkerRecord]:
    """Those that run a call."""
    return [record for record in records if record.running is not None]
