# SPDX-License-Identifier: Apache-2.0
"""The plots of a run, as SVG and PNG."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from runner import results as store
from runner import style
from runner.histogram import exceedance
from runner.points import duration, short, size
from runner.results import Results, Row
from runner.style import Line
from runner.tables import count, peers_of, thousands

LEAST_SHARE = 1e-5
BEYOND = 10
OWN_GROUPS = ("carom", "floor", "embedded")
SHARES = (0.5, 0.25, *(10 ** (-i / 4) for i in range(4, 21)))

Value = Callable[[Row], float | None]


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws what there is data for; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, make in PLOTS.items():
        figure = make(results)
        if figure:
            for suffix in ("svg", "png"):
                path = folder / f"{name}.{suffix}"
                figure.savefig(path, bbox_inches="tight", metadata=metadata(suffix))
                written.append(path)
    return written


def metadata(suffix: str) -> dict[str, Any]:
    """Without a date, so that the same data give the same file."""
    return {"Date": None} if suffix == "svg" else {}


def median(name: str) -> Value:
    return lambda row: row.median(name)


def lines_over(
    results: Results, rows: Iterable[Row], x: Callable[[Row], float | None], y: Value
) -> list[Line]:
    """A line for each peer, in the order of the peers."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        at, value = x(row), y(row)
        if at is not None and value:
            points.setdefault(row.peer, []).append((at, value))
    found = []
    for peer in results.peers:
        own = sorted(points.get(peer, []))
        if own:
            group = results.peers[peer]["group"]
            xs, ys = [p[0] for p in own], [p[1] for p in own]
            found.append(Line(results.title(peer), group, xs, ys))
    return found


def label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def ticks_right(axes: Axes) -> None:
    """Where the lines are named on the left."""
    axes.yaxis.tick_right()
    axes.spines[["right"]].set_visible(True)
    axes.spines[["left"]].set_visible(False)


def powers_of_two(axes: Axes, values: Sequence[float]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(set(values)))
    style.format_axis(axes.xaxis, count)


# ---- the plots


def latency_over_size(results: Results) -> Figure | None:
    rows = list(results.find("latency"))
    sizes = sorted({row.point["bytes"] for row in rows})
    if len(sizes) < 2:
        return None
    lines = lines_over(results, rows, lambda row: sizes.index(row.point["bytes"]), median("p50_ns"))
    figure = style.new_figure()
    axes = style.add_axes(
        figure, "Round trip by length of the request: median of one call at a time"
    )
    axes.set_yscale("log")
    axes.set_xticks(range(len(sizes)), [size(one) for one in sizes])
    style.format_axis(axes.yaxis, duration)
    ticks_right(axes)
    label(axes, "request (each byte written by the caller, read by the handler)", "")
    style.draw_lines(axes, lines, left=True)
    return figure


def latency_distribution(results: Results) -> Figure | None:
    """How long the slowest share of the calls took: the complementary distribution, on its side."""
    lines = []
    for peer in peers_of(results, "latency"):
        row = results.first("latency", peer, bytes=64)
        if row and row.histograms.get("histogram"):
            lines.append(distribution_line(results, row))
    if not lines:
        return None
    figure = style.new_figure()
    axes = style.add_axes(figure, "Latency of 64 B: how long the slowest share of the calls took")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(SHARES[0], LEAST_SHARE)
    shares = (0.5, 0.1, 0.01, 0.001, 0.0001, 0.00001)
    axes.set_xticks(shares, ["50 %", "10 %", "1 %", "0.1 %", "0.01 %", "0.001 %"])
    axes.minorticks_off()
    style.format_axis(axes.yaxis, duration)
    ticks_right(axes)
    label(axes, "share of the calls that took longer", "")
    style.draw_lines(axes, lines, left=True)
    return figure


def distribution_line(results: Results, row: Row) -> Line:
    """At a few shares, evenly spaced on the logarithmic axis, as far as there are calls."""
    counts = row.histograms["histogram"]
    least = max(LEAST_SHARE, BEYOND / sum(counts.values()))
    curve = exceedance(counts)
    shares = [share for share in SHARES if share >= least] or [SHARES[0]]
    times = [next(upper for upper, beyond in curve if beyond < share) for share in shares]
    group = results.peers[row.peer]["group"]
    return Line(results.title(row.peer), group, shares, [max(1, time) for time in times])


