# SPDX-License-Identifier: Apache-2.0
"""How many iterations of work.compute take a given time, in C and in Python, on this machine.

Servers compute for 10 us, 100 us or 1 ms. They are told a number of iterations; it is found once
per run, from the fastest of some tries, so that all peers compute the same.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from processes import BenchmarkFailed

TRY_NS = 500_000
TRIES = 100
IN_PYTHON = """
import json, sys
sys.path[:0] = sys.argv[1:]
from runner.calibrate import iterations_per_us
import work
print(json.dumps(iterations_per_us(work.compute)))
"""


def iterations_per_us(compute: Callable[[int], object]) -> float:
    """Of the fastest try; each lasts about 0.5 ms."""
    count = 1
    while timed(compute, count) < TRY_NS:
        count *= 2
    return max(count / timed(compute, count) * 1e3 for _ in range(TRIES))


def timed(compute: Callable[[int], object], count: int) -> int:
    begin = time.perf_counter_ns()
    compute(count)
    return max(1, time.perf_counter_ns() - begin)


class Calibration:
    """Iterations per microsecond by language."""

    def __init__(self, per_us: Mapping[str, float]) -> None:
        self.per_us = dict(per_us)

    def iterations(self, language: str, ns: int) -> int:
        """Whatever is not Python computes like C."""
        name = "Python" if language == "Python" else "C"
        return max(1, round(self.per_us[name] * ns / 1e3)) if ns else 0


def calibrate(bench: Path, python: Path, folder: Path) -> Calibration:
    """Compiles work.c by itself for C, and asks the servers' interpreter for Python."""
    return Calibration({"C": in_c(bench, folder), "Python": in_python(bench, python)})


def in_c(bench: Path, folder: Path) -> float:
    library = folder / "work.so"
    compiler = [os.environ.get("CC", "gcc"), "-O2", "-g", "-std=gnu11", "-shared", "-fPIC"]
    compiler += [f"-I{bench}", f"-I{bench / 'driver'}", "-D_GNU_SOURCE"]
    source = str(bench / "driver" / "work.c")
    done = subprocess.run(
        [*compiler, "-o", str(library), source], capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise BenchmarkFailed(f"driver/work.c does not compile: {done.stderr.strip()[:200]}")
    compute = ctypes.CDLL(str(library)).work_compute
    compute.argtypes = [ctypes.c_uint64]
    compute.restype = None
    return iterations_per_us(compute)


def in_python(bench: Path, python: Path) -> float:
    paths = [str(bench), str(bench / "peers")]
    done = subprocess.run(
        [str(python), "-c", IN_PYTHON, *paths], capture_output=True, text=True, timeout=60
    )
    try:
        return float(json.loads(done.stdout))
    except ValueError:
        raise BenchmarkFailed(f"calibration in Python: {done.stderr.strip()[-200:]}") from None
