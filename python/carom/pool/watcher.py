# SPDX-License-Identifier: Apache-2.0
"""The supervisor's ear at its processes: their channels, and the Python stacks that they write.

Stacks arrive in pieces (faulthandler writes line by line); once nothing has come for a moment, or
the process has ended, they go to the log as one event.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from carom.pool.channel import DUMP_SIGNAL
from carom.pool.loop import Timer
from carom.pool.process import Process
from carom.pool.scene import Scene

DUMP_S = 0.1
"""What a process gets to write its stacks before it is killed."""
QUIET_S = 0.03


class Watcher:
    """Watches some processes for their owner."""

    def __init__(self, scene: Scene, role: str) -> None:
        self.scene = scene
        self._role = role
        self._heard: dict[Process, Callable[[], None]] = {}
        self._quiet: dict[Process, Timer] = {}
        self._writing: set[Process] = set()

    def watch(self, process: Process, heard: Callable[[], None]) -> None:
        """Calls a function when there is a message, or the end of the channel."""
        self._heard[process] = heard
        self.scene.loop.watch(process.channel, heard)
        self._writing.add(process)
        self.scene.loop.watch(process.stacks, lambda: self._stacks_came(process))

    def hear(self, process: Process) -> None:
        """Takes in what it has said before it ended."""
        if process in self._heard:
            self._heard[process]()

    def stop_hearing(self, process: Process) -> None:
        """Its channel has reached the end, or will be closed."""
        if self._heard.pop(process, None) is not None:
            self.scene.loop.unwatch(process.channel)

    def end_slowly(self, process: Process, doom: str) -> None:
        """Has the stacks written, then kills; before the service is announced the end says why."""
        process.doom = doom
        if self.scene.announced:
            text = f"{self.name(process)} {doom}; killing it"
            self.scene.log.event("killed", text, pid=process.pid)
        process.signal(DUMP_SIGNAL)
        self.scene.loop.after(DUMP_S, lambda: process.signal(signal.SIGKILL))

    def forget(self, process: Process) -> None:
        """It has ended: its last words go to the log."""
        self.stop_hearing(process)
        if process in self._writing:
            process.read_stacks()
            self._stop_reading(process)
        self._log_stacks(process)

    def name(self, process: Process) -> str:
        """For the log."""
        return f"{self._role} {process.pid}" if process.pid else f"a {self._role} to be forked"

    def _stacks_came(self, process: Process) -> None:
        if not process.read_stacks():
            self._stop_reading(process)
        if process in self._quiet:
            self._quiet.pop(process).cancel()
        self._quiet[process] = self.scene.loop.after(QUIET_S, lambda: self._log_stacks(process))

    def _stop_reading(self, process: Process) -> None:
        self._writing.discard(process)
        self.scene.loop.unwatch(process.stacks)

    def _log_stacks(self, process: Process) -> None:
        if process in self._quiet:
            self._quiet.pop(process).cancel()
        text = process.take_stacks()
        if text:
            name = self.name(process)
            self.scene.log.event("stacks", f"stacks of {name}:\n{text}", pid=process.pid)


def headline(failure: str) -> str:
    """What a process said of its failure, for the log: the line that says it all comes first."""
    *above, last = failure.rstrip().split("\n")
    return "\n".join([last, *above])