def throughput_over_depth(results: Results) -> Figure | None:
    rows = list(results.find("depth"))
    depths = {row.point["depth"] for row in rows}
    if len(depths) < 2:
        return None
    figure = style.new_figure()
    axes = style.add_axes(
        figure, "Throughput by calls in flight: 64 B, one client, one server process"
    )
    powers_of_two(axes, list(depths))
    axes.set_yscale("log")
    style.format_axis(axes.yaxis, thousands)
    label(axes, "calls in flight", "calls per second")
    lines = lines_over(results, rows, lambda row: float(row.point["depth"]), median("calls_per_s"))
    style.draw_lines(axes, lines)
    return figure


def latency_over_rate(results: Results) -> Figure | None:
    """A panel for each kind of peers, all with the same axes, carom from C to Python in each."""
    lines = lines_over(results, results.find("rate"), median("rate_asked"), median("p99_ns"))
    panels = {
        "carom, floor, embedded": [line for line in lines if line.group in OWN_GROUPS],
        "the kernel's ways": [line for line in lines if line.group == "kernel"],
        "libraries": [line for line in lines if line.group == "library"],
    }
    panels = {title: own for title, own in panels.items() if own}
    if not panels:
        return None
    figure = style.new_figure(height=5.2 * len(panels))
    figure.subplots_adjust(hspace=0.25)
    reference = [line for line in lines if line.name == results.title("carom")]
    for number, (title, own) in enumerate(panels.items()):
        heading = f"p99 by rate, open loop, from the intended time of sending: {title}"
        axes = style.add_axes(figure, heading, len(panels), 1, number + 1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(limits([value for line in lines for value in line.x]))
        axes.set_ylim(limits([value for line in lines for value in line.y]))
        style.format_axis(axes.xaxis, thousands)
        style.format_axis(axes.yaxis, duration)
        label(axes, "calls per second; each line ends at the peer's saturation", "p99")
        more = [line for line in reference if line not in own]
        style.draw_lines(axes, [*more, *own])
    return figure


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Around all of them, on a logarithmic axis."""
    return min(values) / 1.5, max(values) * 1.5


def scaling_over_clients(results: Results) -> Figure | None:
    rows = list(results.find("clients"))
    counts = {row.point["clients"] for row in rows}
    if len(counts) < 2:
        return None
    figure = style.new_figure()
    axes = style.add_axes(figure, "Throughput by clients: one server process, nobody pinned")
    powers_of_two(axes, list(counts))
    axes.set_yscale("log")
    style.format_axis(axes.yaxis, thousands)
    label(axes, "client processes, each with one call in flight", "calls per second, all clients")
    lines = lines_over(
        results, rows, lambda row: float(row.point["clients"]), median("calls_per_s")
    )
    style.draw_lines(axes, lines)
    return figure


def scaling_over_workers(results: Results) -> Figure | None:
    computes = sorted({row.point["compute_ns"] for row in results.find("workers")})
    if not computes:
        return None
    figure = style.new_figure(16, 12)
    figure.subplots_adjust(wspace=0.75, hspace=0.25)
    for number, ns in enumerate(computes):
        rows = list(results.find("workers", compute_ns=ns))
        what = f"computes for {short(duration(ns))}" if ns else "computes nothing"
        title = f"Throughput by server processes: the handler {what}"
        axes = style.add_axes(figure, title, 2, 2, number + 1)
        powers_of_two(axes, [row.point["workers"] for row in rows])
        axes.set_yscale("log")
        style.format_axis(axes.yaxis, thousands)
        label(axes, "server processes (8 clients, nobody pinned)", "calls per second")
        lines = lines_over(
            results, rows, lambda row: float(row.point["workers"]), median("calls_per_s")
        )
        style.draw_lines(axes, lines)
    return figure


PLOTS: dict[str, Callable[[Results], Figure | None]] = {
    "latency-over-size": latency_over_size,
    "latency-distribution": latency_distribution,
    "throughput-over-depth": throughput_over_depth,
    "latency-over-rate": latency_over_rate,
    "scaling-over-clients": scaling_over_clients,
    "scaling-over-workers": scaling_over_workers,
}

if __name__ == "__main__":
    draw(store.read(Path(sys.argv[1])), Path(sys.argv[2]))
