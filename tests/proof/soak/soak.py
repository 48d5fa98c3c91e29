# SPDX-License-Identifier: Apache-2.0
"""Starts the soak's processes, exchanges workers meanwhile, and goes through the books at the end.

Two services: `bulk` has a host and workers in C; `mixed` is a `carom serve` with two workers in
Python and one in C. message.h tells what a call carries, client.c in which ways calls are made.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path[:0] = [str(HERE.parent), str(ROOT / "tests" / "e2e")]

from processes import Served  # noqa: E402
from report import Report  # noqa: E402

PATTERN_BYTES = 17 << 20
PAGE = 4096
BOOKS = struct.Struct("<QQ")
TALLY = struct.Struct("<QQQ")
DONE = struct.Struct("<Q")
OUTCOMES = ("not made", "replied", "replied short", "withdrawn", "late", "abandoned")


class Wrong(Exception):
    """Something is not as it must be."""


class Program:
    """A running C program that says "ready", or "wrong: ..." and why."""

    def __init__(self, *command: str | Path) -> None:
        self.name = Path(command[0]).name
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_ready(self) -> Program:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if line != "ready":
            raise Wrong(f"{self.name}: {line}")
        return self

    def is_over(self) -> bool:
        """Whether it has ended, well."""
        status = self.process.poll()
        if status not in (None, 0):
            raise Wrong(f"{self.name}: {self.read() or f'exit status {status}'}")
        return status is not None

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read().strip()

    def finish(self, patience_s: float) -> str:
        """Waits for its end; what it printed."""
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise Wrong(f"{self.name} does not end") from None
        self.is_over()
        return self.read()

    def leave(self, patience_s: float) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.finish(patience_s)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass(frozen=True)
class ClientPlan:
    threads: int
    connections: int


@dataclass
class Service:
    """A service, its clients and its C workers."""

    name: str
    programs: Path
    folder: Path
    seed: int
    clients: tuple[ClientPlan, ...]
    calls: int
    """Of each stream, which is a thread of a client."""
    heavy: int
    """Of 1000 runs of calls so many have many large ones."""
    patience_s: float
    running: list[Program] = field(default_factory=list)
    workers: list[Program] = field(default_factory=list)
    host: Program | Served | None = None
    fd: int = -1
    joined: int = 0
    left: int = 0
    done: list[int] = field(default_factory=list)
    """Calls that are over, of each stream, and since when so many are."""
    moved_s: list[float] = field(default_factory=list)

    @property
    def streams(self) -> int:
        return sum(client.threads for client in self.clients)

    @property
    def ledger(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def make_ledger(self) -> None:
        self.fd = os.memfd_create(f"soak-{self.name}")
        os.truncate(self.fd, PAGE + PATTERN_BYTES + 2 * self.streams * self.calls)
        os.pwrite(self.fd, BOOKS.pack(self.streams, self.calls), 0)
        os.pwrite(self.fd, random.Random(self.seed).randbytes(PATTERN_BYTES), PAGE)

    def start_host(self) -> None:
        self.host = Program(self.programs / "host", self.name).wait_ready()

    def serve(self, max_requests: int) -> None:
        """Python's workers, of which each is replaced after some calls."""
        os.environ["SOAK_LEDGER"] = self.ledger
        os.environ["SOAK_FOLDER"] = str(self.tallies)
        log = self.folder / "serve.log"
        options = ("--name", self.name, "--max-requests", str(max_requests))
        served = Served("application:service", *options, workers=2, cwd=HERE, log=log)
        self.host = served
        served.wait_ready()

    @property
    def tallies(self) -> Path:
        return self.folder / f"{self.name}-tallies"

    def start_worker(self) -> None:
        tally = self.tallies / f"c-{self.joined}.tally"
        worker = Program(self.programs / "worker", self.name, self.ledger, tally)
        self.workers.append(worker)
        worker.wait_ready()
        self.joined += 1

    def start_clients(self) -> None:
        self.done = [0] * self.streams
        self.moved_s = [time.monotonic()] * self.streams
        stream = 0
        for client in self.clients:
            words = (stream, client.threads, client.connections, self.heavy, self.seed)
            program = self.programs / "client"
            self.running.append(Program(program, self.name, self.ledger, *map(str, words)))
            stream += client.threads

    def exchange_worker(self) -> None:
        """A new one joins, then the oldest leaves in order."""
        self.start_worker()
        self.workers.pop(0).leave(self.patience_s)
        self.left += 1

    def look(self) -> bool:
        """Whether its clients are through."""
        for worker in self.workers:
            if worker.is_over():
                raise Wrong("a worker left by itself")
        over = sum(client.is_over() for client in self.running) == len(self.running)
        now = time.monotonic()
        for stream in range(self.streams):
            (done,) = DONE.unpack(os.pread(self.fd, DONE.size, 64 * (1 + stream)))
            if done != self.done[stream] or done == self.calls:
                self.done[stream], self.moved_s[stream] = done, now
            elif now - self.moved_s[stream] > self.patience_s:
                raise Wrong(f"no call of {self.name}'s stream {stream} ends any more after {done}")
        return over

    def end(self) -> None:
        """Every process of it leaves in order."""
        for client in self.running:
            client.finish(self.patience_s)
        for worker in self.workers:
            worker.leave(self.patience_s)
        self.left += len(self.workers)
        if isinstance(self.host, Program):
            self.host.leave(self.patience_s)
        elif self.host is not None and self.host.stop() != 0:
            raise Wrong(f"carom serve: {self.host.errors[-300:]}")

    def tally(self) -> tuple[int, int, int]:
        """What the workers counted: runs, runs of short calls, bytes."""
        counts = [TALLY.unpack(path.read_bytes()) for path in self.tallies.iterdir()]
        runs, short, moved = (sum(column) for column in zip(*counts, strict=True))
        return runs, short, moved

    def audit(self) -> list[list[int]]:
        """For each outcome: calls that did not run, that ran once, more often."""
        said = Program(self.programs / "audit", self.ledger).finish(120.0)
        return [[int(word) for word in line.split()[1:]] for line in said.splitlines()]

    def clean(self) -> None:
        for program in [*self.running, *self.workers]:
            program.kill()
        if isinstance(self.host, Program):
            self.host.kill()
        elif self.host is not None:
            self.host.clean()
        if self.fd >= 0:
            os.close(self.fd)


