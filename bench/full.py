# SPDX-License-Identifier: Apache-2.0
"""`make bench`: carom beside every other way to do it, on this machine, in one sitting.

Installs and builds what each peer needs, measures in interleaved rounds, and writes results.json,
report.md and plots under build/bench. `--list` only names works and peers. bench/README.md and
docs/benchmarks.md say what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from processes import BenchmarkFailed
from quick import Ticks, cpu_ticks, others_cpu_percent, two_cpus
from runner import figures, install, machine, peers, plan, report, results, versions
from runner.calibrate import Calibration, calibrate
from runner.command import Cpus, Words
from runner.peers import Entry
from runner.progress import Progress, minutes
from runner.results import Results
from runner.servers import Servers
from runner.session import Session

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "bench"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", default="", help="works, separated by commas; default all")
    parser.add_argument("--peers", default="", help="peers, folders or groups; default all")
    parser.add_argument("--list", action="store_true", help="name works and peers, run nothing")
    parser.add_argument("--minutes", type=float, default=plan.RUN_SECONDS / 60)
    parser.add_argument("--out", type=Path, default=BUILD, help="folder of the results")
    parser.add_argument("--programs", type=Path, default=BUILD, help="where bench/*.c were built")
    parser.add_argument("--folder", type=Path, default=HERE / "peers", help="where the peers are")
    return parser.parse_args()


def places(options: argparse.Namespace) -> install.Places:
    programs = options.programs.resolve()
    python = programs / "venv" / "bin" / "python"
    return install.Places(
        root=ROOT,
        python=python if python.exists() else Path(sys.executable),
        builds=programs / "peers",
        stamps=programs / "setup",
    )


def print_lists(where: install.Places, entries: Sequence[Entry]) -> None:
    """Both lists, a line for each."""
    print("Works (make bench BENCH=latency,depth):")
    for name, what in plan.WORKS.items():
        print(f"  {name:16} {what}")
    print("\nPeers (make bench PEERS=unix,grpc; a group or a folder names all of its peers):")
    for folder, own in install.by_folder(entries).items():
        lacks = install.missing(where, folder, own)
        for entry in own:
            print(
                f"  {entry.name:16} {entry.peer.group:9} {entry.peer.title:32} {lacks or 'ready'}"
            )


def install_all(
    where: install.Places, entries: Sequence[Entry], found: Results, progress: Progress
) -> list[Entry]:
    """Those peers that can be run; the others are skipped with the reason."""
    usable = []
    for folder, own in install.by_folder(entries).items():
        progress.step(f"installing {folder.name}")
        try:
            install.install(where, folder, own)
            usable += own
        except BenchmarkFailed as failure:
            progress.say(f"skipped: {folder.name}: {failure}")
            for entry in own:
                found.skip(entry.name, str(failure))
    return usable


def describe_peers(where: install.Places, entries: Sequence[Entry], found: Results) -> None:
    packages = versions.installed_python_packages(where.python)
    for entry in entries:
        peer = entry.peer
        found.peers[entry.name] = {
            "title": peer.title,
            "group": peer.group,
            "caller": peer.caller,
            "server_language": peer.server_language,
            "settings": peer.settings,
            "packages": versions.of_entry(entry, packages),
        }


def measure(
    where: install.Places,
    entries: Sequence[Entry],
    works: Sequence[str],
    seconds: float,
    programs: Path,
    found: Results,
    progress: Progress,
) -> None:
    """Everything that is asked for, in a folder of its own."""
    client_cpu, server_cpu = two_cpus()
    logs = programs / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="carom-bench-") as name:
        folder = Path(name)
        calibration = Calibration({})
        if {"workers"} & set(works):
            progress.step("calibrating what servers compute")
            calibration = calibrate(HERE, where.python, folder)
            found.about["iterations_per_us"] = calibration.per_us
        words = Words(where.python, where.builds)
        cpus = Cpus(client_cpu, server_cpu)
        environment = server_environment()
        with Servers(words, cpus, folder, logs, environment, calibration.iterations) as servers:
            session = Session(
                entries, words, cpus, programs, folder, environment, servers, found, progress
            )
            plan.run(session, plan.steps(works, entries), seconds)


def server_environment() -> dict[str, str]:
    paths = [str(HERE), str(HERE / "peers"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def conditions(
    found: Results, others: float, ticks: Ticks, seconds: float, works: Sequence[str]
) -> None:
    """Notes the machine and what disturbed the run."""
    stolen = cpu_ticks().since(ticks).stolen_percent
    described = machine.describe()
    found.about |= {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "works": list(works),
        "machine": described,
        "versions": machine.versions(ROOT),
        "others_cpu_percent": others,
        "stolen_cpu_percent": stolen,
        "warnings": machine.warnings(described, others, stolen),
    }


def finish(found: Results, options: argparse.Namespace, progress: Progress) -> None:
    """Writes the files and says what came out."""
    found.figures = figures.evaluate(found, options.programs)
    path = options.out / "results.json"
    results.write(path, found)
    (options.out / "report.md").write_text(report.make(found))
    try:
        from runner import plots  # noqa: PLC0415 - numpy and matplotlib are needed only here

        drawn = plots.draw(found, options.out / "plots")
        progress.say(f"{len(drawn)} plots in {options.out / 'plots'}")
    except ImportError as error:
        progress.say(f"no plots: {error}")
    for line in figures.lines(found.figures):
        print(line)
    for skipped in found.skipped:
        print(f"skipped {skipped['peer']}: {skipped['reason']}")
    print(f"\nwritten: {path}, {options.out / 'report.md'}")


def run(options: argparse.Namespace) -> int:
    progress = Progress()
    where = places(options)
    entries = peers.find(options.folder)
    if options.list:
        print_lists(where, entries)
        return 0
    works = plan.select_works(options.bench.split(","))
    entries = peers.select(entries, options.peers.split(","))
    found = Results()
    others = others_cpu_percent()
    entries = install_all(where, entries, found, progress)
    describe_peers(where, entries, found)
    for warning in machine.warnings(machine.describe(), others, 0.0):
        progress.say(f"note: {warning}")
    begin, ticks = time.monotonic(), cpu_ticks()
    status = 0
    try:
        measure(
            where, entries, works, options.minutes * 60, options.programs.resolve(), found, progress
        )
    except KeyboardInterrupt:
        progress.say("stopped: writing what has been measured")
        found.notes["stopped"] = "The run was stopped before its end."
        status = 130
    progress.end()
    conditions(found, others, ticks, time.monotonic() - begin, works)
    progress.say(f"measured for {minutes(time.monotonic() - begin)}")
    finish(found, options, progress)
    return status


def main() -> int:
    try:
        return run(arguments())
    except (BenchmarkFailed, OSError) as failure:
        print(f"\nbench failed: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
