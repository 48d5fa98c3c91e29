# SPDX-License-Identifier: Apache-2.0
"""The code on disk takes the place of the code that runs, if it is fit.

A candidate, the next generation, loads beside the present one; then its first worker, the probe,
has to become ready. If either fails the present generation just goes on. If not, the crew exchanges
the other workers one by one, and when the last old one has left the old template leaves too.
Asked for meanwhile, it begins once more afterwards.
"""

from __future__ import annotations

from collections.abc import Callable

from carom.pool.crew import Crew
from carom.pool.notify import Notifier
from carom.pool.nursery import Nursery
from carom.pool.process import Process
from carom.pool.scene import Generation, Scene

Start = Callable[[Generation], Process | None]
"""Begins to load a generation; without a template a worker does that, which is returned."""


class Reload:
    """All reloads of a service.

    candidate  the generation that is tried; None: no reload, or it has passed
    """

    def __init__(
        self, scene: Scene, crew: Crew, nursery: Nursery, notifier: Notifier, start: Start
    ) -> None:
        self.candidate: Generation | None = None
        self._scene = scene
        self._crew = crew
        self._nursery = nursery
        self._notifier = notifier
        self._start = start
        self._old: Generation | None = None
        self._again: str | None = None
        self._count = 0

    def begin(self, why: str) -> None:
        """Now, or when it can be."""
        if self._scene.ending:
            return
        if self.candidate is not None or self._old is not None or not self._scene.announced:
            self._again = why
            return
        self._count += 1
        self.candidate = Generation(1 + self._count)
        self._scene.log.event("reload", f"reload ({why}): loading the code on disk")
        self._notifier.reloading()
        self._crew.probe = self._start(self.candidate)

    def go_on(self) -> None:
        """What was asked for meanwhile."""
        if self._again is not None:
            why, self._again = self._again, None
            self.begin(why)

    def loaded(self) -> None:
        """The candidate has a template: can it have a worker?"""
        if self._scene.settings.preload and self.candidate is not None:
            self._crew.probe = self._crew.start(self.candidate)

    def passed(self) -> None:
        """The probe is ready: the candidate takes over."""
        candidate, old = self.candidate, self._crew.generation
        assert candidate is not None
        assert old is not None
        self.candidate, self._old = None, old
        old.over = True
        self._crew.exchange(candidate)

    def failed(self, text: str) -> None:
        """The candidate is not fit."""
        candidate, probe = self.candidate, self._crew.probe
        if candidate is None:
            return
        self.candidate = self._crew.probe = None
        candidate.over = True
        self._scene.log.event("reload_failed", f"reload failed; the old code goes on\n{text}")
        self._nursery.dismiss(candidate)
        if probe is not None:
            self._crew.drop(probe)
        self._end()

    def finish(self) -> None:
        """Is the last old worker gone?"""
        if self._old is None or self._crew.outdated():
            return
        self._nursery.dismiss(self._old)
        self._old = None
        self._scene.log.event("reloaded", "reloaded: every worker runs the new code")
        self._end()

    def _end(self) -> None:
        self._notifier.ready()
        self.go_on()
