# SPDX-License-Identifier: Apache-2.0
"""Many peers: coming and going, all at once, dying meanwhile, and one more than there may be."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import time
from collections.abc import Callable

from kernels import is_clean, outside
from stage import (
    HERE,
    PYTHON,
    Observer,
    Peer,
    Stage,
    carom_mappings,
    open_fds,
    require,
    resident_kib,
    until,
)

CLIENTS, WORKERS = 64, 16
LANES, WORKERS_MOST = 1024, 256
GROWTH_KIB = 2048
"""A thousand clients that each leave two pages behind would be more."""
FILES_PER_LANE = 5


def counts(line: str) -> dict[str, int]:
    require(re.fullmatch(r"(\w+ \d+ ?)+", line), line)
    words = line.split()
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}


def holdings(peers: list[Peer]) -> list[tuple[int, int]]:
    """Descriptors and mappings of each."""
    return [(open_fds(peer.pid), carom_mappings(peer.pid)) for peer in peers]


def wait_holdings(peers: list[Peer], before: list[tuple[int, int]]) -> None:
    """Until all that others brought has been given back."""
    what = f"descriptors and mappings to be {before} again"
    until(lambda: holdings(peers) == before, what, peers[0])


# ---- coming and going


def come_and_go(stage: Stage, command: list[str], clients: int, calls_each: int) -> None:
    """After a first round, which may fill caches, memory must not grow any more."""
    plain = outside(stage, f"churn{stage.count()}")
    peers = [plain.host, stage.worker(plain.name), stage.worker(plain.name)]
    before = holdings(peers)
    went(stage, command, plain.name, max(clients // 10, 8), calls_each)
    wait_holdings(peers, before)
    memory = sum(resident_kib(peer.pid) for peer in peers)
    begun = time.monotonic()
    went(stage, command, plain.name, clients, calls_each)
    seconds = time.monotonic() - begun
    wait_holdings(peers, before)
    growth = sum(resident_kib(peer.pid) for peer in peers) - memory
    name = "python-clients" if command[0] == PYTHON else "clients"
    stage.report.figure(f"{name}-per-s", clients / seconds, "1/s")
    stage.report.figure(f"{name}-memory-growth", growth, "KiB")
    require(growth < GROWTH_KIB, f"memory grew by {growth} KiB over {clients} clients")
    for worker in peers[1:]:
        worker.kill()
    is_clean(plain)


def went(stage: Stage, command: list[str], service: str, clients: int, calls_each: int) -> None:
    line = stage.start(*command, service, str(clients)).line(patience_s=600)
    seen = counts(line)
    require(seen["exact"] == clients * calls_each and seen.get("wrong", 0) == 0, line)
    require(seen.get("highest", 0) < 64, f"numbers of lanes are not used again: {line}")
    stage.report.executions += clients * (calls_each + 1)


def c_clients(stage: Stage) -> None:
    clients = stage.report.amount(150, 1000, 60)
    come_and_go(stage, [stage.program("crowd"), "churn"], clients, 2)


def python_clients(stage: Stage) -> None:
    clients = stage.report.amount(24, 300, 8)
    come_and_go(stage, [PYTHON, str(HERE / "come_and_go.py")], clients, 1)


# ---- all at once


def all_at_once(stage: Stage) -> None:
    """Every call is exact, and the workers' counts add up to those of the clients."""
    calls = stage.report.amount(20, 2000, 10)
    plain = outside(stage, "load")
    workers = [stage.worker("load") for _ in range(WORKERS)]
    crowd = stage.start(stage.program("crowd"), "load", "load", str(CLIENTS), str(calls))
    crowd.line()
    before = sum(worker["calls"] for worker in plain.observer.look()["workers"])
    begun = time.monotonic()
    crowd.say("go")
    line = crowd.line(patience_s=600)
    stage.report.figure("crowd-calls-per-s", CLIENTS * calls / (time.monotonic() - begun), "1/s")
    seen = counts(line)
    require(seen["exact"] == CLIENTS * calls and seen["missing"] == 0, line)
    require(seen["ended"] == CLIENTS and seen["wrong"] == seen["unavailable"] == 0, line)
    plain.observer.wait_clients(0)
    after = sum(worker["calls"] for worker in plain.observer.look()["workers"])
    own = after - before - CLIENTS * calls
    # the library's own: a rehearsal each, before "go", and one for each block given back
    require(0 <= own <= CLIENTS * calls // 60 + CLIENTS, f"workers counted {own} calls too many")
    stage.report.executions += CLIENTS * (calls + 1) + WORKERS
    for worker in workers:
        worker.kill()
    is_clean(plain)


def with_deaths(stage: Stage) -> None:
    """Half of the workers and of the clients are killed meanwhile, in an order drawn by the seed.

    A worker runs one call at a time: no more calls are lost than workers."""
    calls = stage.report.amount(60, 2000, 30)
    source = random.Random(stage.report.seed)
    plain = outside(stage, "deaths")
    workers = [stage.worker("deaths") for _ in range(WORKERS)]
    crowd = stage.start(stage.program("crowd"), "load", "deaths", str(CLIENTS), str(calls))
    pids = [int(word) for word in crowd.line().split()[1:]]
    doomed = [worker.pid for worker in source.sample(workers, WORKERS // 2)]
    doomed += source.sample(pids, CLIENTS // 2)
    source.shuffle(doomed)
    with contextlib.ExitStack() as stack:
        handles = [os.pidfd_open(pid) for pid in doomed]  # a number may be another's by then
        for handle in handles:
            stack.callback(os.close, handle)
        crowd.say("go")
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            wait_calls(plain.observer, source.randrange(1, 4) * calls // 2)
    line = crowd.line(patience_s=600)
    seen = counts(line)
    require(seen["wrong"] == seen["missing"] == 0, line)
    require(seen["ended"] + seen["killed"] == CLIENTS and seen["killed"] <= CLIENTS // 2, line)
    require(seen["unavailable"] <= WORKERS // 2, f"more calls lost than workers: {line}")
    require(seen["exact"] + seen["unavailable"] >= seen["ended"] * calls, line)
    plain.observer.wait_clients(0)
    plain.observer.wait_workers(WORKERS - WORKERS // 2)
    stage.client("deaths").calls(20)
    stage.report.executions += seen["exact"] + CLIENTS + WORKERS
    stage.clear(plain.peers)
    is_clean(plain)


def wait_calls(observer: Observer, count: int) -> None:
    """Until the workers have finished so many more calls, or there are no clients any more."""

    def done() -> int:
        return sum(worker["calls"] for worker in observer.look()["workers"])

    goal = done() + count
    until(lambda: done() >= goal or not observer.look()["clients"], "calls", observer.peer)


# ---- as many as there may be


def every_lane(stage: Stage) -> None:
    plain = outside(stage, "lanes")
    worker = stage.worker("lanes")
    before = holdings([worker])
    crowd = stage.start(stage.program("crowd"), "fill", "lanes")
    line = crowd.line(patience_s=120)
    require(line == f"filled {LANES} failed 28 the service has its {LANES} clients already", line)
    line = crowd.ask("calls")
    require(line == f"exact {LANES} wrong 0", line)
    require(crowd.ask("swap") == "swapped", "a lane that became free is not given to another")
    plain.observer.wait_clients(LANES)
    crowd.kill()
    plain.observer.wait_clients(0)
    wait_holdings([worker], before)
    stage.client("lanes").calls(8)
    stage.report.executions += 2 * LANES + 2
    stage.clear(plain.peers)
    is_clean(plain)


def every_worker(stage: Stage) -> None:
    plain = outside(stage, "workers")
    crowd = stage.start(stage.program("crowd"), "workers", "workers")
    line = crowd.line(patience_s=120)
    expected = f"the service has its {WORKERS_MOST} workers already"
    require(line == f"filled {WORKERS_MOST} failed 28 {expected}", line)
    require(crowd.ask("swap") == "swapped", "a worker's place is not given to another")
    plain.observer.wait_workers(WORKERS_MOST)
    crowd.kill()
    plain.observer.wait_workers(0)
    stage.report.executions += WORKERS_MOST + 2
    stage.clear(plain.peers)
    is_clean(plain)


def can_open(files: int) -> bool:
    """Raises the limit for this process and those it starts, as far as that is allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return True


def run_crowds(stage: Stage) -> None:
    checks: dict[str, tuple[str, Callable[[Stage], None]]] = {
        "clients": ("clients that come and go leave nothing behind", c_clients),
        "python-clients": ("nor do those in Python", python_clients),
        "all-at-once": (f"{CLIENTS} clients and {WORKERS} workers, every call exact", all_at_once),
        "deaths": ("the same while half of them are killed", with_deaths),
        "lanes": (f"{LANES} clients at once, and the next is refused", every_lane),
        "workers": (f"{WORKERS_MOST} workers at once, and the next is refused", every_worker),
    }
    files = LANES * FILES_PER_LANE + 512
    for name, (text, body) in checks.items():
        if name.startswith("python") and stage.report.scale == "planted":
            continue
        if not stage.report.wants(f"crowds.{name}"):
            continue
        if name == "lanes" and not can_open(files):
            stage.skip("crowds.lanes", f"RLIMIT_NOFILE is less than {files}")
            continue
        with stage.check(f"crowds.{name}", text):
            body(stage)
