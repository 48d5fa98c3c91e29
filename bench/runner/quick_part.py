# SPDX-License-Identifier: Apache-2.0
"""The part `quick`: the very measurements of `make bench-quick`, for the figures that it defines.

The driver reads the clock for each call, which takes as long as a part of the fastest calls. The
programs of bench-quick time batches, so ratios to the floor and calls per second come from them.
"""

from __future__ import annotations

import quick
from runner.session import Session

ROUNDS = 25


def run(session: Session, seconds: float) -> None:
    """Takes 35 seconds for 25 rounds; fewer where there is less time."""
    rounds = max(5, min(ROUNDS, int(seconds)))

    def say(text: str) -> None:
        session.progress.step(f"quick: {text}")

    figures, values = quick.run_alone(session.programs, rounds, say)
    session.results.quick = {"figures": figures, "rounds": values}
