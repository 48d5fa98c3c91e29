# SPDX-License-Identifier: Apache-2.0
"""`carom serve`: a service's host and its worker processes under one roof.

The host runs on a thread of this process, in C and without the GIL; workers are child processes
(carom/child.py, carom/worker.py). This process never imports the application. The first child does
so alone: if that fails it says why and nothing has been started yet; if not, the host claims the
service's name and the other children follow. One loop in the main thread waits for signals,
messages and deaths, and calls one function for each:

    signal    -> begin_stop, a second one kills
    loaded    -> open the host (first time), tell the child to join
    ready     -> announce when all are
    death     -> before the announcement: give up; after it: start another, later if it died young
    host's end -> begin_stop
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from carom.child import SAID_WHY, Child, Stage, end_of
from carom.host import Host

YOUNG_S = 1.0
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0


class Supervisor:
    """Serves one application until SIGINT or SIGTERM. Used once, by the main thread.

    target        "module:service"
    workers       processes
    name          of the service, if not the application's own
    allowed_uids  users who may connect besides this one
    grace         seconds for calls in progress when stopping; then workers are killed
    """

    def __init__(
        self,
        target: str,
        workers: int = 1,
        *,
        name: str | None = None,
        allowed_uids: Sequence[int] = (),
        grace: float = 10.0,
        spin: bool | float = True,
    ) -> None:
        self.target = target
        self.workers = workers
        self.name = name
        self.allowed_uids = allowed_uids
        self.grace = grace
        self.spin = spin
        self.host: Host | None = None
        self.children: dict[int, Child] = {}
        self.announced = False
        self.stopping = False
        self.status = 0
        self._delay_s = 0.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()

    def run(self) -> int:
        """Serves, and returns the exit status: 0 after a signal, 1 if it could not serve."""
        restore = self._listen_to_signals()
        try:
            self._start_child()
            while self.children or not self.stopping:
                self._wait()
        finally:
            self._end()
            restore()
        return self.status

    # ---- what can happen

    def on_bell(self) -> None:
        """A signal arrived, or the host ended."""
        rung = self._bell.recv(64)
        if any(number in (signal.SIGINT, signal.SIGTERM) for number in rung):
            if self.stopping:
                self._kill_all()
            self.begin_stop()
        if 0 in rung and not self.stopping:
            assert self.host is not None
            self.give_up(f"the host of {self.name!r} failed: {self.host.error or 'it ended'}")

    def on_message(self, child: Child) -> None:
        """A child has loaded the application, or is ready."""
        if child.pid not in self.children:  # its end was in the same batch of events
            return
        for message in child.messages():
            if "loaded" in message and not self.stopping:
                self._on_loaded(child, message)
        if child.hung_up:
            self._selector.unregister(child.channel)
        if not self.announced and not self.stopping and self._all_ready():
            self._announce()

    def on_death(self, child: Child) -> None:
        """A child ended."""
        self._selector.unregister(child.pidfd)
        if not child.hung_up:
            self._selector.unregister(child.channel)
        del self.children[child.pid]
        status = child.reap()
        if self.stopping:
            return
        if not self.announced:
            silent = status == SAID_WHY
            self.give_up("" if silent else f"worker {child.pid} {end_of(status)} on its start")
            return
        self._delay_s = self._next_delay(child)
        later = f" in {self._delay_s:.1f} s" if self._delay_s else ""
        say(f"worker {child.pid} {end_of(status)}; starting another{later}")
        self._after(self._delay_s, self._start_child)

    def begin_stop(self) -> None:
        """Lets calls in progress end, takes no new ones; the grace period begins."""
        if self.stopping:
            return
        self.stopping = True
        if self.host is not None:
            self.host.stop()
        for child in self.children.values():
            if self.host is None or child.stage is not Stage.READY:
                child.leave()
        self._after(self.grace, self._kill_all)

    def give_up(self, reason: str) -> None:
        """Stops because it cannot serve; the reason is "" if somebody has said it."""
        if reason:
            say(reason)
        self.status = 1
        self.begin_stop()

    # ---- steps

    def _start_child(self) -> None:
        if self.stopping:
            return
        child = Child(self.target, spin=self.spin)
        self.children[child.pid] = child
        self._selector.register(child.channel, selectors.EVENT_READ, (self.on_message, child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, (self.on_death, child))

    def _on_loaded(self, child: Child, message: dict[str, Any]) -> None:
        first = self.host is None
        if first and not self._open_host(self.name or message["loaded"]):
            return
        assert self.name is not None
        child.join(self.name)
        for _ in range(self.workers - 1 if first else 0):
            self._start_child()

    def _open_host(self, name: str) -> bool:
        try:
            self.host = Host(name, allowed_uids=self.allowed_uids, ended=self._ring)
        except (OSError, ValueError, MemoryError) as error:
            self.give_up(f"cannot serve {name!r}: {one_line(error)}")
            return False
        self.name = name
        return True

    def _all_ready(self) -> bool:
        ready = [child for child in self.children.values() if child.stage is Stage.READY]
        return len(ready) >= self.workers

    def _announce(self) -> None:
        assert self.host is not None
        self.announced = True
        pids = ", ".join(str(pid) for pid in sorted(self.children))
        s = "s" if self.workers > 1 else ""
        crew = f"{self.workers} worker{s} (pid{s} {pids})"
        print(f"carom: serving {self.name} at {self.host.path} with {crew}", flush=True)

    def _next_delay(self, child: Child) -> float:
        if child.age_s >= YOUNG_S:
            return 0.0
        return min(max(2 * self._delay_s, FIRST_DELAY_S), LONGEST_DELAY_S)

    def _kill_all(self) -> None:
        for child in self.children.values():
            say(f"worker {child.pid} did not end in time; killing it")
            child.kill()

    # ---- the loop

    def _wait(self) -> None:
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        for key, _ in self._selector.select(timeout):
            function, *arguments = key.data
            function(*arguments)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _after(self, delay_s: float, function: Callable[[], None]) -> None:
        due = time.monotonic() + delay_s
        heapq.heappush(self._timers, (due, next(self._order), function))

    def _ring(self) -> None:
        self._ringer.send(b"\0")

    def _listen_to_signals(self) -> Callable[[], None]:
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, (self.on_bell,))
        old_fd = signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)
        numbers = (signal.SIGINT, signal.SIGTERM)
        old = [signal.signal(number, lambda *_: None) for number in numbers]

        def restore() -> None:
            signal.set_wakeup_fd(old_fd)
            for number, handler in zip(numbers, old, strict=True):
                signal.signal(number, handler)

        return restore

    def _end(self) -> None:
        self.stopping = True
        for child in self.children.values():  # only after an error of our own
            child.kill()
            child.reap()
        if self.host is not None:
            self.host.close()
        self._selector.close()


def one_line(error: BaseException) -> str:
    """Text of an exception for a person, without errno."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def say(text: str) -> None:
    """One line to standard error."""
    print(f"carom serve: {text}", file=sys.stderr, flush=True)
