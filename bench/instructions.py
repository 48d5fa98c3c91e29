# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of a call and guards the count: what `make instructions` runs.

A count under callgrind is the same whatever else the machine does, so it shows what a timing hides:
a change of the hot path by a single instruction. The program `instructions` makes calls that are
all hits; it is run twice, with few calls and with many, and the difference divided by the
difference in calls is what one call costs, opening and first use left out.

The counts are compared with the committed baseline of the same compiler, and with the limits.
`--accept` makes the present counts the baseline. Another compiler has no baseline until somebody
accepts one; then only the limits count.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "bench"
BASELINE = HERE / "instructions.json"
FEW, MANY = 1000, 3000
TOLERANCE = 2.0
"""Instructions by which a side may grow before somebody has to look: rare paths differ a little
with the addresses that the kernel gives."""

CLIENT = ("carom_call_submit", "carom_call_wait")
CLIENT_REST = ("carom_call_begin", "carom_call_request", "carom_call_reply", "carom_call_end")
WORKER = (
    "carom_worker_poll",
    "carom_request_data",
    "carom_request_reply_block",
    "carom_request_reply",
)
LIMITS = {"client_instructions": 150.0, "worker_instructions": 400.0}

Counts = dict[str, float]


class CannotCount(Exception):
    """The program or callgrind did not run; the text says why."""


def inclusive_costs(profile: str) -> dict[str, int]:
    """Instructions under each called function, of a profile with uncompressed names."""
    costs: dict[str, int] = {}
    lines = iter(profile.splitlines())
    for line in lines:
        if line.startswith("cfn="):
            name = line.removeprefix("cfn=").split("'")[0]
            next(lines)  # calls=
            costs[name] = costs.get(name, 0) + int(next(lines).split()[-1])
    return costs


def profile(program: Path, calls: int) -> dict[str, int]:
    """Runs the program under callgrind."""
    with tempfile.TemporaryDirectory(prefix="carom-instructions-") as folder:
        out = Path(folder) / "callgrind.out"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        valgrind += ["--compress-strings=no", "--compress-pos=no"]
        try:
            done = subprocess.run(
                [*valgrind, str(program), f"calls={calls}"],
                env=os.environ | {"CAROM_DIR": folder},
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise CannotCount("valgrind is not installed: apt-get install valgrind") from None
        if done.returncode or not out.exists():
            said = done.stderr.strip().splitlines()
            raise CannotCount(f"{program}: {said[-1] if said else 'failed without a word'}")
        return inclusive_costs(out.read_text())


def count(program: Path) -> Counts:
    """Instructions per call: of each function, and of each side."""
    few, many = profile(program, FEW), profile(program, MANY)
    counts: Counts = {}
    for name in (*CLIENT, *CLIENT_REST, *WORKER):
        counts[name] = round((many[name] - few[name]) / (MANY - FEW), 1)
    counts["client_instructions"] = round(sum(counts[name] for name in CLIENT), 1)
    counts["client_whole_instructions"] = round(
        sum(counts[name] for name in (*CLIENT, *CLIENT_REST)), 1
    )
    counts["worker_instructions"] = round(sum(counts[name] for name in WORKER), 1)
    return counts


def compiler() -> str:
    """What built the program: the count belongs to it."""
    cc = os.environ.get("CC", "gcc")
    first = subprocess.run([cc, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\d+\.\d+\.\d+", first)
    return f"{Path(cc).name} {version.group() if version else 'of unknown version'}"


def complaints(counts: Counts, baseline: Counts | None) -> list[str]:
    """What is worse than it may be."""
    found = [
        f"{name}: {counts[name]:g} instructions a call, {limit:g} are allowed"
        for name, limit in LIMITS.items()
        if counts[name] > limit
    ]
    for name, before in (baseline or {}).items():
        if name in counts and counts[name] > before + TOLERANCE:
            found.append(
                f"{name}: {counts[name]:g} instructions a call, {before:g} before "
                f"(if that is meant: make instructions ACCEPT=1)"
            )
    return found


def load(path: Path) -> dict[str, Counts]:
    """Baselines by compiler."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, default=BUILD / "instructions")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--out", type=Path, default=BUILD / "instructions.json")
    parser.add_argument("--accept", action="store_true", help="make these counts the baseline")
    options = parser.parse_args()
    try:
        counts = count(options.program.resolve())
    except CannotCount as reason:
        print(f"instructions: {reason}", file=sys.stderr)
        return 2
    baselines = load(options.baseline)
    before = baselines.get(compiler())
    write(options.out, counts)
    for name, value in counts.items():
        known = f"{before[name]:8g}" if before and name in before else "       -"
        limit = f"{LIMITS[name]:8g}" if name in LIMITS else ""
        print(f"{name:28} {value:8g}   baseline {known}   {f'limit {limit}' if limit else ''}")
    if options.accept:
        write(options.baseline, baselines | {compiler(): counts})
        return 0
    if before is None:
        print(f"no baseline for {compiler()}: only the limits were checked")
    worse = complaints(counts, before)
    for line in worse:
        print(line, file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
