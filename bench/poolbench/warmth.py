# SPDX-License-Identifier: Apache-2.0
"""first_call_ratio and pss_ratio: what a preloaded worker has and what it shares."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from poolbench.served import Served
from processes import BenchmarkFailed, Figures, descendants, measure

WORKERS = 8
ATTEMPTS = 10


def first_call(programs: Path) -> Figures:
    """A fresh service, its very first call, and calls after 10 ms of idleness each, by first.c."""
    with Served("pool_numpy:service", "--workers=1") as served:
        command = [str(programs / "first"), f"service={served.path}"]
        return measure("first", command, os.environ)


def memory_mb(*options: str) -> float:
    """PSS of the workers, and of the template if there is one, when all have read their table."""
    with Served("pool_table:service", f"--workers={WORKERS}", *options) as served:
        touch_in_every_worker(served)
        below = {child.pid for child in descendants(served.pid)}
        if not served.workers() <= below:
            raise BenchmarkFailed("a worker is no descendant of `carom serve`")
        return sum(pss_kb(pid) for pid in below) / 1e3


def touch_in_every_worker(served: Served) -> None:
    """Makes calls until each worker has answered one. Each reads the whole table."""
    missing = served.wait_for_workers(WORKERS)
    with served.client() as client, ThreadPoolExecutor(WORKERS) as threads:
        for _ in range(ATTEMPTS):
            calls = [threads.submit(client.call, "touch", b"", 60.0) for _ in range(WORKERS)]
            missing -= {int(call.result().split()[0]) for call in calls}
            if not missing:
                return
    raise BenchmarkFailed(f"workers {missing} answered none of {ATTEMPTS * WORKERS} calls")


def pss_kb(pid: int) -> int:
    """The process's share of its memory: a page that n processes map counts 1/n for each."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise BenchmarkFailed(f"the kernel does not tell the PSS of process {pid}")
