# SPDX-License-Identifier: Apache-2.0
"""Runs the fuzz targets: how they are called, what they print, what a crash leaves behind."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent.parent
OUT = ROOT / "build" / "proof" / "hostile"

# An execution takes some ten microseconds; one of many seconds is a loop without end.
UNIT_TIMEOUT_S = 60
KEPT_LINES = 60


@dataclass(frozen=True)
class Target:
    name: str
    what: str
    longest_input: int
    quick: int
    full: int
    """Executions in the long run."""


TARGETS = (
    Target(
        "fuzz_worker_lane",
        "a worker serves a lane that its client scribbles over, and the honest client beside it",
        64,
        30_000,
        8_000_000,
    ),
    Target(
        "fuzz_client_lane",
        "a client makes calls over a lane that a worker scribbles over",
        96,
        100_000,
        40_000_000,
    ),
    Target(
        "fuzz_host_recover",
        "the host recovers, counts and disowns lanes that somebody scribbles over",
        48,
        30_000,
        8_000_000,
    ),
    Target(
        "fuzz_host_message",
        "the host hears any message with any descriptors, and holds nothing of who has gone",
        128,
        30_000,
        14_000_000,
    ),
    Target(
        "fuzz_peer_message",
        "client, worker and observer hear any message with any descriptors, and hold nothing after",
        96,
        60_000,
        30_000_000,
    ),
)


@dataclass
class Fuzzing:
    """One run of one target."""

    target: Target
    program: Path
    seed: int
    runs: int
    executions: int = 0
    coverage: int = 0
    loads_most: int = 0
    status: int | None = None
    failure: str = ""
    artifact: str = ""
    last: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        if match := re.match(r"#(\d+)\s.*?cov: (\d+)", line):
            self.executions = int(match[1])
            self.coverage = int(match[2])
            return
        if match := re.match(r"stat::number_of_executed_units:\s+(\d+)", line):
            self.executions = int(match[1])
        elif match := re.match(r"loads of one operation at most: (\d+)", line):
            self.loads_most = int(match[1])
        elif match := re.search(r"Test unit written to (\S+)", line):
            self.artifact = match[1]
        elif match := re.search(r"^hostile: (.*)|ERROR: (\S+: .*)|runtime error: (.*)", line):
            self.failure = self.failure or next(text for text in match.groups() if text)
        self.last = [*self.last[-KEPT_LINES:], line]

    def command(self) -> list[str]:
        return [
            str(self.program),
            f"-seed={self.seed}",
            f"-runs={self.runs}",
            f"-max_len={self.target.longest_input}",
            f"-timeout={UNIT_TIMEOUT_S}",
            f"-artifact_prefix={OUT}/{self.target.name}-",
            "-print_final_stats=1",
            "-print_funcs=0",
            "-len_control=20",
        ]

    def run(self, limit_s: float) -> None:
        process = subprocess.Popen(
            self.command(),
            cwd=ROOT,
            env={
                **os.environ,
                "ASAN_OPTIONS": "quarantine_size_mb=8:malloc_context_size=8",
                "UBSAN_OPTIONS": "print_stacktrace=1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        watchdog = threading.Timer(limit_s, process.kill)
        watchdog.start()
        assert process.stdout is not None
        for line in process.stdout:
            self.hear(line.rstrip())
        self.status = process.wait()
        watchdog.cancel()
        if self.status != 0 and not self.failure:
            self.failure = f"exit status {self.status}"
