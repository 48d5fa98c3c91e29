# SPDX-License-Identifier: Apache-2.0
"""How lines look: told apart by dashes and markers first, so that a grey print can be read, then by
colours that also colour-blind readers tell apart (Okabe and Ito). carom is bold.

Lines are named at their right ends. Names are moved apart where they would overlap, each as little
as possible, and a thin line leads back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from runner.points import short

NAME_POINTS = 8.0
NAME_GAP = 1.3
COLUMN_AT = 1.04

MARKERS = "osD^v<>phX*P8dH"


@dataclass(frozen=True)
class GroupStyle:
    """Of the lines of one group of peers."""

    colour: str
    dashes: str | tuple[int, tuple[int, ...]]
    width: float
    filled: bool


GROUPS = {
    "carom": GroupStyle("#00436b", "-", 2.1, True),
    "floor": GroupStyle("#6b6b6b", "-", 1.2, False),
    "kernel": GroupStyle("#d55e00", (0, (5, 2)), 1.1, False),
    "library": GroupStyle("#009e73", (0, (1, 1)), 1.4, False),
    "embedded": GroupStyle("#b0508a", (0, (6, 2, 1, 2)), 1.4, False),
}


@dataclass(frozen=True)
class Line:
    """What is drawn of a peer: its name, its group, where it goes."""

    name: str
    group: str
    x: Sequence[float]
    y: Sequence[float]


def draw_lines(axes: Axes, lines: Sequence[Line], left: bool = False) -> None:
    """Lines with their names at the right or left end; the scales must have been set before."""
    counts: dict[str, int] = {}
    for line in lines:
        number = counts[line.group] = counts.get(line.group, -1) + 1
        axes.plot(line.x, line.y, **appearance(line.group, number))
    name_lines(axes, lines, left)


def appearance(group: str, number: int) -> dict[str, Any]:
    """Of the n-th line of a group."""
    style = GROUPS[group]
    return {
        "color": style.colour,
        "linestyle": style.dashes,
        "linewidth": style.width,
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 5 if style.filled else 4,
        "markerfacecolor": style.colour if style.filled else "white",
        "markeredgewidth": 0.9,
        "markevery": 1,
        "zorder": 3 if style.filled else 2,
    }


def name_lines(axes: Axes, lines: Sequence[Line], left: bool) -> None:
    """Names in a column beside the axes."""
    figure = axes.get_figure(root=True)
    assert figure
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]  # settles limits and places
    box = axes.get_window_extent()
    unit = NAME_POINTS * NAME_GAP * figure.dpi / 72 / box.height
    ends = [axes.transAxes.inverted().transform(end(axes, line, left)) for line in lines]
    heights = spread([float(y) for _, y in ends], unit, 1.0)
    for line, (x, y), height in zip(lines, ends, heights, strict=True):
        style = GROUPS[line.group]
        axes.annotate(
            line.name,
            xy=(x, y),
            xytext=(1 - COLUMN_AT if left else COLUMN_AT, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            ha="right" if left else "left",
            fontsize=NAME_POINTS,
            color=style.colour,
            fontweight="bold" if style.filled else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": style.colour,
                "linewidth": 0.4,
                "shrinkA": 0,
                "shrinkB": 1,
                "relpos": (1.0 if left else 0.0, 0.5),
            },
        )


def end(axes: Axes, line: Line, left: bool) -> Any:
    """The first or the last point, in pixels."""
    at = 0 if left else -1
    return axes.transData.transform((line.x[at], line.y[at]))


def spread(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Positions in the same order, at least `gap` apart, with the least squared displacement; from
    0 to `top` if there is room."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, int]] = []  # (sum of wanted positions less their offsets, length)
    for rank, i in enumerate(order):
        block = (wanted[i] - rank * gap, 1)
        while blocks and blocks[-1][0] / blocks[-1][1] >= block[0] / block[1]:
            before = blocks.pop()
            block = (before[0] + block[0], before[1] + block[1])
        blocks.append(block)
    placed = [0.0] * len(wanted)
    room = max(0.0, top - (len(wanted) - 1) * gap)
    rank = 0
    for total, length in blocks:
        for _ in range(length):
            placed[order[rank]] = min(room, max(0.0, total / length)) + rank * gap
            rank += 1
    return placed


def new_figure(width: float = 9.5, height: float = 7.2) -> Figure:
    return Figure(figsize=(width, height), dpi=120)


def add_axes(figure: Figure, title: str, rows: int = 1, columns: int = 1, index: int = 1) -> Axes:
    axes = figure.add_subplot(rows, columns, index)
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    return axes


def format_axis(axis: Any, how: Any) -> None:
    """Labels of the major ticks by a function of the value; none at the minor ones."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(how(value))))
    axis.set_minor_formatter(NullFormatter())
