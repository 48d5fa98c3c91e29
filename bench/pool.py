# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the pool: what `make bench-pool` runs. Under 5 minutes; one JSON file.

Asks how long a service takes to start, to replace a killed worker, to tell its callers, to grow;
what its workers share; and whether exchanging them under load fails a call. Everything is measured
from outside, on `carom serve` and `carom_launch` as users run them. It does not ask how fast a
call is (quick.py).

A figure is the median over rounds, of a round's median where a round has many values; the exception
are a p99, which is taken over all values, and failed calls, which are added up.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from poolbench import deaths, exchange, launching, scaling, warmth
from processes import BenchmarkFailed, Figures
from quick import (
    QUIET_PERCENT,
    Limit,
    cpu_ticks,
    machine,
    number,
    others_cpu_percent,
    progress,
    write_json,
)

HERE = Path(__file__).resolve().parent
ROUNDS = 5
PSS_ROUNDS = 2
"""Of pss_ratio, at most: memory is the same each time, and 1.6 GB are written in each."""
MANY = 3
"""So many times the rounds for what takes a second: first_call_ratio and launch_ms."""
EXCHANGES = 2
"""So many times the rounds of exchanges."""

LIMITS = (
    Limit("respawn_ms", most=30),
    Limit("crash_notice_ms", most=10),
    Limit("first_call_ratio", most=3),
    Limit("pss_ratio", most=0.25),
    Limit("reload_failed_calls", most=0),
    Limit("recycle_failed_calls", most=0),
    Limit("autoscale_s", most=1),
    Limit("launch_ms", most=250),
)

Values = dict[str, list[float]]


@dataclass
class Run:
    """What has been measured so far."""

    programs: Path
    rounds: int
    values: Values = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, **values: float) -> None:
        for key, value in values.items():
            self.values.setdefault(key, []).append(value)

    def medians(self, *keys: str) -> None:
        """These figures are medians of what was noted."""
        for key in keys:
            self.figures[key] = statistics.median(self.values[key])

    def numbers(self, name: str, rounds: int) -> Iterator[int]:
        """Rounds, each announced."""
        for number_of_round in range(rounds):
            progress(f"{name}: round {number_of_round + 1} of {rounds}")
            yield number_of_round


def measure_deaths(run: Run) -> None:
    """respawn_ms, crash_notice_ms, and what a bare fork takes."""
    for _ in run.numbers("respawn, crash notice", run.rounds):
        run.note(bare_fork_ms=deaths.bare_fork_ms())
        found = deaths.deaths_of_a_round()
        run.note(respawn_ms=statistics.median(death.respawn_ms for death in found))
        for death in found:
            run.note(each_respawn_ms=death.respawn_ms, each_crash_notice_ms=death.notice_ms)
    run.medians("respawn_ms", "bare_fork_ms")
    respawns, notices = run.values["each_respawn_ms"], run.values["each_crash_notice_ms"]
    run.figures["respawn_p99_ms"] = p99(respawns)
    run.figures["crash_notice_ms"] = p99(notices)
    run.figures["crash_notice_p50_ms"] = statistics.median(notices)
    run.figures["kills"] = len(notices)


def measure_first_call(run: Run) -> None:
    """first_call_ratio."""
    for _ in run.numbers("first call", MANY * run.rounds):
        found = warmth.first_call(run.programs)
        run.note(
            first_call_us=found["first_ns"] / 1e3,
            idle_call_us=found["idle_ns"] / 1e3,
            first_call_ratio=found["first_ns"] / found["idle_ns"],
        )
    run.medians("first_call_ratio", "first_call_us", "idle_call_us")


def measure_memory(run: Run) -> None:
    """pss_ratio."""
    for _ in run.numbers("memory", min(run.rounds, PSS_ROUNDS)):
        shared, separate = warmth.memory_mb(), warmth.memory_mb("--no-preload")
        run.note(pss_preloaded_mb=shared, pss_separate_mb=separate, pss_ratio=shared / separate)
    run.medians("pss_ratio", "pss_preloaded_mb", "pss_separate_mb")


