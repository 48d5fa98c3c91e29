# SPDX-License-Identifier: Apache-2.0
"""The main process of `carom serve`: one loop, one function for each thing that can happen.

The host runs on a thread of this process, in C and without the GIL. This process never imports the
application: the template does (nursery), or the first worker. If that fails it says why, and
nothing has been started yet; if not, the host claims the service's name and the workers follow
(crew). From the announcement on nothing that happens to a child ends the service.

    loaded           open the host (first time), start workers
    worker ready     announce when all are; during a reload: the new code is fit to take over
    end of a child   before the announcement: give up; after it: another one
    SIGHUP, --watch  reload: a new generation beside the old one, until its first worker is ready
    SIGTERM, SIGINT  drain; a second one kills
    SIGTTIN, SIGTTOU one worker more, one less
"""

from __future__ import annotations

import os
import signal
import traceback

from carom.binding import become_subreaper
from carom.host import Host
from carom.pool.channel import Message
from carom.pool.crew import Crew
from carom.pool.health import Health
from carom.pool.host_events import HostEvents
from carom.pool.housekeeping import Housekeeping
from carom.pool.log import Log
from carom.pool.loop import Loop
from carom.pool.memory import OutOfMemory
from carom.pool.notify import Notifier
from carom.pool.nursery import Nursery
from carom.pool.process import Process, end_of, next_end, reap
from carom.pool.reload import Reload
from carom.pool.scene import Generation, Scene
from carom.pool.settings import Settings
from carom.pool.watch import FileWatch
from carom.pool.watcher import headline
from carom.text import one_line

