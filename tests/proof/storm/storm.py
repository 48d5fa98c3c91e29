# SPDX-License-Identifier: Apache-2.0
"""The storm: clients and a pool under load, and anybody is killed or stopped at any moment.

    storm.py CLIENT [--scale quick|long|planted] [--seed N] [--only storm|recovery|stopped]

storm     episodes.py: some hundred kills each, then everything is counted
recovery  recovery.py: how soon the caller of a killed worker knows, and goes on
stopped   stopped.py: who is stopped is never taken for dead
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLIENT = Path(sys.argv.pop(1)).resolve()
sys.path[1:1] = [str(HERE.parent), str(HERE.parent.parent / "e2e")]

from episodes import ride_out  # noqa: E402
from recovery import recover  # noqa: E402
from report import Report  # noqa: E402
from stopped import stop_everybody  # noqa: E402
from tree import Broken, Tree  # noqa: E402

PHASES: tuple[tuple[str, Callable[[Report, Tree, Path, Path], None]], ...] = (
    ("stopped", stop_everybody),
    ("recovery", recover),
    ("storm", ride_out),
)


def shared_memory() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if "carom" in name}


def perform(report: Report, tree: Tree, name: str, phase: Callable[..., None]) -> None:
    """One phase in a folder of its own; nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="carom-storm-"))
    services = folder / "run"
    services.mkdir(mode=0o700)
    os.environ["CAROM_DIR"] = str(services)
    os.environ["STORM_RUNS"] = str(folder / "runs")
    before = shared_memory()
    try:
        phase(report, tree, CLIENT, folder)
        tree.until(lambda: not tree.others(), "left", lambda: f"{tree.others()} to end")
        tree.until(lambda: not shared_memory() - before, "left", "/dev/shm as it was")
        left = sorted(os.listdir(services))
        text = f"no process, nothing in /dev/shm, in CAROM_DIR {left or 'nothing'}"
        report.check(not left, f"{name}.left", text)
    except Broken as broken:
        report.check(False, f"{name}.{broken.name}", str(broken))
        if report.scale == "long":
            kept = shutil.copy(folder / "log", folder.parent / f"{folder.name}.log")
            print(f"# log of the service: {kept}", flush=True)
    finally:
        tree.kill_all()
        shutil.rmtree(folder)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # by way of `finally`
    report = Report("Kills and stops clients, workers, template and host under load.")
    tree = Tree(patience_s=report.amount(30, 60, 5))
    os.chdir(HERE)  # where the application is
    for name, phase in PHASES:
        if report.wants(name):
            perform(report, tree, name, phase)
    report.end()


if __name__ == "__main__":
    main()
