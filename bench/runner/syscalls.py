# SPDX-License-Identifier: Apache-2.0
"""System calls per call, counted by strace in runs of their own, as tracing changes all times.

What a program does to start and to connect is not part of a call. So two runs of different length
are counted, and the difference is divided by the difference of the calls.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from processes import BenchmarkFailed, last_line
from runner import client

ATTACH_TIMEOUT_S = 5.0
TOTAL = re.compile(r"^\s*100\.00\s.*\btotal$", re.MULTILINE)


def reason_against() -> str:
    """Why nothing can be counted; "" when it can."""
    strace = shutil.which("strace")
    if not strace:
        return "strace is not installed"
    done = subprocess.run([strace, "-c", "-f", "true"], capture_output=True, text=True)
    if done.returncode or total_calls(done.stderr) is None:
        return f"strace does not work here: {last_line(done.stderr)[:120]}"
    return ""


def total_calls(table: str) -> int | None:
    """The number of calls in the last line of what `strace -c` prints; 0 when it printed none."""
    found = TOTAL.search(table)
    if not found:
        return 0 if not table.strip() else None
    numbers = re.findall(r"\d+", found.group())
    # "100.00 0.001234 5 246 12 total": percent, seconds, usecs/call, calls, errors (or not)
    return int(numbers[5])


class Watch:
    """strace attached to processes that run already; a context manager."""

    def __init__(self, pids: Iterable[int], table: Path) -> None:
        self.table = table
        table.unlink(missing_ok=True)
        attach = [word for pid in sorted(pids) for word in ("-p", str(pid))]
        self.process = subprocess.Popen(
            ["strace", "-c", "-f", "-o", str(table), *attach], stderr=subprocess.PIPE, text=True
        )
        self.wait_attached(len(attach) // 2)

    def wait_attached(self, count: int) -> None:
        """It says "Process N attached" of each."""
        assert self.process.stderr
        deadline = time.monotonic() + ATTACH_TIMEOUT_S
        while count and time.monotonic() < deadline:
            line = self.process.stderr.readline()
            if "attached" in line:
                count -= 1
            elif not line or "ptrace" in line:
                break
        if count:
            self.end()
            raise BenchmarkFailed(f"strace cannot watch the server: {line.strip()[:120]}")

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(ATTACH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()

    def calls(self) -> int:
        """Ends it and returns how many there were."""
        self.end()
        counted = total_calls(self.table.read_text()) if self.table.exists() else None
        if counted is None:
            raise BenchmarkFailed("strace wrote no table")
        return counted


def of_client(
    command: Sequence[str], environment: Mapping[str, str], table: Path
) -> tuple[int, int]:
    """(system calls, calls) of a client that is traced from its start to its end."""
    output = client.run(["strace", "-c", "-f", "-o", str(table), *command], environment)
    counted = total_calls(table.read_text())
    if counted is None:
        raise BenchmarkFailed("strace wrote no table")
    return counted, int(output["calls"])


def of_server(
    pids: Iterable[int], command: Sequence[str], environment: Mapping[str, str], table: Path
) -> tuple[int, int]:
    """(system calls, calls) of a server while an untraced client calls it."""
    watch = Watch(pids, table)
    try:
        output = client.run(command, environment)
    except BaseException:
        watch.end()
        raise
    return watch.calls(), int(output["calls"])


def slope(shorter: tuple[int, int], longer: tuple[int, int]) -> float | None:
    """System calls per call, without those of the start."""
    calls = longer[1] - shorter[1]
    return max(0.0, (longer[0] - shorter[0]) / calls) if calls > 0 else None
