# SPDX-License-Identifier: Apache-2.0
"""Real processes for the end-to-end tests: started, watched, and never left behind.

Everything waits for a condition, with a bound that only a broken build reaches.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import carom as package

COMMAND = str(Path(sys.executable).parent / "carom")
APPLICATIONS = Path(__file__).parent / "applications"
PATIENCE_S = 20.0
T = TypeVar("T")


def until(condition: Callable[[], T], what: str = "") -> T:
    """Waits until a condition holds, and returns what it gave."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain for {what or condition}")
        time.sleep(0.005)


def asleep(pid: int) -> bool:
    """Whether a process sleeps on a futex (system call 202 on x86-64, 98 on aarch64)."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] in ("202", "98")


def press_ctrl_c(caller: subprocess.Popen[str]) -> None:
    """Once it sleeps in a call, until it has ended: a signal that comes between two of the call's
    sleeps, which is likely only when others have the CPUs, is noticed with the next one.
    """
    until(lambda: asleep(caller.pid), "the caller to wait")
    give_up = time.monotonic() + PATIENCE_S
    while caller.poll() is None and time.monotonic() < give_up:
        caller.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            caller.wait(1.0)


def carom(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs the command `carom` to its end."""
    settings: dict[str, Any] = {"text": True, "capture_output": True, "timeout": PATIENCE_S}
    settings.update(options)
    return subprocess.run([COMMAND, *arguments], check=False, **settings)


class Served:
    """A running `carom serve`, in a session of its own."""

    def __init__(
        self, target: str, *options: str, workers: int = 1, cwd: Path = APPLICATIONS, log: Path
    ) -> None:
        command = [COMMAND, "serve", target]
        command += ["--workers", str(workers), *options]
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                stdout=subprocess.PIPE,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        self.pid = self.process.pid
        self.line = ""
        self.worker_pids: list[int] = []

    def wait_ready(self) -> Served:
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        match = re.search(r"\(pids? ([\d, ]+)\)$", self.line)
        assert match, f"not ready: {self.line!r} {self.errors}"
        self.worker_pids = [int(pid) for pid in match.group(1).split(", ")]
        return self

    @property
    def errors(self) -> str:
        return self.log.read_text()

    @property
    def path(self) -> str:
        """Of its socket."""
        return re.search(r" at (\S+) with ", self.line).group(1)  # type: ignore[union-attr]

    def description(self) -> dict[str, Any]:
        """What the supervisor says of its service."""
        with package.Observer(self.path) as observer:
            described: dict[str, Any] = json.loads(observer.description())
        return described

    def workers(self) -> list[int]:
        """Worker processes that are ready and stay, as the supervisor sees them."""
        workers = self.description()["workers"]
        return sorted(worker["pid"] for worker in workers if worker["stage"] == "ready")

    def replaced(self, pid: int, count: int) -> list[int]:
        """Workers, once there are so many and the one that has ended is not among them."""

        def look() -> list[int]:
            workers = self.workers()
            return workers if len(workers) == count and pid not in workers else []

        return until(look, f"another worker for {pid}")

    def template(self) -> int | None:
        pid: int | None = self.description()["template"]
        return pid

    def children(self) -> list[int]:
        """Live worker processes, whatever the supervisor thinks of them."""
        pids = [pid for pid in children_of(self.pid) if is_alive(pid)]
        return [pid for pid in pids if pid != self.template()]

    def wait_log(self, text: str, count: int = 1) -> str:
        """Until the log has a text so often; all of the log."""
        until(lambda: self.errors.count(text) >= count, f"{text!r} in the log")
        return self.errors

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        assert self.process.stdout is not None
        status = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        return status

    def clean(self) -> None:
        """Ends what is left and says whether anything had to be ended by force."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill_session()
                raise
        if self.process.stdout is not None:
            self.process.stdout.close()
        try:
            until(lambda: not session_members(self.pid), "workers to end")
        finally:
            self.kill_session()

    def kill_session(self) -> None:
        for pid in session_members(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def status_fields(pid: int) -> Sequence[str]:
    """Fields of /proc/PID/stat behind the command: state, parent, group, session; () if gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ()


def all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]


def children_of(parent: int) -> list[int]:
    return sorted(pid for pid in all_pids() if list(status_fields(pid)[1:2]) == [str(parent)])


def session_members(session: int) -> list[int]:
    """Live processes of a session; a zombie is not alive."""
    fields = {pid: status_fields(pid) for pid in all_pids()}
    return [pid for pid, f in fields.items() if f and f[3] == str(session) and f[0] not in "ZX"]


def is_alive(pid: int) -> bool:
    fields = status_fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def open_fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def shared_mappings(pid: int) -> int:
    """Mappings of carom's memory objects in a process."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return sum("carom" in line and ("memfd" in line or "/dev/shm" in line) for line in lines)
