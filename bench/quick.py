# SPDX-License-Identifier: Apache-2.0
"""The quick benchmark: what `make bench-quick` runs. Under 40 seconds, one flat JSON file.

Asks how long a call takes beside what the machine itself needs (floor), beside a socket, with
sleeping on both sides, with a large request, with more processes than CPUs, and what idleness
costs. It does not draw curves over sizes, rates or depths, and knows one peer, the Unix socket.

A virtual machine's cache latency changes by the second with the place where its CPUs happen to
run. So every round measures everything, one after the other and each for milliseconds; a ratio is
taken within one round, between neighbours in time; and what is reported is the median over rounds.
Every second round runs backwards, so that no probe always follows the same one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from processes import BenchmarkFailed, Figures, Fleet, cpu_time_ns, descendants, measure

HERE = Path(__file__).resolve().parent
ROUNDS = 25
CROWD_ROUNDS = 3
CROWD_MS = 600
IDLE_S = 5.0
SETTLE_S = 0.5
QUIET_S = 0.5
QUIET_PERCENT = 3.0
DEPTH = 64
PAYLOAD_BYTES = 64
BIG_BYTES = 64 << 20


@dataclass(frozen=True)
class Probe:
    """One measurement of a round: a program, its arguments, and the figure it gives."""

    key: str
    program: str
    arguments: tuple[str, ...]
    field: str = "rtt_ns"


@dataclass(frozen=True)
class Limit:
    """What the issue demands of a figure."""

    key: str
    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    def __str__(self) -> str:
        return f">= {self.least:,g}" if self.least is not None else f"<= {self.most:,g}"


RATIOS = {
    "c_over_floor": ("c_rtt_ns", "floor_rtt_ns"),
    "py_over_floor": ("py_rtt_ns", "floor_rtt_ns"),
    "unix_over_py": ("unix_py_rtt_ns", "py_rtt_ns"),
    "parked_over_futex": ("parked_c_rtt_ns", "parked_futex_rtt_ns"),
    "big_rtt_ratio": ("big_rtt_ns", "untouched_rtt_ns"),
    "floor_payload_over_floor": ("floor_payload_rtt_ns", "floor_rtt_ns"),
    "unix_one_cpu_over_py": ("unix_py_one_cpu_rtt_ns", "py_rtt_ns"),
    "unix_spinning_over_py": ("unix_py_spinning_rtt_ns", "py_rtt_ns"),
}

CROWD_RATIOS = {
    "oversubscribed_ratio": ("crowd_4_clients_4_workers", "crowd_1_client_1_worker"),
    "four_clients_one_worker_ratio": ("crowd_4_clients_1_worker", "crowd_1_client_1_worker"),
    "one_client_four_workers_ratio": ("crowd_1_client_4_workers", "crowd_1_client_1_worker"),
}

LIMITS = (
    Limit("c_over_floor", most=2),
    Limit("py_over_floor", most=3),
    Limit("unix_over_py", least=100),
    Limit("c_calls_per_s", least=12e6),
    Limit("py_calls_per_s", least=5e6),
    Limit("parked_over_futex", most=1.1),
    Limit("big_rtt_ratio", most=1.5),
    Limit("oversubscribed_ratio", least=0.8),
    Limit("four_clients_one_worker_ratio", least=0.6),
    Limit("idle_cpu_percent", most=0.2),
)


def round_probes(cpu: int, peer: int, sockets: Path) -> tuple[Probe, ...]:
    """What every round measures: the client on one CPU, worker or server on the other."""
    here = f"cpu={cpu}"
    pair = (here, f"peer_cpu={peer}")
    parked = ("service=bench-parked", "no_spin=1", "ms=50", "batch=1", here)
    unix = (f"path={sockets / 'blocking'}", "ms=50")
    untouched = ("service=bench-c", "method=ignore", "touch=0", "ms=20", here)
    rate = ("ms=60", f"depth={DEPTH}", here)
    return (
        Probe("floor_rtt_ns", "floor", ("mode=line", "ms=20", *pair)),
        Probe("floor_payload_rtt_ns", "floor", ("mode=payload", "ms=20", *pair)),
        Probe("c_rtt_ns", "rtt", ("service=bench-c", "ms=20", here)),
        Probe("py_rtt_ns", "rtt", ("service=bench-py", "ms=20", here)),
        Probe("unix_py_rtt_ns", "unix_rtt", (*unix, here)),
        Probe("unix_py_one_cpu_rtt_ns", "unix_rtt", (*unix, f"cpu={peer}")),
        Probe(
            "unix_py_spinning_rtt_ns",
            "unix_rtt",
            (f"path={sockets / 'spinning'}", "spin=1", "ms=20", here),
        ),
        Probe("parked_futex_rtt_ns", "floor", ("mode=futex", "ms=50", "batch=1", *pair)),
        Probe("parked_c_rtt_ns", "rtt", parked),
        Probe("untouched_rtt_ns", "rtt", (f"bytes={PAYLOAD_BYTES}", *untouched)),
        Probe("big_rtt_ns", "rtt", (f"bytes={BIG_BYTES}", *untouched)),
        Probe("c_calls_per_s", "pipeline", ("service=bench-c", *rate), "calls_per_s"),
        Probe("py_calls_per_s", "pipeline", ("service=bench-py", *rate), "calls_per_s"),
    )


def crowd_probes() -> tuple[Probe, ...]:
    """Clients and workers not pinned, more of them than CPUs."""
    return tuple(
        Probe(
            key,
            "crowd",
            (f"service=bench-crowd-{workers}", f"clients={clients}", f"ms={CROWD_MS}"),
            "calls_per_s",
        )
        for key, clients, workers in (
            ("crowd_1_client_1_worker", 1, 1),
            ("crowd_4_clients_4_workers", 4, 4),
            ("crowd_4_clients_1_worker", 4, 1),
            ("crowd_1_client_4_workers", 1, 4),
        )
    )


@dataclass
class Run:
    """One run: where things are, and what has been measured so far."""

    programs: Path
    fleet: Fleet
    cpu: int
    peer: int
    say: Callable[[str], None]
    values: dict[str, list[float]] = field(default_factory=dict)

    def program(self, name: str, *arguments: str) -> list[str]:
        return [str(self.programs / name), *arguments]

    def start_service(self, service: str, workers: int, *arguments: str) -> None:
        """A host and workers in C."""
        self.fleet.start(f"{service}.host", self.program("host", f"service={service}"))
        for number in range(workers):
            command = self.program("c_worker", f"service={service}", *arguments)
            self.fleet.start(f"{service}.worker{number}", command)

    def start_python_service(self, workers: int, cpu: int | None) -> int:
        """Host and workers by `carom serve`; returns the pid of the process started."""
        name = f"bench-py.{workers}"
        return self.fleet.start(name, serve_command(workers), cpu).pid

    def start_unix_servers(self, sockets: Path) -> None:
        command = [sys.executable, str(HERE / "unix_server.py"), "--cpu", str(self.peer)]
        self.fleet.start("unix.blocking", [*command, str(sockets / "blocking")])
        self.fleet.start("unix.spinning", [*command, "--spin", str(sockets / "spinning")])

    def measure(self, probe: Probe, note: str) -> None:
        command = self.program(probe.program, *probe.arguments)
        figures = measure(f"{probe.key} ({note})", command, self.fleet.environment)
        self.values.setdefault(probe.key, []).append(figures[probe.field])
        if "slept" in figures and probe.key.startswith("parked"):
            self.values.setdefault("parked_futex_slept", []).append(figures["slept"])
        if "least_share" in figures:
            self.values.setdefault(f"{probe.key}_least_share", []).append(figures["least_share"])

    def measure_rounds(self, probes: tuple[Probe, ...], rounds: int, name: str) -> None:
        for number in range(rounds):
            self.say(f"{name}: round {number + 1} of {rounds}")
            for probe in probes if number % 2 == 0 else reversed(probes):
                self.measure(probe, f"{name}, round {number + 1}")
            self.fleet.check()


def serve_command(workers: int) -> list[str]:
    """`carom serve` of echo_service.py, with the interpreter that runs this file."""
    serve = [sys.executable, "-m", "carom", "serve", "echo_service:service"]
    return [*serve, f"--workers={workers}", "--graceful-timeout=1"]


def measure_idle(run: Run) -> float:
    """CPU time of host, two Python workers and a connected client that all have nothing to do,
    as a percentage of one CPU."""
    served = run.start_python_service(workers=2, cpu=None)
    command = run.program("rtt", "service=bench-py", "ms=50", "cpu=-1", "hold=1")
    client = run.fleet.start("idle.client", command).pid
    time.sleep(SETTLE_S)
    pids = [served, client, *(child.pid for child in descendants(served))]
    before, begin = {pid: cpu_time_ns(pid) for pid in pids}, time.monotonic_ns()
    time.sleep(IDLE_S)
    used = sum(cpu_time_ns(pid) - before[pid] for pid in pids)
    elapsed_ns = time.monotonic_ns() - begin
    run.fleet.check()
    return 100.0 * used / elapsed_ns


def measure_everything(run: Run, sockets: Path, rounds: int) -> Figures:
    """The whole run: the pinned rounds, the crowded ones, idleness."""
    run.start_service("bench-c", 1, f"cpu={run.peer}")
    run.start_service("bench-parked", 1, f"cpu={run.peer}", "no_spin=1")
    run.start_service("bench-crowd-1", 1, "cpu=-1")
    run.start_service("bench-crowd-4", 4, "cpu=-1")
    run.start_unix_servers(sockets)
    run.start_python_service(workers=1, cpu=run.peer)
    python_server = run.fleet.servers[-1]
    run.measure_rounds(round_probes(run.cpu, run.peer, sockets), rounds, "pinned")
    run.measure_rounds(crowd_probes(), CROWD_ROUNDS, "crowd")
    run.fleet.stop(python_server)
    run.say(f"idle: {IDLE_S:.0f} s")
    return summary(run.values) | {"idle_cpu_percent": round(measure_idle(run), 4)}


def summary(values: dict[str, list[float]]) -> Figures:
    """Median over rounds of every figure, and of every ratio taken within a round."""
    figures = {key: statistics.median(series) for key, series in values.items()}
    figures["floor_rtt_min_ns"] = min(values["floor_rtt_ns"])
    figures["floor_rtt_max_ns"] = max(values["floor_rtt_ns"])
    for key, (above, below) in (RATIOS | CROWD_RATIOS).items():
        pairs = zip(values[above], values[below], strict=True)
        figures[key] = statistics.median(a / b for a, b in pairs)
    return {key: round(value, 4) for key, value in figures.items()}


class Ticks(NamedTuple):
    """Where the time of this machine's CPUs went since it started, in ticks."""

    used: int
    stolen: int
    total: int

    def since(self, before: Ticks) -> Ticks:
        return Ticks(*(now - then for now, then in zip(self, before, strict=True)))

    @property
    def used_percent(self) -> float:
        return round(100.0 * self.used / max(1, self.total), 2)

    @property
    def stolen_percent(self) -> float:
        return round(100.0 * self.stolen / max(1, self.total), 3)


