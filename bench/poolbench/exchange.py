# SPDX-License-Identifier: Apache-2.0
"""reload_failed_calls and recycle_failed_calls: workers are exchanged under a steady load.

The load is `carom bench` with its calls due at fixed times, whatever the service does. It ends by
itself when its time is over, and waits for every call that it has begun: a call that is lost fails
by its time limit and is counted. A round is an exchange of all workers, watched from outside.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from poolbench.served import Served
from processes import BenchmarkFailed, last_line

RATE = 50_000
WORKERS = 2
WARM_UP_S = 0.5
ROUND_S = 1.5
"""An exchange begins this long after the one before."""
REQUESTS = 25_000
"""Before a worker is recycled: half of RATE, so about one second."""
LOOK_S = 0.01


@dataclass(frozen=True)
class Exchanged:
    """What became of the calls."""

    rounds: int
    failed: int
    calls_per_s: float
    p99_ms: float
    max_ms: float
    first_error: str


class Load:
    """A running `carom bench`."""

    def __init__(self, served: Served, seconds: float) -> None:
        options = [f"--rate={RATE}", f"--duration={seconds}s", f"--warm-up={WARM_UP_S}s"]
        options += ["--connections=2", "--timeout=2s", "--text=" + "x" * 64, "--json", "--no-live"]
        self._seconds = seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", "carom", "bench", served.path, "echo", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def outcome(self) -> dict[str, Any]:
        """Waits for its end. Exit status 1 means that calls failed, which is a result."""
        out, err = self._process.communicate(timeout=self._seconds + 30.0)
        if self._process.returncode not in (0, 1) or not out:
            raise BenchmarkFailed(f"carom bench: {last_line(err)}")
        document: dict[str, Any] = json.loads(out)
        return document

    def stop(self) -> None:
        if self.running:
            self._process.kill()
            self._process.wait()


@contextmanager
def loaded(served: Served, seconds: float) -> Iterator[Load]:
    """The load has begun and is warm."""
    load = Load(served, seconds)
    try:
        time.sleep(2 * WARM_UP_S)
        yield load
    finally:
        load.stop()


def reload_under_load(rounds: int) -> Exchanged:
    """SIGHUP: a new template, and every worker exchanged."""
    seconds = 2.0 + ROUND_S * rounds
    with (
        Served("pool_plain:service", f"--workers={WORKERS}") as served,
        loaded(served, seconds) as load,
    ):
        for _ in range(rounds):
            begin_s = time.monotonic()
            before = served.wait_for_workers(WORKERS)
            os.kill(served.pid, signal.SIGHUP)
            await_while(load, partial(exchanged, served, before))
            time.sleep(max(0.0, ROUND_S - (time.monotonic() - begin_s)))
        return summary(rounds, load)


def recycle_under_load(rounds: int) -> Exchanged:
    """--max-requests: every worker exchanged about once a second."""
    seconds = 4.0 + ROUND_S * rounds
    limits = (f"--max-requests={REQUESTS}", f"--max-requests-jitter={REQUESTS // 5}")
    with (
        Served("pool_plain:service", f"--workers={WORKERS}", *limits) as served,
        loaded(served, seconds) as load,
    ):
        seen = served.workers()
        wanted = len(seen) + rounds * WORKERS

        def enough() -> bool:
            seen.update(served.workers())
            return len(seen) >= wanted

        await_while(load, enough)
        return summary(rounds, load)


def exchanged(served: Served, before: set[int]) -> bool:
    """Whether as many other workers serve now."""
    now = served.workers()
    return len(now) == WORKERS and not now & before


def await_while(load: Load, done: Callable[[], bool]) -> None:
    """Waits; raises when the load ends first."""
    while not done():
        if not load.running:
            document = load.outcome()
            raise BenchmarkFailed(
                f"the load was over before all exchanges were: {document['errors']}, "
                f"{document['lost']}"
            )
        time.sleep(LOOK_S)


def summary(rounds: int, load: Load) -> Exchanged:
    """What the load says at its end. A lost connection counts as one failed call at least."""
    document = load.outcome()
    errors, lost = document["errors"], document["lost"]
    latency = document["latency"] or {"p99_ns": 0.0, "max_ns": 0.0}
    firsts = [f"{name}: {error['first']}" for name, error in errors.items()]
    return Exchanged(
        rounds,
        document["failed"] + document["unfinished"] + len(lost),
        document["calls_per_s"],
        latency["p99_ns"] / 1e6,
        latency["max_ns"] / 1e6,
        "; ".join([*firsts, *lost]),
    )
