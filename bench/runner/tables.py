# SPDX-License-Identifier: Apache-2.0
"""One table for each work: a line for each peer, a column for each point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from runner.points import digits, duration, short, size
from runner.results import Results, Row
from runner.works import LOADS

NOTHING = "-"

Format = Callable[[float], str]


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    """Markdown; the first column left, the others right."""
    yield f"| {' | '.join(head)} |"
    yield f"| --- |{' ---: |' * (len(head) - 1)}"
    for line in lines:
        yield f"| {' | '.join(line)} |"
    yield ""


def peers_of(results: Results, work: str) -> list[str]:
    """Those that have rows of a work, in the order in which they were found."""
    have = {row.peer for row in results.find(work)}
    return [name for name in results.peers if name in have]


def by_point(
    results: Results,
    work: str,
    axis: str,
    heading: Format,
    cell: Callable[[Row], str],
    **fixed: Any,
) -> Iterator[str]:
    """Peers down, values of one part of the point across."""
    rows = list(results.find(work, **fixed))
    values = sorted({row.point[axis] for row in rows})
    lines = []
    for peer in peers_of(results, work):
        own = {row.point[axis]: row for row in rows if row.peer == peer}
        if own:
            cells = [cell(own[value]) if value in own else NOTHING for value in values]
            lines.append([results.title(peer), *cells])
    yield from table(["", *(heading(value) for value in values)], lines)


def shown(row: Row, name: str, how: Format) -> str:
    value = row.median(name)
    return NOTHING if value is None else how(value)


def tail(row: Row, name: str, prefix: str = "") -> str:
    """A percentile of all rounds together; left out where too few calls lie beyond it."""
    value = row.tail(name, prefix)
    return NOTHING if value is None else duration(value)


def typical(row: Row, name: str) -> str:
    value = row.typical_tail(name) or row.tail(name)
    return NOTHING if value is None else duration(value)


def thousands(value: float) -> str:
    """Calls per second: 950, 12.3 k, 4.56 M."""
    if value >= 1e6:
        return f"{digits(value / 1e6)} M"
    return f"{digits(value / 1e3)} k" if value >= 1e3 else digits(value)


def median_of(name: str, how: Format) -> Callable[[Row], str]:
    return lambda row: shown(row, name, how)


# ---- the works


def latency(results: Results) -> Iterator[str]:
    yield "Median of one call at a time, by length of the request:\n"
    yield from by_point(results, "latency", "bytes", sized, median_of("p50_ns", duration))
    yield "At 64 B, all rounds together:\n"
    yield from percentile_table(results, "latency", bytes=64)


def count(value: float) -> str:
    return f"{value:.0f}"


def sized(value: float) -> str:
    return size(int(value))


def percentile_table(results: Results, work: str, **fixed: Any) -> Iterator[str]:
    names = ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns")
    lines = []
    for peer in peers_of(results, work):
        row = results.first(work, peer, **fixed)
        if row:
            biggest = max(row.values("max_ns"), default=None)
            longest = NOTHING if biggest is None else duration(biggest)
            lines.append([results.title(peer), *(tail(row, name) for name in names), longest])
    yield from table(["", "p50", "p90", "p99", "p99.9", "p99.99", "longest"], lines)


def single(work: str) -> Callable[[Results], Iterator[str]]:
    """A work of one point only."""

    def lines(results: Results) -> Iterator[str]:
        yield from percentile_table(results, work)

    return lines


def depth(results: Results) -> Iterator[str]:
    yield "Calls per second, by calls in flight:\n"
    yield from by_point(results, "depth", "depth", count, median_of("calls_per_s", thousands))


def rate(results: Results) -> Iterator[str]:
    yield "Latency from the intended time of sending, at half of the saturation rate. Medians over"
    yield "rounds of each round's percentile, so that one disturbed round does not decide; where a"
    yield "round has too few calls for it, that of all rounds together.\n"
    lines = []
    for peer in peers_of(results, "rate"):
        row = results.first("rate", peer, load="half")
        if row:
            asked = shown(row, "rate_asked", thousands)
            names = ("p50_ns", "p90_ns", "p99_ns", "p999_ns")
            lines.append([results.title(peer), asked, *(typical(row, name) for name in names)])
    yield from table(["", "calls/s", "p50", "p90", "p99", "p99.9"], lines)
    yield "p99 at fixed rates and near saturation:\n"
    fixed = {load for row in results.find("rate") if (load := row.point["load"]) not in LOADS}
    loads = [*sorted(fixed, key=lambda load: (len(load), load)), *LOADS]
    found = []
    for peer in peers_of(results, "rate"):
        own = {row.point["load"]: row for row in results.find("rate", peer)}
        cells = [typical(own[load], "p99_ns") if load in own else NOTHING for load in loads]
        found.append([results.title(peer), *cells])
    yield from table(["", *loads], found)


def mixed(results: Results) -> Iterator[str]:
    lines = []
    for peer in peers_of(results, "mixed"):
        row = results.first("mixed", peer)
        if row:
            small = [tail(row, name) for name in ("p50_ns", "p99_ns")]
            large = [tail(row, name, "large_") for name in ("p50_ns", "p99_ns")]
            calls = shown(row, "calls_per_s", thousands)
            lines.append([results.title(peer), *small, *large, calls])
    head = ["", "64 B p50", "64 B p99", "1 MiB p50", "1 MiB p99", "calls/s"]
    yield from table(head, lines)


def clients(results: Results) -> Iterator[str]:
    yield "Calls per second of all clients together, by number of clients:\n"
    yield from by_point(results, "clients", "clients", count, median_of("calls_per_s", thousands))
    yield "p99 of a call:\n"
    yield from by_point(results, "clients", "clients", count, lambda row: tail(row, "p99_ns"))


def workers(results: Results) -> Iterator[str]:
    computes = sorted({row.point["compute_ns"] for row in results.find("workers")})
    for ns in computes:
        what = f"that computes for {short(duration(ns))}" if ns else "that computes nothing"
        yield f"Calls per second by number of workers, 8 clients, a handler {what}:\n"
        cell = median_of("calls_per_s", thousands)
        yield from by_point(results, "workers", "workers", count, cell, compute_ns=ns)


def oversubscribed(results: Results) -> Iterator[str]:
    lines = []
    for peer in peers_of(results, "oversubscribed"):
        cells = [
            results.first("oversubscribed", peer, clients=c, workers=w)
            for c, w in ((1, 1), (4, 1), (4, 4))
        ]
        rates = [shown(row, "calls_per_s", thousands) if row else NOTHING for row in cells]
        share = shown(cells[2], "least_share", digits) if cells[2] else NOTHING
        lines.append([results.title(peer), *rates, share])
    head = ["calls/s", "1 client, 1 worker", "4 and 1", "4 and 4", "slowest client's share"]
    yield from table(head, lines)


def start(results: Results) -> Iterator[str]:
    columns = (
        ("server ready", "ready_ms", lambda value: duration(value * 1e6)),
        ("connected", "connect_ns", duration),
        ("first call", "first_ns", duration),
        ("call after 10 ms", "p50_ns", duration),
    )
    yield from by_name(results, "start", columns)


def cost(results: Results) -> Iterator[str]:
    columns = (
        ("CPU time", "cpu_ns", duration),
        ("of the client", "client_cpu_ns", duration),
        ("of the server", "server_cpu_ns", duration),
        ("server at 1,000/s", "rare_cpu_percent", lambda value: f"{digits(value)} %"),
        ("system calls, client", "client_syscalls", digits),
        ("server", "server_syscalls", digits),
        ("energy", "energy_uj", lambda value: f"{digits(value)} uJ"),
        ("memory, client", "client_bytes", mebibytes),
        ("server", "server_bytes", mebibytes),
    )
    yield "Per call of 64 B, one at a time. Where the client starts the other side, both are in"
    yield "the client's columns. 16 MiB of every client, and of every server that uses work.h or"
    yield "work.py, are the benchmark's own pattern.\n"
    yield from by_name(results, "cost", columns)
    for name in ("energy", "system calls"):
        if name in results.notes:
            yield f"{name.capitalize()}: {results.notes[name]}.\n"


def mebibytes(value: float) -> str:
    return f"{digits(value / (1 << 20))} MiB"


def by_name(
    results: Results, work: str, columns: Sequence[tuple[str, str, Format]]
) -> Iterator[str]:
    """Peers down, figures across; a column that nobody has is left out."""
    rows = [row for peer in peers_of(results, work) if (row := results.first(work, peer))]
    used = [column for column in columns if any(row.values(column[1]) for row in rows)]
    lines = [
        [results.title(row.peer), *(shown(row, name, how) for _, name, how in used)] for row in rows
    ]
    yield from table(["", *(heading for heading, _, _ in used)], lines)


def idle_clients(results: Results) -> Iterator[str]:
    lines = [
        [f"{row.point['idle_clients']}", shown(row, "p50_ns", duration)]
        for row in results.find("idle-clients")
    ]
    yield from table(["connected idle clients", "C -> C round trip"], lines)


def quick(results: Results) -> Iterator[str]:
    figures = results.quick.get("figures", {})
    lines = [[f"`{name}`", f"{digits(figures[name])}"] for name in sorted(figures)]
    yield from table(["figure", "value"], lines)


TABLES: dict[str, Callable[[Results], Iterator[str]]] = {
    "latency": latency,
    "depth": depth,
    "rate": rate,
    "mixed": mixed,
    "unpinned": single("unpinned"),
    "clients": clients,
    "one-cpu": single("one-cpu"),
    "workers": workers,
    "oversubscribed": oversubscribed,
    "start": start,
    "cost": cost,
    "idle-clients": idle_clients,
    "quick": quick,
}