def cpu_ticks() -> Ticks:
    """Time of all CPUs until now."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, idle, wait, irq, soft, steal = map(int, stat.readline().split()[1:9])
    used = user + nice + system + irq + soft
    return Ticks(used, steal, used + steal + idle + wait)


def others_cpu_percent() -> float:
    """What everybody else takes of this machine, looked at before anything is started."""
    before = cpu_ticks()
    time.sleep(QUIET_S)
    return cpu_ticks().since(before).used_percent


def machine() -> str:
    """The machine in one line, as figures mean nothing without it."""
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    virtual = ", virtual" if "hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    return (
        f"{model}, {os.cpu_count()} CPUs{virtual}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def progress(text: str, keep: bool = False) -> None:
    """On a terminal one line that is written over, else nothing but the beginning of a part."""
    if keep:
        print(text, file=sys.stderr, flush=True)
    elif sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif "round" not in text or "round 1 of" in text:
        print(text, file=sys.stderr, flush=True)


def number(value: float) -> str:
    """A figure for people: few digits, thousands apart."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def table(figures: Figures) -> Iterator[str]:
    """Figure, value, limit, met or missed; what has no limit comes first."""
    limited = {limit.key for limit in LIMITS}
    yield f"{'figure':34} {'value':>14}   {'limit':14}"
    for key in sorted(figures.keys() - limited):
        yield f"{key:34} {number(figures[key]):>14}"
    for limit in LIMITS:
        value = figures[limit.key]
        verdict = "met" if limit.met(value) else "MISSED"
        yield f"{limit.key:34} {number(value):>14}   {limit!s:14} {verdict}"


