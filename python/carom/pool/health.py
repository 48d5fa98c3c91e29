# SPDX-License-Identifier: Apache-2.0
"""The truth about the service: its state, for everybody to see, and for callers when it is bad.

While no worker will be ready soon, because they keep dying or because the service ends, a stand-in
answers UNAVAILABLE at once; it leaves as soon as a worker is ready.
"""

from __future__ import annotations

from carom.pool.crew import Crew
from carom.pool.description import Description
from carom.pool.notify import Notifier
from carom.pool.scene import Scene
from carom.pool.stand_in import StandIn
from carom.records import State
from carom.text import one_line


class Health:
    """Looked at after every change."""

    def __init__(self, scene: Scene, crew: Crew, notifier: Notifier) -> None:
        self._scene = scene
        self._crew = crew
        self._notifier = notifier
        self._description = Description()
        self._described: tuple[State, str] | None = None
        self._stand_in: StandIn | None = None

    def update(self) -> None:
        """Says how it is. Nothing before the host is open."""
        if self._scene.host is None:
            return
        if self._crew.ready() and not self._scene.ending:
            self.close()  # before anybody is told that calls are served
        self._description.enter(self._state())
        now = (self._description.state, self._description.text(self._crew))
        if now != self._described:
            self._described = now
            self._scene.host.describe(*now)
            self._notifier.status(self.summary())
        self._answer_or_not()

    def summary(self) -> str:
        """For people."""
        ready, wanted = len(self._crew.ready()), self._crew.wanted
        state = self._description.state.name.lower()
        return f"{self._scene.name}: {state}, {ready} of {wanted} workers ready"

    def _answer_or_not(self) -> None:
        """Has a stand-in answer when no worker will come."""
        reason = self._why_nobody_serves()
        if reason is not None and (self._stand_in is None or self._stand_in.reason != reason):
            self.close()
            self._call_stand_in(reason)

    def close(self) -> None:
        """Dismisses the stand-in."""
        if self._stand_in is not None:
            self._stand_in.close()
            self._stand_in = None

    def _state(self) -> State:
        if self._scene.ending:
            return State.DRAINING
        if not self._scene.announced:
            return State.STARTING
        ready = len(self._crew.ready())
        if ready >= self._crew.wanted:
            return State.READY
        failing = self._stand_in is not None or self._why_nobody_serves() is not None
        return State.FAILING if ready == 0 and failing else State.DEGRADED

    def _why_nobody_serves(self) -> str | None:
        if self._crew.generation is None:
            return None
        if self._scene.ending:
            return f"{self._scene.name} is shutting down"
        return self._crew.failing() if self._scene.announced else None

    def _call_stand_in(self, reason: str) -> None:
        generation, log = self._crew.generation, self._scene.log
        assert generation is not None
        try:
            self._stand_in = StandIn(self._scene.name, generation.idempotence(), reason)
        except (OSError, ValueError, MemoryError) as error:
            log.event("error", f"calls wait, for nobody can refuse them: {one_line(error)}")
            return
        if not self._scene.ending:
            log.event("failing", f"{reason}; calls are refused until a worker is ready")
