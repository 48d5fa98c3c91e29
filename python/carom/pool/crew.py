# SPDX-License-Identifier: Apache-2.0
"""The workers that should be there and those that are: started, exchanged, dismissed, replaced.

Everything that happens changes one list, and balance() then does what is missing: it starts
workers until there are enough, and dismisses those that are too many. An exchange needs no more
than a mark: a worker that is marked no longer counts among those that stay, so another one is
started, and as soon as that is ready there is one too many, which is the marked one. One at a time.
"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Protocol

from carom.pool.channel import Message
from carom.pool.crashes import Crashes
from carom.pool.loop import Timer
from carom.pool.process import Process, Stage, end_of
from carom.pool.scene import Generation, Scene
from carom.pool.watcher import Watcher, headline
from carom.text import one_line

HANG_UP_S = 1.0
"""After a worker has hung up it has this long to end."""
NEW_CODE = "runs the old code"


class Events(Protocol):
    """What the crew tells its supervisor."""

    def on_loaded(self, generation: Generation, message: Message) -> None: ...
    def on_worker_ready(self, worker: Process) -> None: ...
    def on_worker_failed(self, worker: Process, text: str) -> None: ...
    def on_not_forked(self, template: Process, text: str) -> None: ...
    def on_change(self) -> None: ...


class Crew:
    """All worker processes of a service.

    wanted      how many there should be
    generation  of the workers that are started now; None: nobody is started yet
    probe       the first worker of another generation, which does not count yet
    due         workers to be exchanged, and why
    """

    def __init__(self, scene: Scene, events: Events) -> None:
        self.scene = scene
        self.events = events
        self.wanted = scene.settings.workers
        self.generation: Generation | None = None
        self.probe: Process | None = None
        self.workers: list[Process] = []
        self.due: dict[Process, str] = {}
        self.restarts = 0
        self.last_restart_epoch_s: float | None = None
        self.crashes = Crashes(scene.settings.max_crashes, scene.settings.crash_window)
        self._watcher = Watcher(scene, "worker")
        self._marked: Process | None = None
        self._keys = 0
        self._not_before_s = 0.0
        self._resume: Timer | None = None

    # ---- who there is

    def ready(self) -> list[Process]:
        """Those that take calls and have not been asked to leave."""
        return [worker for worker in self.workers if worker.is_ready]

    def staying(self) -> list[Process]:
        """Those that count, ready or not."""
        others = (self.probe, self._marked)
        return [worker for worker in self.workers if not worker.leaving and worker not in others]

    def find(self, pid: int) -> Process | None:
        """The worker with a process id."""
        return next((worker for worker in self.workers if worker.pid == pid), None)

    def unborn(self) -> list[Process]:
        """Those that a template has been asked for and has not forked yet."""
        return [worker for worker in self.workers if worker.pid is None]

    def failing(self) -> str | None:
        """Why there is no point in waiting for a worker; None: there is."""
        now_s = time.monotonic()
        if self.ready() or not self.crashes.too_many(now_s):
            return None
        crashes, settings = self.crashes, self.scene.settings
        times = f"{crashes.count(now_s)} times in {settings.crash_window:g} s"
        return f"{settings.target} keeps failing: {crashes.last_reason} ({times})"

    # ---- as many as wanted

    def balance(self) -> None:
        """Starts, marks and dismisses until the list is as it should be."""
        if self.scene.ending or self.generation is None:
            return
        self._mark_next()
        missing = self.wanted - len(self.staying())
        if missing > 0 and self._may_start():
            for _ in range(missing):
                self.start(self.generation)
        self._dismiss_surplus(-missing)
        self._dismiss_marked()

    def start(self, generation: Generation) -> Process:
        """A worker of a generation: a fork of its template, or a program of its own."""
        self._keys += 1
        template = generation.template
        stage = Stage.STARTING if template else Stage.LOADING
        worker = Process(generation.number, stage, key=self._keys)
        self.workers.append(worker)
        self._watcher.watch(worker, lambda: self._heard(worker, generation))
        timeout_s = self.scene.settings.start_timeout
        worker.limit = self.scene.loop.after(timeout_s, lambda: self._too_slow(worker))
        try:
            self._make(worker, template)
        except OSError as error:
            text = one_line(error)
            self.scene.loop.after(0.0, lambda: self.was_not_born(worker.key, text))
        return worker

    def _make(self, worker: Process, template: Process | None) -> None:
        if template is None:
            worker.start("worker", self.scene.settings.target)
            return
        self.join(worker)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end will be told
            worker.fork_from(template)

    def join(self, worker: Process) -> None:
        """Tells a worker to join the service, whose host is open."""
        settings = self.scene.settings
        worker.stage = Stage.STARTING
        worker.send(
            {
                "join": self.scene.name,
                "threads": settings.threads,
                "spin": settings.spin,
                "timeout": settings.timeout,
            }
        )

    def exchange(self, generation: Generation) -> None:
        """From now on workers are of this generation; those of others are due."""
        self.generation = generation
        self.probe = None
        for worker in self.workers:
            if worker.generation != generation.number and not worker.leaving:
                self.due.setdefault(worker, NEW_CODE)

    def outdated(self) -> list[Process]:
        """Those of another generation, leaving ones too."""
        number = self.generation.number if self.generation else 0
        return [w for w in self.workers if w.generation != number and w is not self.probe]

    def _mark_next(self) -> None:
        if self._marked is None:
            self._marked = next(iter(self.due), None)

    def _may_start(self) -> bool:
        delay_s = self._not_before_s - time.monotonic()
        if delay_s <= 0.0:
            return self._can_fork()
        if self._resume is None:
            self._resume = self.scene.loop.after(delay_s, self._go_on)
        return False

    def _go_on(self) -> None:
        self._resume = None
        self.balance()

    def _can_fork(self) -> bool:
        """While a template has to be replaced there is none to fork from."""
        generation = self.generation
        assert generation is not None
        if not self.scene.settings.preload:
            return True
        return generation.template is not None and generation.template.is_ready

    def _dismiss_surplus(self, count: int) -> None:
        """Those that are not ready first, then the due, then the youngest."""
        ranked = sorted(self.staying(), key=lambda w: (w.is_ready, w not in self.due, -w.started_s))
        for worker in ranked[: max(0, count)]:
            if not worker.is_ready or len(self.ready()) > self.wanted:
                self.dismiss(worker, "is one too many")

    def _dismiss_marked(self) -> None:
        marked = self._marked
        if marked is not None and (not marked.is_ready or len(self.ready()) > self.wanted):
            self.dismiss(marked, self.due.get(marked, ""))
            self.balance()  # the next one that is due

    # ---- asking to leave

    def dismiss(self, worker: Process, reason: str) -> None:
        """Lets it end the call that it runs; after the graceful timeout it is killed."""
        if worker.leaving:
            return
        was_ready = worker.is_ready
        self._forget(worker)
        worker.leaving = reason or "is not wanted"
        worker.stage = Stage.LEAVING
        if worker.limit is not None:
            worker.limit.cancel()
        timeout_s = self.scene.settings.graceful_timeout
        worker.limit = self.scene.loop.after(timeout_s, lambda: self._not_graceful(worker))
        if self.scene.host is not None and worker.pid is not None:
            self.scene.host.dismiss(worker.pid)
        if not was_ready:  # it may not have joined; if it has, this says the same
            worker.signal(signal.SIGTERM)

    def kill(self, worker: Process, doom: str) -> None:
        """Ends it now; its callers are told why."""
        worker.doom = worker.doom or doom
        if self.scene.host is not None and worker.pid is not None:
            self.scene.host.note_end(worker.pid, worker.doom)
        worker.signal(signal.SIGKILL)

    def _not_graceful(self, worker: Process) -> None:
        timeout_s = self.scene.settings.graceful_timeout
        self.kill(worker, f"did not finish within the graceful timeout of {timeout_s:g} s")
        self._say("killed", worker, f"{worker.doom}; killing it")

    def _too_slow(self, worker: Process) -> None:
        timeout_s = self.scene.settings.start_timeout
        done = "finish importing" if worker.stage is Stage.LOADING else "become ready"
        text = f"did not {done} in {timeout_s:g} s (--start-timeout)"
        if worker.pid is None and worker.template is not None:
            self.events.on_not_forked(worker.template, f"did not fork a worker in {timeout_s:g} s")
        else:
            self._watcher.end_slowly(worker, text)

    # ---- what workers say

    def _heard(self, worker: Process, generation: Generation) -> None:
        was_there = not worker.hung_up
        for message in worker.messages():
            if "loaded" in message:
                self.events.on_loaded(generation, message)
                if not worker.leaving and not self.scene.ending:
                    self.join(worker)
            elif "ready" in message:
                self._is_ready(worker, message["ready"])
            elif "failed" in message:
                worker.failure = message["failed"]
        if worker.hung_up and was_there:
            self._watcher.stop_hearing(worker)
            self.scene.loop.after(HANG_UP_S, lambda: self._hung_up(worker))

    def _is_ready(self, worker: Process, ids: list[int]) -> None:
        worker.ids = ids
        worker.ready_s = time.monotonic()
        if worker.pid is not None:  # else it was faster than its template, which says so
            self._serves(worker)

    def _serves(self, worker: Process) -> None:
        if worker.leaving:
            return
        worker.stage = Stage.READY
        if worker.limit is not None:
            worker.limit.cancel()
        self.events.on_worker_ready(worker)

    def _hung_up(self, worker: Process) -> None:
        if worker in self.workers and worker.pid is not None:
            self._say("killed", worker, "closed the channel to its supervisor; killing it")
            self.kill(worker, "closed its descriptors and was killed")

    def is_born(self, key: int, pid: int) -> Process | None:
        """The template has forked the worker with this key."""
        worker = next((w for w in self.unborn() if w.key == key), None)
        if worker is None:
            return None
        worker.pid = pid
        if worker.doom:
            worker.signal(signal.SIGKILL)
        elif worker.leaving:
            worker.signal(signal.SIGTERM)
        elif worker.ready_s is not None:
            self._serves(worker)
        return worker

    # ---- ends

    def was_not_born(self, key: int, text: str) -> None:
        """The template could not fork it."""
        worker = next((w for w in self.unborn() if w.key == key), None)
        if worker is not None:
            self._remove(worker)
            self._crashed(worker, f"could not be started: {text}")

    def give_up_unborn(self) -> None:
        """At the end of the service; whoever is forked yet finds its channel closed."""
        for worker in self.unborn():
            self._remove(worker)

    def drop(self, worker: Process) -> None:
        """It has never served: it ends now, and that is no crash."""
        worker.leaving = "is not fit"
        self.kill(worker, "was not fit")

    def ended(self, worker: Process, status: int) -> None:
        """Its process has ended and was reaped."""
        self._watcher.hear(worker)
        self._remove(worker)
        text = worker.doom or end_of(status)
        if worker.leaving:
            if status not in (0, -signal.SIGTERM) and not worker.doom:
                self._say("died", worker, f"{text} while it was leaving")
            self.events.on_change()
        else:
            self._crashed(worker, text)

    def lose(self, template: Process) -> None:
        """A template has died: what it has not forked will not come."""
        for worker in self.unborn():
            if worker.template is template:
                self._remove(worker)
                if worker is self.probe:
                    self.probe = None
                    self.events.on_worker_failed(worker, "the template died")

    def _crashed(self, worker: Process, text: str) -> None:
        reason = f"worker {worker.pid} {text}" if worker.pid else f"a worker {text}"
        if worker.failure:
            reason = f"worker {worker.pid} failed: {worker.failure.strip().splitlines()[-1]}"
        if worker is self.probe or not self.scene.announced:
            self.probe = None if worker is self.probe else self.probe
            self.events.on_worker_failed(worker, worker.failure or f"{reason} on its start")
            return
        self._note_crash(worker, text, reason)
        self.events.on_change()

    def note_no_template(self, reason: str) -> None:
        """There can be no worker: that counts as if one had died."""
        self.crashes.died(time.monotonic(), 0.0, reason)
        self.events.on_change()

    def _note_crash(self, worker: Process, text: str, reason: str) -> None:
        now_s = time.monotonic()
        delay_s = self.crashes.died(now_s, worker.age_s(), reason)
        self._not_before_s = max(self._not_before_s, now_s + delay_s) if delay_s else 0.0
        self.restarts += 1
        self.last_restart_epoch_s = time.time()
        self.balance()  # at once, the log can wait
        if worker.failure:
            self.scene.log.event("failed", headline(worker.failure), pid=worker.pid)
        later = f" in {delay_s:.1f} s" if delay_s else ""
        ending = "" if self.scene.ending else f"; starting another{later}"
        self._say("died", worker, text + ending)

    def _remove(self, worker: Process) -> None:
        self.workers.remove(worker)
        self._forget(worker)
        if worker.limit is not None:
            worker.limit.cancel()
        self._watcher.forget(worker)
        worker.close()

    def _forget(self, worker: Process) -> None:
        """It is exchanged already, or has gone by itself."""
        self.due.pop(worker, None)
        if self._marked is worker:
            self._marked = None

    def _say(self, name: str, worker: Process, text: str) -> None:
        self.scene.log.event(name, f"worker {worker.pid} {text}", pid=worker.pid)
