# SPDX-License-Identifier: Apache-2.0
"""The suite of hostile peers: fuzzes every side of the lane and of the control socket, hunts the
planted bugs with the same targets, then has a live scribbler at work beside honest processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

from bugs import CAUGHT_BY, hunt  # noqa: E402
from fuzzers import OUT, ROOT, TARGETS, Fuzzing, Target  # noqa: E402
from report import Report  # noqa: E402

LONG_LIMIT_S = 3600.0
QUICK_LIMIT_S = 150.0
CHUNKS = 2
"""Runs of each target in the long run, each with a seed of its own: one for each CPU."""

LIVE = (
    ("scribbler", "as it ships"),
    ("scribbler_asan", "with sanitizers"),
)


def fuzzings(report: Report) -> list[Fuzzing]:
    made = []
    chunks = CHUNKS if report.scale == "long" else 1
    for target in TARGETS:
        if report.wants(target.name):
            runs = report.amount(target.quick, target.full, target.quick) // chunks
            for chunk in range(chunks):
                program = OUT / target.name
                made.append(Fuzzing(target, program, report.seed + 1000 * chunk, runs))
    return made


def awaited(report: Report, futures: list[Future[None]], all_of: list[Fuzzing]) -> Iterator[None]:
    """Yields as runs end, and says now and then how far the others are."""
    begun = time.monotonic()
    left = set(futures)
    while left:
        _, left = wait(left, timeout=5.0, return_when=FIRST_COMPLETED)
        done = sum(fuzzing.executions for fuzzing in all_of)
        running = [f for f in all_of if f.executions and f.status is None]
        names = ", ".join(f"{f.target.name} {f.executions}, coverage {f.coverage}" for f in running)
        report.progress(f"{time.monotonic() - begun:.0f} s, {done} executions: {names}")
        yield


def conclude(report: Report, target: Target, runs: list[Fuzzing]) -> None:
    executions = sum(run.executions for run in runs)
    report.executions += executions
    failed = [run for run in runs if run.failure or run.executions < run.runs]
    for run in failed:
        print("\n".join(f"# {line}" for line in run.last), flush=True)
        again = f"; again with: {run.program.relative_to(ROOT)} {run.artifact}"
        report.check(False, target.name, f"{run.failure}, seed {run.seed}{again}")
    if not failed:
        report.check(True, target.name, f"{target.what}: {executions} executions")
    name = target.name.removeprefix("fuzz_")
    report.figure(f"{name}_executions", executions, "executions")
    report.figure(f"{name}_coverage", max(run.coverage for run in runs), "places")
    report.figure(f"{name}_loads_most", max(run.loads_most for run in runs), "loads")


def fuzz(report: Report) -> None:
    made = fuzzings(report)
    limit_s = LONG_LIMIT_S if report.scale == "long" else QUICK_LIMIT_S
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        futures = [pool.submit(fuzzing.run, limit_s) for fuzzing in made]
        for _ in awaited(report, futures, made):
            pass
        for future in futures:
            future.result()
    for target in TARGETS:
        runs = [fuzzing for fuzzing in made if fuzzing.target is target]
        if runs:
            conclude(report, target, runs)


def hunt_bugs(report: Report) -> None:
    bugs = [bug for bug in CAUGHT_BY if report.wants(bug)]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for bug, run in zip(bugs, pool.map(lambda bug: hunt(bug, report.seed), bugs), strict=True):
            print(f"# {bug}: {run.failure or 'nothing'} after {run.executions} executions")
            report.planted(bug, bool(run.failure))


def live(report: Report) -> None:
    """Both kinds one after the other: each wants its CPUs."""
    for program, how in LIVE:
        if not report.wants(program):
            continue
        command = [str(OUT / program), "--scale", report.scale, "--seed", str(report.seed)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            word = line.rstrip().partition(" ")[0]
            if word in ("ok", "not") or word == "figure":
                report_line(report, line.rstrip(), how)
            elif word != "executions":  # of words that were scribbled: a figure says so
                print(line.rstrip(), flush=True)
        status = process.wait()
        if status != 0:
            report.check(False, program, f"exit status {status}")


def report_line(report: Report, line: str, how: str) -> None:
    if line.startswith("figure "):
        _, name, value, unit = line.split()
        suffix = "" if how == "as it ships" else "_asan"
        report.figure(name + suffix, float(value), unit)
        return
    ok = line.startswith("ok ")
    name, _, text = line.removeprefix("ok ").removeprefix("not ok ").partition(": ")
    report.check(ok, name, f"{text} ({how})")


def main() -> None:
    report = Report("Hostile peers.")
    fuzz(report)
    live(report)
    if report.scale != "planted":
        hunt_bugs(report)
    report.end()


if __name__ == "__main__":
    main()
