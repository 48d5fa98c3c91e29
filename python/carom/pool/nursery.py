# SPDX-License-Identifier: Apache-2.0
"""Templates: the processes that import the application once and fork workers.

There is one per generation of the code. When the one that workers come from dies, workers go on
and another one is started.
"""

from __future__ import annotations

import signal
import time
from typing import Protocol

from carom.pool.channel import Message
from carom.pool.crashes import Crashes
from carom.pool.process import Process, Stage, end_of, start_template
from carom.pool.scene import Generation, Scene
from carom.pool.watcher import Watcher


class Events(Protocol):
    """What templates tell the supervisor."""

    def on_loaded(self, generation: Generation, message: Message) -> None: ...
    def on_forked(self, key: int, pid: int) -> None: ...
    def on_unforked(self, key: int, text: str) -> None: ...
    def on_generation_failed(self, generation: Generation, text: str) -> None: ...
    def on_template_lost(self, template: Process) -> None: ...


class Nursery:
    """All templates of a service: one, or two during a reload."""

    def __init__(self, scene: Scene, events: Events) -> None:
        self.scene = scene
        self.events = events
        self.templates: dict[Process, Generation] = {}
        self._crashes = Crashes(0, scene.settings.crash_window)
        self._watcher = Watcher(scene, "template")

    def find(self, pid: int) -> Process | None:
        """The template with a process id."""
        return next((template for template in self.templates if template.pid == pid), None)

    def start(self, generation: Generation) -> None:
        """A template for a generation; it says when it has loaded."""
        self.adopt(start_template(self.scene.settings.target, generation.number), generation)

    def adopt(self, template: Process, generation: Generation) -> None:
        """One that has been started already."""
        self.templates[template] = generation
        generation.template = template
        self._watcher.watch(template, lambda: self._heard(template))
        timeout_s = self.scene.settings.start_timeout
        template.limit = self.scene.loop.after(timeout_s, lambda: self._too_slow(template))

    def dismiss(self, generation: Generation) -> None:
        """Nothing will be forked from it any more."""
        template, generation.template = generation.template, None
        if template is None or template.leaving:
            return
        was_ready = template.is_ready
        template.leaving = "is not needed any more"
        template.stage = Stage.LEAVING
        self._watcher.stop_hearing(template)
        template.channel.close()
        self._limit(template, self.scene.settings.graceful_timeout)
        if not was_ready:  # it does not look at its channel
            template.signal(signal.SIGKILL)

    def kill_all(self) -> None:
        """At the end of the service."""
        for template in self.templates:
            template.signal(signal.SIGKILL)

    def hear_all(self) -> None:
        """Takes in what templates have said and the loop has not come to yet."""
        for template in list(self.templates):
            self._watcher.hear(template)

    def stuck(self, template: Process, doom: str) -> None:
        """It does not do what it was asked for."""
        if template in self.templates and template.doom is None:
            self._watcher.end_slowly(template, doom)

    def ended(self, template: Process, status: int) -> None:
        """Its process has ended and was reaped."""
        self._watcher.hear(template)
        generation = self.templates.pop(template)
        self._watcher.forget(template)
        if template.limit is not None:
            template.limit.cancel()
        template.close()
        if generation.template is template:
            generation.template = None
        if not template.leaving:
            self.events.on_template_lost(template)
            self._died(template, generation, template.doom or end_of(status))

    def _died(self, template: Process, generation: Generation, end: str) -> None:
        text = template.failure or f"the template {template.pid} {end}"
        if self.scene.ending:
            return
        if template.ready_s is None:
            when = "" if template.failure or template.doom else " on its start"
            self.events.on_generation_failed(generation, text + when)
            return
        self.scene.log.event("template", f"{text}; starting another", pid=template.pid)
        self.start_later(generation, template.age_s(), text)

    def start_later(self, generation: Generation, age_s: float, reason: str) -> float:
        """Another template for a generation that has lost its own. Returns when, in seconds."""
        delay_s = self._crashes.died(time.monotonic(), age_s, reason)
        self.scene.loop.after(delay_s, lambda: self._start_again(generation))
        return delay_s

    def _start_again(self, generation: Generation) -> None:
        if generation.template is None and not generation.over and not self.scene.ending:
            self.start(generation)

    def _heard(self, template: Process) -> None:
        for message in template.messages():
            self._say(template, message)
        if template.hung_up:
            self._watcher.stop_hearing(template)

    def _say(self, template: Process, message: Message) -> None:
        if "loaded" in message:
            template.stage = Stage.READY
            template.ready_s = time.monotonic()
            if template.limit is not None:
                template.limit.cancel()
            self.events.on_loaded(self.templates[template], message)
        elif "failed" in message:
            template.failure = message["failed"]
        elif "forked" in message:
            self.events.on_forked(message["key"], message["forked"])
        elif "unforked" in message:
            self.events.on_unforked(message["key"], message["unforked"])

    def _too_slow(self, template: Process) -> None:
        timeout_s = self.scene.settings.start_timeout
        self.stuck(template, f"did not finish importing in {timeout_s:g} s (--start-timeout)")

    def _limit(self, template: Process, timeout_s: float) -> None:
        if template.limit is not None:
            template.limit.cancel()
        template.limit = self.scene.loop.after(timeout_s, lambda: template.signal(signal.SIGKILL))
