# SPDX-License-Identifier: Apache-2.0
"""A worker process as its supervisor sees it: started, told, watched, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from enum import Enum, auto
from typing import Any

SAID_WHY = 1
"""Exit status of a worker that has written to standard error why it cannot serve."""

WITHOUT_THIS_FOLDER = (
    "import sys; del sys.path[0]; from carom import worker; sys.exit(worker.main())"
)


class Stage(Enum):
    """How far a worker process has come."""

    LOADING = auto()
    """Imports the application."""
    JOINING = auto()
    """Was told to join the service."""
    READY = auto()
    """Takes calls."""


class Child:
    """One worker process (carom/worker.py) and the channel to it.

    To be made by the main thread: the kernel kills the child with the thread that made it.
    `channel` and `pidfd` are for a selector: readable means a message, and the end.
    """

    def __init__(self, target: str, *, spin: bool | float) -> None:
        self.channel, theirs = socket.socketpair()
        with theirs:
            self._process = start(command(target, theirs.fileno(), spin=spin), theirs.fileno())
        self.channel.setblocking(False)
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)
        self.stage = Stage.LOADING
        self.ready_at: float | None = None
        self.hung_up = False
        self._received = b""

    def join(self, service: str) -> None:
        """Tells a child that has loaded to join a service whose host listens."""
        self.stage = Stage.JOINING
        self._send({"join": service})

    def messages(self) -> list[dict[str, Any]]:
        """What arrived on the channel; notes when the child is ready."""
        try:
            received = self.channel.recv(4096)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            received = b""
        self.hung_up = not received
        *lines, self._received = (self._received + received).split(b"\n")
        messages = [json.loads(line) for line in lines]
        if any("ready" in message for message in messages):
            self.stage = Stage.READY
            self.ready_at = time.monotonic()
        return messages

    def leave(self) -> None:
        """Asks the child to go: after its call if it serves, at once if it still loads."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the child now."""
        self._process.kill()

    def reap(self) -> int:
        """After the end: frees everything. The exit status, or a signal's number below zero."""
        status = self._process.wait()
        os.close(self.pidfd)
        self.channel.close()
        return status

    @property
    def age_s(self) -> float:
        """Seconds it has been ready; 0 if it never was."""
        return time.monotonic() - self.ready_at if self.ready_at is not None else 0.0

    def _send(self, message: dict[str, Any]) -> None:
        # If it has died, its pidfd says so too.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.channel.sendall(json.dumps(message).encode() + b"\n")


def command(target: str, channel: int, *, spin: bool | float) -> list[str]:
    """How a worker process is started. Our own imports must not find the application's files."""
    python = [sys.executable, "-P", "-m", "carom.worker"]
    if sys.version_info < (3, 11):  # has no -P
        python = [sys.executable, "-c", WITHOUT_THIS_FOLDER]
    options = ["--channel", str(channel), "--parent", str(os.getpid())]
    return [*python, target, *options, *spin_arguments(spin)]


def spin_arguments(spin: bool | float) -> list[str]:
    """How a worker waits, for its command line."""
    if isinstance(spin, bool):
        return [] if spin else ["--no-spin"]
    return ["--spin", str(spin)]


def start(arguments: list[str], channel: int) -> subprocess.Popen[bytes]:
    """Starts a worker with SIGINT blocked until it ignores it: Ctrl-C is not for workers."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return subprocess.Popen(arguments, pass_fds=[channel])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def end_of(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
