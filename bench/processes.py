# SPDX-License-Identifier: Apache-2.0
"""Processes of a benchmark run: started, bounded, watched, ended by pid.

A `Fleet` keeps the long-lived ones (hosts, workers, servers, an idle client); `measure` runs a
program that measures one thing and reads its one line of JSON. A process that dies, hangs or
prints nonsense raises `BenchmarkFailed`, whose text is the one line that the user sees. Whatever
happens, leaving the fleet ends every process it started, and only those.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

READY_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 3.0
MEASURE_TIMEOUT_S = 20.0

Figures = dict[str, float]


class BenchmarkFailed(Exception):
    """A process of the benchmark did not do its work; the text says which and what it said."""


def measure(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Figures:
    """Runs a program to its end and returns the numbers it printed."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=MEASURE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise BenchmarkFailed(f"{name}: no answer in {MEASURE_TIMEOUT_S:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode:
        raise BenchmarkFailed(f"{name}: {describe_end(process.returncode)}: {last_line(err)}")
    return parse_figures(name, out)


def parse_figures(name: str, text: str) -> Figures:
    """The flat JSON object that a program printed."""
    try:
        figures = json.loads(text)
        return {str(key): float(value) for key, value in figures.items()}
    except (ValueError, AttributeError, TypeError):
        raise BenchmarkFailed(f"{name}: printed {text[:200]!r} instead of its figures") from None


def describe_end(returncode: int) -> str:
    """How a process ended, in words."""
    return f"killed by signal {-returncode}" if returncode < 0 else f"exit status {returncode}"


def last_line(text: str) -> str:
    """What a process said last, where its reason stands."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing on stderr"


class Server:
    """One long-lived process that prints a line on stdout when it is ready.

    Its stdin is a pipe that ends with the runner; its stderr goes to a log.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def await_ready(self, timeout_s: float = READY_TIMEOUT_S) -> str:
        """Waits for the process's first line and returns it."""
        assert self.process.stdout
        readable, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        line = self.process.stdout.readline() if readable else b""
        if line:
            return line.decode(errors="replace").rstrip()
        self.check(patience_s=1.0)
        raise BenchmarkFailed(f"{self.name}: not ready in {timeout_s:.0f} s, see {self.log}")

    def check(self, patience_s: float = 0.0) -> None:
        """Raises if the process has ended, or ends within a time."""
        try:
            returncode = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return
        said = last_line(self.log.read_text(errors="replace"))
        raise BenchmarkFailed(f"{self.name}: {describe_end(returncode)}: {said}")

    def stop(self) -> None:
        """Asks the process to end, then makes it; its children end with it."""
        children = descendants(self.pid)
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for child in children:
            end_orphan(child)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


class Fleet:
    """Every long-lived process of a run; a context manager that ends them all."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.servers: list[Server] = []

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in reversed(self.servers):
            server.stop()

    def start(self, name: str, command: Sequence[str], cpu: int | None = None) -> Server:
        """Starts a process and waits until it says that it is ready.

        With `cpu` it and all its children run on that CPU only.
        """
        server = Server(name, command, self.environment, self.folder / f"{name}.log")
        self.servers.append(server)
        if cpu is not None:
            os.sched_setaffinity(server.pid, {cpu})
        server.await_ready()
        return server

    def stop(self, server: Server) -> None:
        self.servers.remove(server)
        server.stop()

    def check(self) -> None:
        """Raises if any process has ended that should not have."""
        for server in self.servers:
            server.check()


class Identity(NamedTuple):
    """A process, told from a later one with the same pid by its start time."""

    pid: int
    started: int

    def alive(self) -> bool:
        fields = stat_fields(self.pid)
        return bool(fields) and fields[0] != "Z" and int(fields[19]) == self.started


def descendants(pid: int) -> set[Identity]:
    """Every living process below `pid`."""
    children: dict[int, list[Identity]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))):
            child = Identity(int(entry.name), int(fields[19]))
            children.setdefault(int(fields[1]), []).append(child)
    found: set[Identity] = set()
    heads = [pid]
    while heads:
        below = children.get(heads.pop(), [])
        found.update(below)
        heads.extend(child.pid for child in below)
    return found


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; empty when the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def end_orphan(child: Identity) -> None:
    """Ends a process that should have ended with its parent, but gives it time to."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while child.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    if child.alive():
        os.kill(child.pid, signal.SIGKILL)


def cpu_time_ns(pid: int) -> int:
    """CPU time of all threads of a process, in ns: from the scheduler, not in ticks of 10 ms."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
