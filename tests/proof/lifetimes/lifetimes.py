# SPDX-License-Identifier: Apache-2.0
"""The driver: random sequences against two workers, then processes that end in every way.

    lifetimes.py [--scale quick|long|planted] [--seed N] [--only TEXT] [--repeat FILE]

`--repeat` plays one sequence, as a failure printed it, twenty times.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from ends import Ends  # noqa: E402
from hypothesis import HealthCheck, Phase, given, reject, seed, settings  # noqa: E402
from more import plant_more  # noqa: E402
from report import Report  # noqa: E402
from rig import Rig, Wrong  # noqa: E402
from sequences import SEQUENCES, Player, Sequence  # noqa: E402

QUICK, LONG, PLANTED = 120, 10_000, 2_000
BATCH = 250
SHRINK_S = 60.0
PHASES = [Phase.generate, Phase.shrink]


class Trial:
    """Plays sequences that hypothesis makes, and remembers the smallest that failed."""

    def __init__(self, report: Report, player: Player) -> None:
        self.report = report
        self.player = player
        self.failed: Sequence | None = None
        self.why = ""
        self.first_s = 0.0

    def play(self, sequence: Sequence) -> None:
        if self.failed is not None and time.monotonic() > self.first_s + SHRINK_S:
            if sequence != self.failed:
                reject()
            raise Wrong(self.why)  # as seen before
        self.report.executions += self.failed is None
        self.report.progress(
            f"{self.report.executions} sequences, {self.player.number} calls"
            f"{'; making a failed one smaller' if self.failed else ''}"
        )
        try:
            self.player.play(sequence)
        except Wrong as error:
            self.first_s = self.first_s or time.monotonic()
            self.failed, self.why = sequence, str(error)
            raise

    def run(self, count: int, number: int) -> None:
        """So many sequences; returns early with `failed`."""

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=PHASES if self.report.scale != "planted" else PHASES[:1],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        @seed(number)
        @given(SEQUENCES)
        def play(sequence: Sequence) -> None:
            self.play(sequence)

        try:
            play()
        except Exception as error:  # Wrong, or hypothesis' word for one that does not fail always
            if self.failed is None:
                self.failed, self.why = [], repr(error)


def play_sequences(report: Report, folder: Path, threads: int, count: int) -> None:
    name = f"sequences_{threads}"
    if not report.wants(name):
        return
    rig = Rig(folder, threads)
    trial = Trial(report, Player(rig))
    before = report.executions
    batch = 0
    while report.executions - before < count and trial.failed is None:
        left = count - (report.executions - before)
        trial.run(min(BATCH, left), report.seed * 1000 + batch)
        batch += 1
    if trial.failed is not None:
        report.check(False, name, trial.why)
        print(f"# to repeat: lifetimes.py --only {name} --repeat FILE, which has in it")
        print(f"# {json.dumps(trial.failed)}", flush=True)
    else:
        report.check(
            True,
            name,
            f"{report.executions - before} sequences of {trial.player.number} calls, "
            f"{threads} dispatch loops: no crash, no foreign bytes, every reply as it should be",
        )
    end = rig.close()
    report.check(not end, f"{name}_end", end or "a worker ends well with all that it keeps")


def play_endings(report: Report, folder: Path) -> None:
    ends = Ends(report, folder)
    times = report.amount(1, 60, 4)
    ends.callers(times)
    ends.workers(times)
    ends.alone(times)
    ends.hooks(0.03 if report.scale == "quick" else 1.0)
    report.executions += ends.count
    report.figure("endings", ends.count, "processes")


def repeat(report: Report, folder: Path, file: str) -> None:
    rig = Rig(folder, int(report.only[-1:] or 1))
    player = Player(rig)
    for number in range(20):
        try:
            player.play(json.loads(Path(file).read_text()))
        except Wrong as error:
            report.check(False, f"repeat_{number}", str(error))
    rig.close()


def main() -> None:
    file = None
    if "--repeat" in sys.argv:
        at = sys.argv.index("--repeat")
        file = sys.argv[at + 1]
        del sys.argv[at : at + 2]
    report = Report(__doc__ or "")
    with tempfile.TemporaryDirectory(prefix="carom-lifetimes-") as name:
        if file is not None:
            repeat(report, Path(name), file)
            report.end()
        count = report.amount(QUICK, LONG, PLANTED)
        play_sequences(report, Path(name), 1, count // 2)
        play_sequences(report, Path(name), 2, count - count // 2)
        if report.scale != "planted" or report.only:
            play_endings(report, Path(name))
        if report.scale == "long":
            plant_more(report)
    report.end()


if __name__ == "__main__":
    main()
