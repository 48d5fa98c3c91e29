# SPDX-License-Identifier: Apache-2.0
"""A child process as the supervisor sees it: a worker or the template.

Workers and the template may be started afresh, as programs; workers may be forked by the template
as well. Their process id is then known when the template says it ("forked"), but everything that
is for them can be sent at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from enum import Enum

from carom.pool.channel import Channel, Message
from carom.pool.loop import Timer

STACKS_BYTES = 64 << 10
"""As much of a worker's stacks is kept; what it writes beyond that is read and dropped."""

WITHOUT_THIS_FOLDER = (
    "import sys; del sys.path[0]; from carom.pool import {0}; sys.exit({0}.main())"
)


class Stage(Enum):
    """How far a process has come."""

    LOADING = "loading"
    """Imports the application."""
    STARTING = "starting"
    """A worker: forked or told to join, and not ready yet."""
    READY = "ready"
    """Takes calls; the template: forks workers."""
    LEAVING = "leaving"
    """Was asked to leave, after the call that it runs."""


class Process:
    """One process, the channel to it and the pipe that its Python stacks come through.

    generation  of the application's code that it runs
    key         tells forks apart
    leaving     why it was asked to leave; then its end is no crash
    doom        why it was killed, for its callers and the log: better words than the signal
    failure     what it said of why it cannot serve
    template    it is, or will be, a fork of this one
    limit       of the time for what it does now
    """

    def __init__(self, generation: int, stage: Stage, *, key: int = 0) -> None:
        self.generation = generation
        self.stage = stage
        self.key = key
        self.pid: int | None = None
        self.ids: list[int] = []
        self.started_s = time.monotonic()
        self.started_epoch_s = time.time()
        self.ready_s: float | None = None
        self.leaving: str | None = None
        self.doom: str | None = None
        self.failure: str | None = None
        self.template: Process | None = None
        self.limit: Timer | None = None
        self.gone = False
        self.hung_up = False
        self.channel, self._their_channel = Channel.pair()
        self.channel.socket.setblocking(False)
        self.stacks, self._their_stacks = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.stacks, False)
        self._stacks = b""
        self._popen: subprocess.Popen[bytes] | None = None

    # ---- its beginning

    def start(self, module: str, target: str) -> None:
        """Starts it as a program. To be done by the main thread: it dies with its maker."""
        fds = {"channel": self._their_channel.fileno()}
        if module != "template":  # has no stacks to show: it never runs a call
            fds["stacks"] = self._their_stacks
        try:
            self._popen = popen(command(module, target, fds), list(fds.values()))
        finally:
            self._close_theirs()
        self.pid = self._popen.pid

    def fork_from(self, template: Process) -> None:
        """Has the template fork it. BrokenPipeError, ConnectionResetError: it has gone."""
        self.template = template
        fds = [self._their_channel.fileno(), self._their_stacks]
        try:
            template.channel.send({"fork": self.key}, fds)
        finally:
            self._close_theirs()

    def _close_theirs(self) -> None:
        self._their_channel.close()
        os.close(self._their_stacks)

    # ---- what it says

    def messages(self) -> list[Message]:
        """What has arrived; sets hung_up at the end of the channel."""
        found = []
        while not self.hung_up:
            try:
                message = self.channel.receive()
            except BlockingIOError:
                break
            if message is None:
                self.hung_up = True
            else:
                found.append(message)
        return found

    def send(self, message: Message) -> None:
        """If it has gone, that is told in another way."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, BlockingIOError):
            self.channel.send(message)

    def read_stacks(self) -> bool:
        """Takes in what the process has written of its stacks; False at the end of the pipe."""
        while True:
            try:
                part = os.read(self.stacks, STACKS_BYTES)
            except BlockingIOError:
                return True
            if not part:
                return False
            self._stacks += part[: STACKS_BYTES - len(self._stacks)]

    def take_stacks(self) -> str:
        """The stacks that have been written since this was called last."""
        text, self._stacks = self._stacks.decode("utf-8", "replace"), b""
        return text.rstrip()

    # ---- its end

    def signal(self, number: int) -> None:
        """Sends a signal to it. Until it is reaped, its pid is nobody else's."""
        if self.pid is not None and not self.gone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def note_reaped(self, status: int) -> None:
        """It has ended, and the kernel has forgotten it."""
        self.gone = True
        if self._popen is not None:
            self._popen.returncode = status

    def close(self) -> None:
        """Frees our side; a process that has not joined yet takes that as a word to leave."""
        self.channel.close()
        os.close(self.stacks)

    @property
    def is_ready(self) -> bool:
        """It does its work and nobody has asked it to leave."""
        return self.stage is Stage.READY

    def age_s(self) -> float:
        """Seconds it has been ready; 0 if it never was."""
        return time.monotonic() - self.ready_s if self.ready_s is not None else 0.0


def start_template(target: str, generation: int) -> Process:
    """A process that imports the application and then forks workers (carom.pool.template)."""
    template = Process(generation, Stage.LOADING)
    template.start("template", target)
    return template


def command(module: str, target: str, fds: Mapping[str, int]) -> list[str]:
    """How a process is started. Our own imports must not find the application's files."""
    python = [sys.executable, "-P", "-m", f"carom.pool.{module}"]
    if sys.version_info < (3, 11):  # has no -P
        python = [sys.executable, "-c", WITHOUT_THIS_FOLDER.format(module)]
    numbers = {**fds, "parent": os.getpid()}
    return [*python, target, *(f"--{name}={number}" for name, number in numbers.items())]


def popen(arguments: list[str], fds: list[int]) -> subprocess.Popen[bytes]:
    """Starts it with SIGINT blocked until it ignores it: Ctrl-C is not for workers."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return subprocess.Popen(arguments, pass_fds=fds)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def next_end() -> tuple[int, int] | None:
    """A child that has ended and has not been reaped, and its status: negative for a signal."""
    try:
        end = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if end is None:
        return None
    return end.si_pid, end.si_status if end.si_code == os.CLD_EXITED else -end.si_status


def reap(pid: int) -> None:
    """Lets the kernel forget a child that has ended."""
    os.waitpid(pid, 0)


def end_of(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
