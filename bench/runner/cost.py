# SPDX-License-Identifier: Apache-2.0
"""The work `cost`: what a call takes from the machine besides time.

CPU time counts for all processes of both sides: a long run less a short one, over the difference
of their calls, so that starting and connecting are not part of it. System calls likewise
(syscalls.py). `rare_cpu_percent` is the server's CPU time while it is asked 1,000 times a second,
which shows what waiting costs. Memory is that of all processes of a side while they work. Energy is
that of the whole machine, per call.
"""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from processes import BenchmarkFailed, last_line
from runner import client, rounds, syscalls, usage
from runner.energy import Meter
from runner.peers import Entry
from runner.points import Cell, Place, Point, key_of
from runner.servers import Running, stop
from runner.session import Session

WORK = "cost"
PLACE = Place()
SHORT = Point(ms=50, warm_ms=10)
LONG = replace(SHORT, ms=350)
SLOW_LONG = replace(SHORT, ms=1050)
RARE = Point("rate", rate=1000, ms=400, warm_ms=100)
TRACED = (replace(SHORT, ms=60), replace(SHORT, ms=260))
ROUNDS = 5

Figures = dict[str, float]


def run(session: Session, entries: Sequence[Entry], seconds: float) -> None:
    """CPU time in every round; system calls and memory in the first one."""
    deadline = time.monotonic() + seconds
    meter = Meter()
    strace = syscalls.reason_against()
    session.results.notes["energy"] = meter.reason or "RAPL, all packages, per call"
    session.results.notes["system calls"] = strace or "counted by strace in runs of their own"
    cells: list[tuple[Entry, Cell]] = [(entry, (PLACE, SHORT)) for entry in entries]
    rounds.prepare(session, WORK, cells)

    def one(number: int) -> Iterator[str]:
        for entry in entries if number % 2 == 0 else list(entries)[::-1]:
            yield entry.name
            if not session.given_up(WORK, entry, PLACE, SHORT):
                measure(session, entry, number, meter, number == 0 and not strace)

    rounds.repeat(session, WORK, one, deadline, ROUNDS)


def measure(session: Session, entry: Entry, number: int, meter: Meter, trace: bool) -> None:
    """All of it for one peer in one round."""
    try:
        running = session.reach(entry, PLACE)
        try:
            figures = cpu_figures(session, entry, running, meter)
            if number == 0:
                figures |= memory_figures(session, entry, running)
            if trace:
                figures |= traced_figures(session, entry, running)
        finally:
            if entry.peer.spins:
                stop(running)
    except BenchmarkFailed as failure:
        session.note(WORK, entry, PLACE, SHORT, str(failure))
        return
    session.results.row(WORK, entry.name, key_of(PLACE, SHORT)).add(number, figures)


def cpu_figures(session: Session, entry: Entry, running: Running, meter: Meter) -> Figures:
    """CPU time per call of both sides, of the server when it is asked rarely, energy per call."""
    long = SLOW_LONG if entry.peer.slow else LONG
    short_client, short_server, short_calls = used_by(session, entry, running, SHORT)
    joules = {} if meter.reason else meter.microjoules()
    long_client, long_server, long_calls = used_by(session, entry, running, long)
    energy = meter.since(joules) / long_calls if joules else None
    calls = long_calls - short_calls
    if calls < 1:
        raise BenchmarkFailed("not one call more in a longer run")
    figures = {
        "client_cpu_ns": (long_client - short_client) / calls,
        "server_cpu_ns": (long_server - short_server) / calls,
    }
    figures["cpu_ns"] = figures["client_cpu_ns"] + figures["server_cpu_ns"]
    if energy is not None:
        figures["energy_uj"] = energy
    if running.pid and not entry.peer.slow:
        begin = time.monotonic_ns()
        _, server, _ = used_by(session, entry, running, RARE)
        figures["rare_cpu_percent"] = 100.0 * server / (time.monotonic_ns() - begin)
    return figures


def used_by(session: Session, entry: Entry, running: Running, point: Point) -> tuple[int, int, int]:
    """CPU time of the client, of the server, in ns, and the calls made."""
    pids = usage.tree(running.pid) if running.pid else set()
    server, children = usage.cpu_ns(pids), children_ns()
    output = session.call(entry, running, PLACE, point)
    pids = usage.tree(running.pid) if running.pid else set()
    return children_ns() - children, usage.cpu_ns(pids) - server, int(output["calls"])


def children_ns() -> int:
    """CPU time of all processes that this one, or a child of it, has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


def memory_figures(session: Session, entry: Entry, running: Running) -> Figures:
    """In the middle of a run."""
    point = replace(LONG, ms=1000 if entry.peer.slow else 400)
    command = session.command(entry, running, PLACE, point)
    with subprocess.Popen(
        command,
        env=session.environment_of(running),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            time.sleep(point.ms / 2e3)
            own = usage.resident_bytes(usage.tree(process.pid))
            servers = usage.resident_bytes(usage.tree(running.pid)) if running.pid else None
            out, err = process.communicate(timeout=client.PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise BenchmarkFailed("client: did not end") from None
        finally:
            process.kill()
    if process.returncode:
        raise BenchmarkFailed(f"client: {last_line(err)}")
    client.parse(out)
    found = {"client_bytes": own, "server_bytes": servers}
    return {name: float(value) for name, value in found.items() if value is not None}


def traced_figures(session: Session, entry: Entry, running: Running) -> Figures:
    """System calls per call of each side; what cannot be traced is left out, with a note."""
    table = session.folder / "strace.txt"
    environment = session.environment_of(running)
    commands = [session.command(entry, running, PLACE, point) for point in TRACED]
    figures: Figures = {}
    try:
        short, long = (syscalls.of_client(command, environment, table) for command in commands)
        figures |= named("client_syscalls", syscalls.slope(short, long))
        if running.pid:
            pids = usage.tree(running.pid)
            short, long = (
                syscalls.of_server(pids, command, environment, table) for command in commands
            )
            figures |= named("server_syscalls", syscalls.slope(short, long))
    except BenchmarkFailed as failure:
        session.results.notes[f"system calls of {entry.name}"] = str(failure)
    return figures


def named(name: str, value: float | None) -> Figures:
    return {} if value is None else {name: value}
