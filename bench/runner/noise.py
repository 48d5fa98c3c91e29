# SPDX-License-Identifier: Apache-2.0
"""Whether two sets of measurements differ by more than their own scatter: permutation tests.

If nothing has changed, it does not matter which side a round belongs to. So the sides are drawn
anew many times, at each point of a curve by itself, and the p-value is the share of draws in which
the curve as a whole moved at least as far as it really did. All values are logarithms: what matters
is by which factor they differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 20_000
SEED = 20_26

Values = Sequence[float]
Floats = NDArray[np.float64]


def log_change(before: Values, after: Values) -> float:
    """The factor from one median to the other, as a logarithm; both are logarithms already."""
    return float(np.median(after) - np.median(before))


def p_value(strata: Sequence[tuple[Values, Values]]) -> float:
    """Of all points of a curve together, both directions; at least 1 / (DRAWS + 1)."""
    random = np.random.default_rng(SEED)
    seen = 0.0
    drawn = np.zeros(DRAWS)
    for before, after in strata:
        both = np.concatenate([np.asarray(before, float), np.asarray(after, float)])
        both = np.clip(both, *np.quantile(both, (0.1, 0.9)))  # outliers are cut back
        seen += float(difference(both[None, :], len(before))[0])
        order = np.argsort(random.random((DRAWS, len(both))), axis=1)
        drawn += difference(both[order], len(before))
    beyond = int(np.count_nonzero(np.abs(drawn) >= abs(seen) - 1e-12))
    return (beyond + 1) / (DRAWS + 1)


def difference(rows: Floats, first: int) -> Floats:
    """Mean of the later columns less that of the first ones, row by row."""
    result: Floats = rows[:, first:].mean(axis=1) - rows[:, :first].mean(axis=1)
    return result


def steady(values: Sequence[Values], guides: Sequence[Values]) -> list[Values]:
    """Logarithms of the values of both runs, less what a guide explains of them.

    The guide is what the machine itself took in the same round (the floor). How much a value
    follows it is found from the scatter within each run, and taken off between them as well.
    """
    logs = [np.log(np.asarray(run, float)) for run in values]
    by = [np.log(np.asarray(run, float)) for run in guides]
    x = np.concatenate([run - run.mean() for run in by])
    y = np.concatenate([run - run.mean() for run in logs])
    slope = float(np.clip((x @ y) / max(float(x @ x), 1e-12), -1, 1))
    middle = np.concatenate(by).mean()
    return [list(run - slope * (guide - middle)) for run, guide in zip(logs, by, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for their number, so that all together are wrong as seldom as one should be."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, p_values[i] * (len(p_values) - rank)))
        corrected[i] = running
    return corrected