WATCH_S = 0.5
PARENT_GRACE_S = 1.0
MOST_WORKERS = 255
"""The host knows 256, and one of them is the stand-in."""
SIGNALS = (
    signal.SIGCHLD,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


class Supervisor:
    """Serves one application until a signal says otherwise. Used once, by the main thread.

    first  the template of the first generation, if it has been started already
    """

    def __init__(
        self, settings: Settings, log: Log, notifier: Notifier, first: Process | None = None
    ) -> None:
        self.settings = settings
        self.log = log
        self.notifier = notifier
        self.status = 0
        loop = Loop(SIGNALS, self.on_signal, self.on_host_end)
        self.scene = Scene(settings, loop, log)
        self.crew = Crew(self.scene, self)
        self.nursery = Nursery(self.scene, self)
        self.reload = Reload(self.scene, self.crew, self.nursery, notifier, self._start)
        self.health = Health(self.scene, self.crew, notifier)
        self.housekeeping: Housekeeping | None = None
        self.files = FileWatch([])
        self._first = first
        self._memory = OutOfMemory()
        self._ended_early: dict[int, int] = {}
        self._events: HostEvents | None = None
        self._parent_fd: int | None = None

    def run(self) -> int:
        """Serves, and returns the exit status: 0 after a signal, 1 if it could not serve."""
        try:
            become_subreaper()
            self._feed_watchdog()
            self._begin()
            while not self._is_over():
                self.scene.loop.turn()
        except Exception:  # a mistake of ours: better no service than one that nobody looks after
            self.status = 1
            self.log.event("error", f"the supervisor failed\n{traceback.format_exc().rstrip()}")
        finally:
            self._end()
        return self.status

    # ---- the beginning

    def _begin(self) -> None:
        generation = Generation(1)
        if self._first is not None:
            self.nursery.adopt(self._first, generation)
        if self.settings.parent is not None and not self._watch_parent(self.settings.parent):
            return
        if self.settings.name is not None and not self._open_host(self.settings.name):
            return
        if self._first is None:
            self._start(generation)

    def _start(self, generation: Generation) -> Process | None:
        """Loads a generation; without a template the first worker does, which is returned."""
        if self.settings.preload:
            self.nursery.start(generation)
            return None
        return self.crew.start(generation)

    def _watch_parent(self, parent: int) -> bool:
        if os.getppid() != parent:
            self.on_parent_end()
            return False
        self._parent_fd = os.pidfd_open(parent)  # if it dies now, this is at its end at once
        self.scene.loop.watch(self._parent_fd, self.on_parent_end)
        return True

    def _open_host(self, name: str) -> bool:
        events = HostEvents(self.scene)
        quarantine = self.settings.quarantine
        try:
            self.scene.host = Host(
                name,
                allowed_uids=self.settings.allow_uid,
                quarantine=str(quarantine) if quarantine else None,
                event_fd=events.writer,
                ended=self.scene.loop.ring,
            )
        except (OSError, ValueError, MemoryError) as error:
            events.close()
            self.give_up(f"cannot serve {name!r}: {one_line(error)}")
            return False
        self.scene.name = name
        self._events = events
        self.housekeeping = Housekeeping(self.scene, self.crew)
        self._keep_house()
        self.update()
        return True

    # ---- what templates and workers say

    def on_loaded(self, generation: Generation, message: Message) -> None:
        """The application has been imported: the first time, for a reload, or once more."""
        if generation.over or self.scene.ending:
            return
        if message["warning"] and not generation.loaded:
            self.log.event("warning", message["warning"])
        generation.note_loaded(message)
        if self.settings.watch:
            self.files.update(generation.files)
        if self.crew.generation is None:
            self._serve_first(generation)
        elif generation is self.reload.candidate:
            self.reload.loaded()
        else:
            self.update()

    def _serve_first(self, generation: Generation) -> None:
        if self.scene.host is None and not self._open_host(generation.name):
            return
        self.crew.generation = generation
        self.update()

    def on_forked(self, key: int, pid: int) -> None:
        """The template has forked a worker; that may even have ended by now."""
        worker = self.crew.is_born(key, pid)
        status = self._ended_early.pop(pid, None)
        if worker is not None and status is not None:
            self._worker_ended(worker, status)
        if not self.crew.unborn():
            self._ended_early.clear()

    def on_unforked(self, key: int, text: str) -> None:
        """The template could not fork a worker."""
        self.crew.was_not_born(key, text)

    def on_not_forked(self, template: Process, text: str) -> None:
        """The template does not do what it is asked for."""
        self.nursery.stuck(template, text)

    def on_worker_ready(self, worker: Process) -> None:
        """A worker takes calls."""
        if worker is self.crew.probe:
            self.reload.passed()
        if not self.scene.announced and len(self.crew.ready()) >= self.crew.wanted:
            self._announce()
        self.update()

    def on_change(self) -> None:
        """The crew has changed."""
        self.update()

    # ---- failures

    def on_worker_failed(self, worker: Process, text: str) -> None:
        """A worker has ended before the announcement, or the first one of a reload."""
        if not self.scene.announced:
            self.give_up(text)
        else:
            self.reload.failed(text)

    def on_generation_failed(self, generation: Generation, text: str) -> None:
        """A template has ended before it had loaded the application."""
        if not self.scene.announced:
            self.give_up(text)
        elif generation is self.reload.candidate:
            self.reload.failed(text)
        elif not generation.over:
            delay_s = self.nursery.start_later(generation, 0.0, text)
            self.crew.note_no_template(headline(text).split("\n", 1)[0])
            later = f" in {delay_s:.1f} s" if delay_s else ""
            self.log.event("template", f"no template; starting another{later}\n{headline(text)}")

    def on_template_lost(self, template: Process) -> None:
        """A template has died; the workers that it has forked go on."""
        self.crew.lose(template)

    def give_up(self, text: str) -> None:
        """Stops because it cannot serve."""
        if self.scene.ending:
            return
        self.status = 1
        if self.settings.report_fd is not None:
            self._report(f"failed\n{text}")
        else:
            self.log.event("failed", headline(text))
        self.scene.ending = True
        self._kill_all("was killed because the service cannot start")

    # ---- processes end

    def _reap(self) -> None:
        while (end := next_end()) is not None:
            pid, status = end
            if self.crew.unborn() and self.crew.find(pid) is None:
                self.nursery.hear_all()  # the word of its birth may be there
            worker, template = self.crew.find(pid), self.nursery.find(pid)
            if worker is not None:
                self._note_end(worker, status)
            reap(pid)
            if worker is not None:
                self._worker_ended(worker, status)
            elif template is not None:
                template.note_reaped(status)
                self.nursery.ended(template, status)
            elif self.crew.unborn():
                self._ended_early[pid] = status

    def _note_end(self, worker: Process, status: int) -> None:
        """Before it is reaped: what its callers are told."""
        assert worker.pid is not None
        if status == -signal.SIGKILL and worker.doom is None and self._memory.struck():
            worker.doom = f"{end_of(status)}: out of memory"
        if self.scene.host is not None and status != 0:
            self.scene.host.note_end(worker.pid, worker.doom or end_of(status))

    def _worker_ended(self, worker: Process, status: int) -> None:
        worker.note_reaped(status)
        if self.housekeeping is not None and worker.pid is not None:
            self.housekeeping.forget(worker.pid)
        self.crew.ended(worker, status)

    # ---- how the service is

    def update(self) -> None:
        """After every change: as many workers as wanted, and the truth for everybody."""
        self.crew.balance()
        self.reload.finish()
        self.health.update()

    def _announce(self) -> None:
        assert self.scene.host is not None
        self.scene.announced = True
        self.health.update()  # who reads the line below can believe the description
        if self.settings.report_fd is not None:
            self._report(f"ready {self.settings.graceful_timeout:.0f}\n")
        else:
            pids = sorted(worker.pid or 0 for worker in self.crew.ready())
            s = "s" if len(pids) > 1 else ""
            crew = f"{len(pids)} worker{s} (pid{s} {', '.join(map(str, pids))})"
            place = f"{self.scene.name} at {self.scene.host.path}"
            print(f"carom: serving {place} with {crew}", flush=True)
            self.log.notice("ready", f"serving {place} with {crew}")
        self.notifier.ready()
        if self.settings.watch:
            self.scene.loop.after(WATCH_S, self._look_at_files)
        self.reload.go_on()

    def _report(self, text: str) -> None:
        fd = self.settings.report_fd
        assert fd is not None
        try:
            with open(fd, "wb") as report:
                report.write(text.encode("utf-8", "replace"))
        except OSError as error:
            self.log.event("error", f"cannot report to descriptor {fd}: {one_line(error)}")

    def _look_at_files(self) -> None:
        if self.scene.ending:
            return
        changed = self.files.changed()
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            self.reload.begin(f"{os.path.basename(changed[0])}{more} changed")
        self.scene.loop.after(WATCH_S, self._look_at_files)

    # ---- signals

    def on_signal(self, number: int) -> None:
        """One of SIGNALS has arrived."""
        if number == signal.SIGCHLD:
            self._reap()
        elif number in (signal.SIGINT, signal.SIGTERM):
            self._stop(signal.Signals(number).name)
        elif number == signal.SIGHUP:
            self.reload.begin("SIGHUP")
        elif not self.scene.ending:
            self._resize(1 if number == signal.SIGTTIN else -1)

    def _resize(self, step: int) -> None:
        least, most = 1, max(1, MOST_WORKERS // self.settings.threads - 1)  # one for an exchange
        if self.settings.min_workers < self.settings.max_workers:
            least, most = self.settings.min_workers, self.settings.max_workers
        name = "SIGTTIN" if step > 0 else "SIGTTOU"
        wanted = min(max(self.crew.wanted + step, least), most)
        if wanted == self.crew.wanted:
            bound = "largest" if step > 0 else "smallest"
            text = f"{name}: {wanted} is the {bound} number of workers that there can be"
            self.log.event("scale", text)
            return
        text = f"from {self.crew.wanted} to {wanted} workers: {name}"
        self.crew.wanted = wanted
        self.log.event("scale", text, wanted=wanted)
        self.update()

    def _stop(self, name: str) -> None:
        if self.scene.ending:
            self._kill_all(f"was killed by a second {name} to its supervisor")
        else:
            self._drain()

    def _drain(self) -> None:
        """Calls in progress end, others are refused."""
        self.log.notice("draining", "finishes the calls in progress and ends")
        self.scene.ending = True
        self.notifier.stopping()
        for worker in list(self.crew.workers):
            self.crew.dismiss(worker, "the service ends")
        for template in list(self.nursery.templates.values()):
            self.nursery.dismiss(template)
        self.crew.give_up_unborn()
        self.health.update()

    def _kill_all(self, doom: str) -> None:
        self.crew.give_up_unborn()
        for worker in self.crew.workers:
            self.crew.kill(worker, doom)
        self.nursery.kill_all()

    def on_parent_end(self) -> None:
        """The program that this service is for has ended."""
        if self._parent_fd is not None:
            self.scene.loop.unwatch(self._parent_fd)
            os.close(self._parent_fd)
            self._parent_fd = None
        if not self.scene.ending:
            self._drain()
        end = "was killed because the program it worked for has ended"
        self.scene.loop.after(PARENT_GRACE_S, lambda: self._kill_all(end))

    def on_host_end(self) -> None:
        """The host's thread has ended."""
        host = self.scene.host
        if host is not None and not self.scene.ending:
            error = one_line(host.error) if host.error else "it ended"
            self._fail(f"the host of {self.scene.name!r} failed: {error}")

    # ---- what is done regularly

    def _keep_house(self) -> None:
        """Looks after workers and calls; a mistake there must not end the service."""
        if self.housekeeping is None:
            return
        try:
            self.housekeeping.look()
            self.update()
        except Exception:
            self.log.event("error", f"housekeeping failed\n{traceback.format_exc()}")
        self.scene.loop.after(self.housekeeping.interval_s(), self._keep_house)

    def _feed_watchdog(self) -> None:
        """The loop turns: that is what the service manager wants to know."""
        self.notifier.watchdog()
        if self.notifier.watchdog_s is not None:
            self.scene.loop.after(self.notifier.watchdog_s, self._feed_watchdog)

    # ---- the end

    def _fail(self, text: str) -> None:
        """Something that cannot happen has happened: the end, at once."""
        self.status = 1
        self.log.event("error", text)
        self.scene.ending = True
        self._kill_all("was killed because its supervisor failed")

    def _is_over(self) -> bool:
        return self.scene.ending and not self.crew.workers and not self.nursery.templates

    def _end(self) -> None:
        self.scene.ending = True
        self._kill_all("was killed because its supervisor failed")  # only after an error
        if self.housekeeping is not None:
            self.housekeeping.close()
        if self.scene.host is not None:
            self.scene.host.stop()
        self.health.close()
        if self.scene.host is not None:
            self.scene.host.close()
        if self._events is not None:
            self._events.close()
        self.scene.loop.close()
        self.notifier.close()