def measure_exchanges(run: Run) -> None:
    """reload_failed_calls, recycle_failed_calls: each in one go, under one load."""
    exchanges: dict[str, Callable[[int], exchange.Exchanged]] = {
        "reload": exchange.reload_under_load,
        "recycle": exchange.recycle_under_load,
    }
    for name, exchanged in exchanges.items():
        progress(f"{name}: round 1 of 1, {EXCHANGES * run.rounds} exchanges under load")
        found = exchanged(EXCHANGES * run.rounds)
        run.figures[f"{name}_failed_calls"] = found.failed
        run.figures[f"{name}_rounds"] = found.rounds
        run.figures[f"{name}_calls_per_s"] = found.calls_per_s
        run.figures[f"{name}_call_p99_ms"] = found.p99_ms
        run.figures[f"{name}_call_max_ms"] = found.max_ms
        if found.first_error:
            run.notes.append(f"{name}: {found.first_error}")
        if found.calls_per_s < 0.99 * exchange.RATE:
            run.notes.append(
                f"{name}: only {found.calls_per_s:,.0f} of {exchange.RATE:,} calls/s were done: "
                "this machine is too small or too busy for the figure"
            )


def measure_autoscale(run: Run) -> None:
    """autoscale_s."""
    for _ in run.numbers("autoscale", run.rounds):
        run.note(autoscale_s=scaling.autoscale_s())
    run.medians("autoscale_s")


def measure_launch(run: Run) -> None:
    """launch_ms."""
    for _ in run.numbers("launch", MANY * run.rounds):
        found = launching.launch(run.programs)
        run.note(
            launch_ms=found["answer_ms"],
            launch_ready_ms=found["ready_ms"],
            launch_close_ms=found["close_ms"],
        )
    run.medians("launch_ms", "launch_ready_ms", "launch_close_ms")


PARTS: dict[str, Callable[[Run], None]] = {
    "deaths": measure_deaths,
    "first-call": measure_first_call,
    "memory": measure_memory,
    "exchanges": measure_exchanges,
    "autoscale": measure_autoscale,
    "launch": measure_launch,
}


def p99(values: list[float]) -> float:
    """By nearest rank: of 100 values the 99th."""
    ranked = sorted(values)
    return ranked[max(0, -(-99 * len(ranked) // 100) - 1)]


def measure_parts(run: Run, parts: list[str]) -> None:
    """The parts asked for, and the conditions."""
    run.figures["others_cpu_percent"] = others_cpu_percent()
    if run.figures["others_cpu_percent"] > QUIET_PERCENT:
        run.notes.append(
            f"other programs used {run.figures['others_cpu_percent']:.0f} % of the CPUs just before"
        )
    ticks, begin_s = cpu_ticks(), time.monotonic()
    for part in parts:
        PARTS[part](run)
    run.figures["stolen_cpu_percent"] = cpu_ticks().since(ticks).stolen_percent
    run.figures["seconds"] = round(time.monotonic() - begin_s, 1)
    run.figures["rounds"] = run.rounds


def table(figures: Figures) -> Iterator[str]:
    """Figure, value, limit, met or missed; what has no limit comes first."""
    limits = {limit.key: limit for limit in LIMITS}
    yield f"{'figure':24} {'value':>10}   {'limit':10}"
    for key in sorted(figures.keys() - limits.keys()):
        yield f"{key:24} {number(figures[key]):>10}"
    for key, limit in limits.items():
        if key in figures:
            verdict = "met" if limit.met(figures[key]) else "MISSED"
            yield f"{key:24} {number(figures[key]):>10}   {limit!s:10} {verdict}"


def verdicts(figures: Figures) -> dict[str, dict[str, object]]:
    """For programs: every limit and whether it was met."""
    found: dict[str, dict[str, object]] = {}
    for limit in LIMITS:
        value = figures.get(limit.key)
        met = "not measured" if value is None else "met" if limit.met(value) else "missed"
        found[limit.key] = {"limit": str(limit), "verdict": met}
    return found


def arguments() -> argparse.Namespace:
    """The command line."""
    build = HERE.parent / "build" / "bench"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, default=build, help="where they were built")
    parser.add_argument("--out", type=Path, default=build / "pool.json")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each figure ({ROUNDS})")
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="which, with commas between them (all)"
    )
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1")
    return options


def main() -> int:
    options = arguments()
    run = Run(options.programs.resolve(), options.rounds)
    try:
        measure_parts(run, options.parts)
    except (BenchmarkFailed, OSError) as failure:
        print(f"\nbench-pool failed: {failure}", file=sys.stderr)
        return 1
    figures = {key: round(value, 4) for key, value in run.figures.items()}
    result: dict[str, object] = {
        **figures,
        "machine": machine(),
        "notes": run.notes,
        "verdicts": verdicts(figures),
        "values": run.values,
    }
    write_json(options.out, result)
    progress("\n")
    print("\n".join([*table(figures), "", *run.notes, machine(), f"written to {options.out}"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
