# SPDX-License-Identifier: Apache-2.0
"""Runs the proof: `tests/proof/prove.py --scale quick|long [--only SUITE,...]`.

Every suite runs on the library as it is, then once per planted bug that it must catch on a copy of
the library that has the bug: there it has to fail. Progress goes to standard output as it comes,
everything to build/proof/log/, the outcome to build/proof/summary.json. The last line is
`N passed, N failed`: checks that held and bugs that were caught, and the others.

Standard library only: this file runs before build/venv exists.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from planted import BUGS, CannotPlant, plant  # noqa: E402
from suite import Suite  # noqa: E402

PROOF = ROOT / "build" / "proof"
LOGS = PROOF / "log"
BUILD_TIMEOUT_S = 1200.0
TRIES = 4
"""Of a suite with a planted bug: where real threads have to meet in the wrong moment, luck decides
how soon they do."""

printing = threading.Lock()
building = threading.Lock()
running: set[subprocess.Popen[str]] = set()


def say(text: str) -> None:
    with printing:
        print(text, flush=True)


@dataclass
class Run:
    """What one command of a suite said."""

    ok: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    executions: int = 0
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)
    planted: dict[str, bool] = field(default_factory=dict)
    seconds: float = 0.0
    status: int | None = None
    said_no: bool = False
    """A check of its own failed: it did not just crash, or take too long."""

    def hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "ok":
            self.ok.append(rest)
        elif line.startswith("not ok "):
            self.failed.append(line.removeprefix("not ok "))
            self.said_no = True
        elif word == "executions" and rest.isdigit():
            self.executions += int(rest)
        elif match := re.fullmatch(r"figure (\S+) (\S+) (\S+)", line):
            self.figures[match[1]] = (float(match[2]), match[3])
        elif match := re.fullmatch(r"planted (\S+) (caught|missed)", line):
            self.planted[match[1]] = match[2] == "caught"


@dataclass
class Outcome:
    """What became of a suite."""

    suite: Suite
    runs: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """It could not be built, did not end, said nothing."""
    caught: dict[str, bool] = field(default_factory=dict)

    @property
    def passed(self) -> int:
        return sum(len(run.ok) for run in self.runs) + sum(self.caught.values())

    @property
    def failed(self) -> int:
        missed = len(self.caught) - sum(self.caught.values())
        return sum(len(run.failed) for run in self.runs) + len(self.problems) + missed

    def summary(self) -> dict[str, object]:
        return {
            "suite": self.suite.name,
            "executions": sum(run.executions for run in self.runs),
            "seconds": round(sum(run.seconds for run in self.runs), 1),
            "failures": sum(len(run.failed) for run in self.runs) + len(self.problems),
            "planted": len(self.caught),
            "caught": sum(self.caught.values()),
            "checks": sum(len(run.ok) for run in self.runs),
            "missed": sorted(name for name, was in self.caught.items() if not was),
            "figures": {
                name: {"value": value, "unit": unit}
                for run in self.runs
                for name, (value, unit) in run.figures.items()
            },
        }


def load(path: Path) -> Suite:
    spec = importlib.util.spec_from_file_location(f"suite_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    suite: Suite = module.SUITE
    return suite


def make(targets: list[str], bug: str | None) -> str:
    """Builds; the empty string, or what make said."""
    flags = re.sub(r"(^|\s)-j\d*|--jobserver-\S+", "", os.environ.get("MAKEFLAGS", ""))
    command = [os.environ.get("MAKE", "make"), f"-j{os.cpu_count() or 1}", *targets]
    if bug is not None:
        command.append(f"PLANTED={bug}")
    with building:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "MAKEFLAGS": flags},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILD_TIMEOUT_S,
        )
    return "" if done.returncode == 0 else done.stdout


def build(suite: Suite, bug: str | None) -> str:
    out = "build/proof" if bug is None else f"build/planted/{bug}"
    targets = [f"{out}/{program}" for program in suite.programs]
    targets += suite.needs
    if suite.package:
        targets.append("build/venv/.carom")
        if bug is not None:
            targets.append(f"{out}/site/.carom")
    return make(targets, bug) if targets else ""


def words(suite: Suite, scale: str, seed: int, bug: str | None) -> list[str]:
    out = "build/proof" if bug is None else f"build/planted/{bug}"
    python = "build/venv/bin/python" if suite.package else sys.executable
    command = [word.format(out=out, python=python) for word in suite.command]
    command += ["--scale", "planted" if bug is not None else scale, "--seed", str(seed)]
    if bug is not None and suite.planted_options is not None:
        command += suite.planted_options.get(bug, ())
    return command


def environment(suite: Suite, bug: str | None) -> dict[str, str]:
    added = {"PYTHONUNBUFFERED": "1"}
    if suite.package and bug is not None:
        added["PYTHONPATH"] = str(ROOT / "build" / "planted" / bug / "site")
    return {**os.environ, **added}


def end_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_all(number: int, frame: object) -> None:
    """Of a signal: no suite outlives this process."""
    del frame
    for process in list(running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    os._exit(128 + number)


def execute(suite: Suite, scale: str, seed: int, bug: str | None) -> Run:
    """Runs the command in a session of its own; none of its processes is left behind."""
    label = suite.name if bug is None else f"{suite.name}+{bug}"
    limit_s = suite.long_timeout_s if scale == "long" else suite.quick_timeout_s
    run = Run()
    begun = time.monotonic()
    with (LOGS / f"{label}.log").open("w") as log:
        process = subprocess.Popen(
            words(suite, scale, seed, bug),
            cwd=ROOT,
            env=environment(suite, bug),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        running.add(process)
        watchdog = threading.Timer(limit_s, end_group, [process])
        watchdog.start()
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            log.flush()
            run.hear(line.rstrip())
            loud = line.startswith("not ok") if bug is None else False
            if loud or (bug is None and scale == "long"):
                say(f"  {label:<16} {line.rstrip()}")
        run.status = process.wait()
        late = not watchdog.is_alive()
        watchdog.cancel()
        end_group(process)
        running.discard(process)
    run.seconds = time.monotonic() - begun
    if late:
        run.failed.append(f"{label}: did not end within {limit_s:.0f} s")
    elif run.status != 0 and not run.failed:
        run.failed.append(f"{label}: exit status {run.status} (see {LOGS / label}.log)")
    return run


def prove_bug(suite: Suite, seed: int, bug: str, outcome: Outcome) -> None:
    try:
        with building:
            plant(bug)
    except CannotPlant as error:
        outcome.problems.append(f"{bug} cannot be planted: {error}")
        return
    said = build(suite, bug)
    if said:
        outcome.problems.append(f"{bug} does not build:\n{said}")
        return
    for attempt in range(TRIES):
        run = execute(suite, "quick", seed + attempt, bug)
        if run.said_no:
            break
    outcome.caught[bug] = run.said_no
    how = run.failed[0] if run.said_no else f"NOT CAUGHT {' '.join(run.failed)}"
    say(f"  {suite.name:<14} planted {bug}: {how[:120]}  {run.seconds:.1f} s")


def prove(suite: Suite, scale: str, seed: int) -> Outcome:
    outcome = Outcome(suite)
    try:
        said = build(suite, None)
        if said:
            outcome.problems.append(f"does not build:\n{said}")
        else:
            run = execute(suite, scale, seed, None)
            outcome.runs.append(run)
            outcome.caught.update(run.planted)
            if not run.ok and not run.failed:
                outcome.problems.append("it checked nothing")
            for bug in suite.planted:
                prove_bug(suite, seed, bug, outcome)
            if not outcome.caught:
                outcome.problems.append("it has no planted bug to catch")
    except Exception as error:  # a bug of this file must not hide the other suites
        outcome.problems.append(repr(error))
    report(outcome)
    return outcome


def report(outcome: Outcome) -> None:
    s = outcome.summary()
    say(
        f"  {outcome.suite.name:<14} {outcome.passed} passed, {outcome.failed} failed  "
        f"{s['executions']} executions  {s['seconds']} s  "
        f"planted {s['planted']}, caught {s['caught']}"
    )
    for problem in outcome.problems:
        say("\n".join(f"    {line}" for line in problem.splitlines()[-60:]))


def prove_all(suites: list[Suite], scale: str, seed: int) -> list[Outcome]:
    """Two suites at a time on two CPUs, the longest first; those that want every CPU by themselves,
    afterwards.
    """
    together = sorted((s for s in suites if not s.alone), key=lambda s: -s.long_cpu_min)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        outcomes = list(pool.map(lambda suite: prove(suite, scale, seed), together))
    outcomes += [prove(suite, scale, seed) for suite in suites if suite.alone]
    return sorted(outcomes, key=lambda outcome: outcome.suite.name)


def expected_min(suites: list[Suite]) -> int:
    """How long the long run will take."""
    cpus = os.cpu_count() or 1
    together = [suite.long_cpu_min for suite in suites if not suite.alone]
    alone = [suite.long_cpu_min for suite in suites if suite.alone]
    return max([sum(together) // cpus, *together]) + sum(alone)


def choose(only: str) -> list[Suite]:
    suites = sorted((load(path) for path in HERE.glob("*/suite.py")), key=lambda s: s.name)
    unknown = {bug for suite in suites for bug in suite.planted} - set(BUGS)
    if unknown:
        sys.exit(f"prove.py: no such planted bug: {', '.join(sorted(unknown))}")
    wanted = {name for name in only.split(",") if name}
    missing = wanted - {suite.name for suite in suites}
    if missing:
        names = ", ".join(suite.name for suite in suites)
        sys.exit(f"prove.py: no such suite: {', '.join(sorted(missing))} (there are: {names})")
    return [suite for suite in suites if not wanted or suite.name in wanted]


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the suites of the proof.")
    parser.add_argument("--scale", choices=["quick", "long"], default="quick")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="suites, with commas between them")
    arguments = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end_all)
    begun = time.monotonic()
    suites = choose(arguments.only)
    if arguments.scale == "long":
        say(f"  the long run: about {expected_min(suites)} minutes on {os.cpu_count()} CPUs")
    outcomes = prove_all(suites, arguments.scale, arguments.seed)
    summary = {
        "scale": arguments.scale,
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - begun, 1),
        "suites": [outcome.summary() for outcome in outcomes],
    }
    (PROOF / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(outcome.failed for outcome in outcomes)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
