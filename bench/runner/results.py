# SPDX-License-Identifier: Apache-2.0
"""What a run has measured so far, and how it is written to results.json and read again."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import BenchmarkFailed
from runner import histogram
from runner.histogram import Histogram

SCHEMA = 1

Key = dict[str, Any]
Figures = dict[str, float]

COUNTS = ("work", "bytes", "depth", "clients")  # of the driver's output: what was asked


@dataclass
class Row:
    """One peer, one work, one point: what each round gave, and all its histograms added up."""

    work: str
    peer: str
    point: Key
    rounds: list[Figures] = field(default_factory=list)
    histograms: dict[str, Histogram] = field(default_factory=dict)

    def add(self, number: int, output: Mapping[str, Any]) -> None:
        """Takes the figures of one round."""
        figures: Figures = {"round": number}
        for name, value in output.items():
            if name.endswith("histogram"):
                if value:
                    histogram.add(self.histograms.setdefault(name, {}), value)
            elif name not in COUNTS and isinstance(value, (int, float)):
                figures[name] = value
        self.rounds.append(figures)

    def values(self, name: str) -> list[float]:
        return [figures[name] for figures in self.rounds if name in figures]

    def median(self, name: str) -> float | None:
        """Median over rounds."""
        values = self.values(name)
        return statistics.median(values) if values else None

    def tail(self, name: str, prefix: str = "") -> int | None:
        """A percentile of all rounds together, if there were enough calls to know it."""
        counts = self.histograms.get(f"{prefix}histogram", {})
        return histogram.percentile(counts, histogram.PERCENTILES[name]) if counts else None

    def typical_tail(self, name: str) -> float | None:
        """The median over rounds of a percentile of each, if a round has enough calls for it."""
        beyond = (self.median("calls") or 0) * (1 - histogram.PERCENTILES[name])
        return self.median(name) if beyond >= histogram.BEYOND_MIN else None

    def to_json(self) -> dict[str, Any]:
        names = sorted({name for figures in self.rounds for name in figures} - {"round"})
        row: dict[str, Any] = {
            "work": self.work,
            "peer": self.peer,
            "point": self.point,
            "median": {name: self.median(name) for name in names},
            "all_rounds": {
                name: histogram.percentiles(counts) for name, counts in self.histograms.items()
            },
            "rounds": self.rounds,
        }
        return row | {name: histogram.pairs(counts) for name, counts in self.histograms.items()}

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Row:
        histograms = {
            name: {int(upper): int(count) for upper, count in value}
            for name, value in row.items()
            if name.endswith("histogram")
        }
        return Row(row["work"], row["peer"], row["point"], row["rounds"], histograms)


def find_ratio(above: Row, below: Row, name: str) -> float | None:
    """Median over the rounds that both have of the ratio within the round; the ratio of the
    medians where they have none in common."""
    lower = {figures["round"]: figures.get(name) for figures in below.rounds}
    ratios = [
        figures[name] / base
        for figures in above.rounds
        if name in figures and (base := lower.get(figures["round"]))
    ]
    if ratios:
        return statistics.median(ratios)
    a, b = above.median(name), below.median(name)
    return a / b if a and b else None


class Results:
    """Rows, failures, skipped peers, and whatever else the report needs."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.failures: list[dict[str, str]] = []
        self.skipped: list[dict[str, str]] = []
        self.peers: dict[str, dict[str, Any]] = {}
        self.about: dict[str, Any] = {}
        self.quick: dict[str, Any] = {}
        self.notes: dict[str, str] = {}
        self.figures: list[dict[str, Any]] = []

    def row(self, work: str, peer: str, point: Key) -> Row:
        """The row of this name, made when it is not there yet."""
        for row in self.find(work, peer):
            if row.point == point:
                return row
        row = Row(work, peer, point)
        self.rows.append(row)
        return row

    def find(self, work: str, peer: str | None = None, **point: Any) -> Iterator[Row]:
        """Rows of a work that have these values in their point."""
        for row in self.rows:
            named = row.work == work and peer in (None, row.peer)
            if named and all(row.point.get(name) == value for name, value in point.items()):
                yield row

    def first(self, work: str, peer: str, **point: Any) -> Row | None:
        return next(self.find(work, peer, **point), None)

    def fail(self, peer: str, work: str, point: str, reason: str) -> None:
        self.failures.append({"peer": peer, "work": work, "point": point, "reason": reason})

    def skip(self, peer: str, reason: str) -> None:
        self.skipped.append({"peer": peer, "reason": reason})

    def title(self, peer: str) -> str:
        return str(self.peers.get(peer, {}).get("title", peer))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            **self.about,
            "figures": self.figures,
            "peers": self.peers,
            "skipped": self.skipped,
            "failures": self.failures,
            "notes": self.notes,
            "quick": self.quick,
            "rows": [row.to_json() for row in self.rows if row.rounds],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Results:
        results = Results()
        own = {"figures", "peers", "skipped", "failures", "notes", "quick"}
        for name in own:
            setattr(results, name, data[name])
        results.about = {name: data[name] for name in data if name not in own | {"rows", "schema"}}
        results.rows = [Row.from_json(row) for row in data["rows"]]
        return results


def write(path: Path, results: Results) -> None:
    """One line for each row, so that the file can be looked at and compared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = results.to_json()
    rows = ",\n".join("  " + json.dumps(row) for row in data.pop("rows"))
    head = json.dumps(data, indent=1).removesuffix("\n}")
    path.write_text(f'{head},\n "rows": [\n{rows}\n ]\n}}\n')


def read(path: Path) -> Results:
    """Raises BenchmarkFailed for a file that is not one."""
    try:
        data = json.loads(path.read_text())
        if data.get("schema") != SCHEMA:
            raise BenchmarkFailed(
                f"{path}: schema {data.get('schema')}, this program knows {SCHEMA}"
            )
        return Results.from_json(data)
    except OSError as error:
        raise BenchmarkFailed(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BenchmarkFailed(f"{path}: not a results.json of `make bench`") from None
