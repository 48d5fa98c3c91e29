# SPDX-License-Identifier: Apache-2.0
"""`make bench-compare A=old.json B=new.json`: what got slower or faster from A to B, beyond noise.

Takes two results.json of `make bench` or two quick-rounds.json of `make bench-quick`. The exit
status is 1 when something of carom got slower, 2 when the files cannot be compared.
runner/changes.py says when a change counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from processes import BenchmarkFailed
from runner.changes import ALPHA, LEAST_CHANGE, Change, compare, controls_factor, load, percent

DRIFT_NOTED = 1.05


def lines(changes: Sequence[Change]) -> Iterator[str]:
    """What changed, most first; then how far the controls moved, and what that means."""
    own = [change for change in changes if not change.series.control]
    for verdict in ("slower", "faster"):
        found = [change for change in own if change.verdict == verdict]
        for change in sorted(found, key=lambda change: -abs(change.factor - 1)):
            name = f"{change.series.work}: {change.series.name}"
            worst = f"   most at {change.worst}" if change.worst else ""
            yield f"{verdict}  {name:48} {percent(change.factor):>7}   p {change.p:.4f}{worst}"
    same = sum(change.verdict == "same" for change in own)
    yield f"{same} of {len(own)} curves of carom are the same within noise"
    yield from drift(changes)


def drift(changes: Sequence[Change]) -> Iterator[str]:
    """What no change of carom can have caused."""
    controls = [change for change in changes if change.series.control]
    moved = controls_factor(changes)
    if not controls:
        yield "no peers to tell a slower machine from a slower carom: take changes with care"
    elif not 1 / DRIFT_NOTED < moved < DRIFT_NOTED:
        yield (
            f"the machine itself moved: the {len(controls)} controls took {percent(moved)} "
            "in the median; changes that do not go beyond that are not counted"
        )
    else:
        yield f"controls: {percent(moved)} in the median of {len(controls)}"


def main() -> int:
    names = [name for name in sys.argv[1:] if name]
    if len(names) != 2:
        print("usage: make bench-compare A=old.json B=new.json", file=sys.stderr)
        return 2
    try:
        before, after = (load(Path(name)) for name in names)
        changes = compare(before, after)
    except BenchmarkFailed as failure:
        print(f"bench-compare: {failure}", file=sys.stderr)
        return 2
    if not changes:
        print(f"bench-compare: {names[0]} and {names[1]} have nothing in common", file=sys.stderr)
        return 2
    print(f"{names[0]} -> {names[1]}: + is slower; counted from {LEAST_CHANGE:.0%}, p < {ALPHA}")
    print("\n".join(lines(changes)))
    slower = any(change.verdict == "slower" and not change.series.control for change in changes)
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
