# SPDX-License-Identifier: Apache-2.0
"""The processes of the storm: started, killed and stopped by pid, and none of them left.

The driver is the subreaper of whatever it starts, so that everything that loses its parent (the
workers of a killed supervisor) becomes its child: it can see that they end, and end them itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from carom.binding import become_subreaper
from processes import children_of, shared_mappings, status_fields

T = TypeVar("T")


class Broken(Exception):
    """A promise was not kept. name: of the check that fails."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Tree:
    """Everything that this process has started, as the kernel knows it.

    patience_s  how long to wait for what must happen: only a broken build reaches it
    """

    def __init__(self, patience_s: float) -> None:
        become_subreaper()
        self.patience_s = patience_s
        self._ended: dict[int, int] = {}
        self._started: set[int] = set()

    # ---- waiting

    def until(self, condition: Callable[[], T], name: str, what: str | Callable[[], str]) -> T:
        """Waits for a condition, reaping meanwhile; Broken if it does not come."""
        give_up = time.monotonic() + self.patience_s
        while True:
            self.reap()
            value = condition()
            if value:
                return value
            if time.monotonic() > give_up:
                text = what if isinstance(what, str) else what()
                raise Broken(name, f"waited {self.patience_s:g} s in vain for {text}")
            time.sleep(0.002)

    def wait(self, pid: int, name: str, what: str) -> int:
        """The exit status of a child that was started."""
        found: list[int] = []

        def look() -> bool:
            status = self.ended(pid)
            if status is not None:
                found.append(status)
            return bool(found)

        self.until(look, name, what)
        return found[0]

    # ---- children

    def start(self, command: list[str], stdout: int, stderr: int) -> int:
        """A child; its pid, which is its own until ended() has told its status."""
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
        ]
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        self._started.add(pid)
        return pid

    def reap(self) -> None:
        """Takes in who has ended: those that were started, and orphans."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in self._started:
                    self._started.discard(pid)
                    self._ended[pid] = os.waitstatus_to_exitcode(status)

    def ended(self, pid: int) -> int | None:
        """The exit status of a child that was started, told once; None: it still runs."""
        self.reap()
        return self._ended.pop(pid, None)

    def signal(self, pid: int, number: int) -> None:
        """To a child that was started and whose status has not been told."""
        if pid in self._started:  # not reaped, so the pid is nobody else's
            os.kill(pid, number)

    def others(self, *expected: int) -> list[int]:
        """Children of this process, started or inherited, beside those."""
        return [pid for pid in children(os.getpid()) if pid not in expected]

    def kill_all(self) -> None:
        """The end: whoever is left, and whoever that leaves behind."""
        give_up = time.monotonic() + 30.0
        while time.monotonic() < give_up:
            left = self.others()
            if not left:
                return
            for pid in left:  # children: nobody else has reaped them
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
            self.reap()


def children(pid: int) -> list[int]:
    """Children of a process, zombies included."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                text = Path(f"/proc/{pid}/task/{task}/children").read_text()
                found += map(int, text.split())
    except (FileNotFoundError, ProcessLookupError):
        return []
    return found or children_of(pid)


class Target:
    """A process that is not a child of this one, held by a pidfd: its pid cannot become another's.

    Raises ProcessLookupError if it is not, or no longer, a child of `parent`.
    """

    def __init__(self, pid: int, parent: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        fields = status_fields(pid)
        if not fields or int(fields[1]) != parent or fields[0] in "ZX":
            os.close(self._pidfd)
            raise ProcessLookupError

    def send(self, number: int) -> bool:
        """False: it has ended."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return False
        return True

    def await_end(self, timeout_s: float) -> None:
        """Until the kernel says that it is dead."""
        end = select.poll()
        end.register(self._pidfd, select.POLLIN)
        end.poll(timeout_s * 1000)

    def close(self) -> None:
        os.close(self._pidfd)


def belongings(pid: int) -> Counter[str]:
    """Descriptors of a process by kind, and its mappings of carom's memory. Empty if it is gone."""
    found: Counter[str] = Counter()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found[kind_of(os.readlink(f"/proc/{pid}/fd/{fd}"))] += 1
        found["mappings"] = shared_mappings(pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return Counter()
    return found


def kind_of(link: str) -> str:
    """socket:[4711] -> socket, /memfd:carom-lane (deleted) -> carom-lane."""
    if link.startswith("/memfd:"):
        return link.removeprefix("/memfd:").removesuffix(" (deleted)")
    return link.split(":[", maxsplit=1)[0]