def check_books(report: Report, service: Service) -> None:
    table = service.audit()
    runs, short, moved = service.tally()
    every = service.streams * service.calls
    counts = dict(zip(OUTCOMES, (sum(row) for row in table), strict=True))
    report.check(
        counts["not made"] == 0 and sum(counts.values()) == every,
        f"{service.name} calls",
        f"{every} calls, each with one outcome: "
        + ", ".join(f"{count} {name}" for name, count in counts.items() if count),
    )
    twice = sum(row[2] for row in table)
    lost = table[1][0]
    ran = table[3][1] + table[2][1] + table[0][1]
    report.check(
        twice == 0 and lost == 0 and ran == 0,
        f"{service.name} runs",
        f"a call with a reply ran once, a withdrawn one never; {twice} twice, {lost} replies "
        f"without a run, {ran} runs too many",
    )
    marked = sum(row[1] + 2 * row[2] for row in table)
    report.check(
        marked == runs and counts["replied short"] == short,
        f"{service.name} workers",
        f"workers counted {runs} runs and {short} of short calls; the ledger has {marked} runs, "
        f"and clients had {counts['replied short']} short replies",
    )
    report.executions += every
    report.figure(f"{service.name}_moved", moved / 1e9, "GB")


def check_workers(report: Report, services: list[Service]) -> None:
    joined = sum(service.joined for service in services)
    left = sum(service.left for service in services)
    report.check(
        joined == left and joined > 3,
        "C workers",
        f"{joined} joined, {left} left in order, most of them while calls ran; no call failed",
    )
    for service in services:
        if isinstance(service.host, Served):
            python = len(list(service.tallies.glob("python-*")))
            report.check(
                python > 2,
                "Python workers",
                f"{python} ran, two at a time, each until it had made its number of calls",
            )


def check_rest(report: Report, folder: Path) -> None:
    left = [path.name for path in folder.iterdir() if ".sock" in path.name]
    report.check(not left, "folder", f"no socket and no lock is left {left or ''}".strip())


def run(report: Report, services: list[Service], exchanges: int) -> None:
    """Each service exchanges a worker `exchanges` times, if its clients are not through."""
    every = sum(service.streams * service.calls for service in services)
    print(f"# {every} calls: about {every * 4e-6:.0f} s on two CPUs", flush=True)
    for service in services:
        service.start_clients()
    exchanged = 0
    running = services
    while running := [service for service in running if not service.look()]:
        time.sleep(0.02)
        done = sum(sum(service.done) for service in services)
        report.progress(f"{done} of {every} calls")
        if done > every * (exchanged + 1) // (exchanges + 1):
            for service in running:
                service.exchange_worker()
            exchanged += 1
    for service in services:
        service.end()


def prepare(report: Report, programs: Path, folder: Path) -> list[Service]:
    patience_s = 4.0 if report.scale == "planted" else 30.0
    heavy = report.amount(4, 1, 30)
    bulk = Service(
        name="bulk",
        programs=programs,
        folder=folder,
        seed=report.seed,
        # One stays connected: its slots live more than 2^24 lives in the long run.
        clients=(ClientPlan(2, 1), ClientPlan(2, report.amount(3, 40, 2))),
        calls=report.amount(65_000, 24_000_000, 150_000),
        heavy=heavy,
        patience_s=patience_s,
    )
    if report.scale == "planted":
        return [bulk]
    mixed = Service(
        name="mixed",
        programs=programs,
        folder=folder,
        seed=report.seed + 1,
        clients=(ClientPlan(2, report.amount(2, 20, 1)),),
        calls=report.amount(20_000, 2_000_000, 0),
        heavy=heavy,
        patience_s=patience_s,
    )
    return [bulk, mixed]


def soak(report: Report, programs: Path, folder: Path) -> None:
    services = prepare(report, programs, folder)
    begun = time.monotonic()
    try:
        for service in services:
            service.make_ledger()
            service.tallies.mkdir()
        services[0].start_host()
        if len(services) > 1:
            services[1].serve(max_requests=report.amount(2_000, 200_000, 0))
        for service in services:
            service.start_worker()
        services[0].start_worker()
        run(report, services, exchanges=report.amount(6, 60, 4))
        report.check(True, "clients", "every reply was that of its call, to the last byte")
        check_workers(report, services)
        check_rest(report, folder)
        for service in services:
            check_books(report, service)
    except Wrong as error:
        report.check(False, "soak", str(error))
    finally:
        for service in services:
            service.clean()
    report.figure("rate", report.executions / (time.monotonic() - begun), "calls/s")


def main() -> None:
    programs = Path(sys.argv.pop(1))  # the folder of the C programs
    report = Report("the soak")
    with tempfile.TemporaryDirectory(prefix="carom-soak-") as folder:
        os.environ["CAROM_DIR"] = folder
        soak(report, programs, Path(folder))
    report.end()


if __name__ == "__main__":
    main()