def two_cpus() -> tuple[int, int]:
    """The CPUs for the two sides of a call."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise BenchmarkFailed("needs two CPUs: one side of a call runs on each")
    return cpus[0], cpus[1]


def run_alone(
    programs: Path, rounds: int, say: Callable[[str], None]
) -> tuple[Figures, dict[str, list[float]]]:
    """Figures and single values, measured in a folder of its own, so that no other service of this
    user is in the way."""
    cpu, peer = two_cpus()
    with tempfile.TemporaryDirectory(prefix="carom-bench-") as folder:
        path = f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
        environment = os.environ | {"CAROM_DIR": folder, "PYTHONPATH": path}
        with Fleet(programs, environment) as fleet:
            run = Run(programs, fleet, cpu, peer, say)
            return measure_everything(run, Path(folder), rounds), run.values


def run_all(programs: Path, rounds: int) -> Figures:
    """The figures and the conditions; the single values go into a file of their own."""
    others = others_cpu_percent()
    if others > QUIET_PERCENT:
        progress(f"other programs use {others:.0f} % of the CPUs: the figures will suffer", True)
    ticks = cpu_ticks()
    begin = time.monotonic()
    figures, values = run_alone(programs, rounds, progress)
    write_json(programs / "quick-rounds.json", values)
    figures["others_cpu_percent"] = others
    figures["stolen_cpu_percent"] = cpu_ticks().since(ticks).stolen_percent
    figures["rounds"] = rounds
    figures["pipeline_depth"] = DEPTH
    figures["payload_bytes"] = PAYLOAD_BYTES
    figures["seconds"] = round(time.monotonic() - begin, 1)
    return figures


def write_json(path: Path, result: Mapping[str, object]) -> None:
    """One object, for people and programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def main() -> int:
    build = HERE.parent / "build" / "bench"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, default=build, help="where they were built")
    parser.add_argument("--out", type=Path, default=build / "quick.json")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    try:
        result = run_all(options.programs.resolve(), options.rounds)
        write_json(options.out, {**result, "machine": machine()})
    except (BenchmarkFailed, OSError) as failure:
        print(f"\nbench-quick failed: {failure}", file=sys.stderr)
        return 1
    progress("\n")
    print("\n".join(table(result)))
    print(f"\n{machine()}\nwritten to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
