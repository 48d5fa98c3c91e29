# SPDX-License-Identifier: Apache-2.0
"""The report in Markdown: figures, conditions, a table for each work, the peers with settings."""

from __future__ import annotations

from collections.abc import Iterator

from quick import number
from runner.plan import WORKS
from runner.results import Results
from runner.tables import TABLES, table


def make(results: Results) -> str:
    lines = [*head(results), *figures(results), *conditions(results)]
    for name, what in WORKS.items():
        if has(results, name):
            lines += [f"## {name}", "", f"{what[0].upper()}{what[1:]}.", ""]
            lines += TABLES[name](results)
    lines += [*skipped(results), *failures(results), *peers(results)]
    return "\n".join(lines).rstrip() + "\n"


def has(results: Results, work: str) -> bool:
    return bool(results.quick) if work == "quick" else any(True for _ in results.find(work))


def head(results: Results) -> Iterator[str]:
    about = results.about
    machine = about["machine"]
    yield "# carom: benchmark report"
    yield ""
    yield (
        f"{about['made']}, {about['seconds'] / 60:.1f} minutes. {machine['cpu']}, "
        f"{machine['cpus']} CPUs, {machine['memory_mib'] / 1024:.0f} GiB, {machine['kernel']}. "
        f"carom {about['versions']['carom']}."
    )
    yield ""
    yield (
        "Medians over rounds; percentiles beyond the median are those of all rounds together and "
        "left out (-) where fewer than ten calls lie beyond them. docs/benchmarks.md says how to "
        "read this; results.json holds every round and every histogram."
    )
    yield ""


def figures(results: Results) -> Iterator[str]:
    yield "## Figures"
    yield ""
    lines = [
        [
            f"{figure['what']} (`{figure['figure']}`)",
            "-" if figure["value"] is None else number(figure["value"]),
            figure["limit"],
            f"**{figure['verdict']}**" if figure["verdict"] == "missed" else figure["verdict"],
        ]
        for figure in results.figures
    ]
    yield from table(["what", "value", "limit", ""], lines)


def conditions(results: Results) -> Iterator[str]:
    about = results.about
    yield "## Conditions"
    yield ""
    for warning in about["warnings"]:
        yield f"- **{warning}**"
    yield f"- Other programs before the run: {about['others_cpu_percent']:.1f} % of the CPUs."
    yield f"- Taken by the hypervisor during the run: {about['stolen_cpu_percent']:.2f} %."
    for name, value in about["machine"].items():
        if value != "":
            yield f"- {name.replace('_', ' ')}: {value}"
    for name, value in about["versions"].items():
        if value:
            yield f"- {name}: {value}"
    for name, value in results.notes.items():
        yield f"- {name}: {value}"
    yield ""


def skipped(results: Results) -> Iterator[str]:
    if results.skipped:
        yield "## Skipped"
        yield ""
        lines = [[one["peer"], cell(one["reason"])] for one in results.skipped]
        yield from table(["peer", "reason"], lines)


def failures(results: Results) -> Iterator[str]:
    if results.failures:
        yield "## Failed"
        yield ""
        lines = [
            [results.title(one["peer"]), one["work"], one["point"], cell(one["reason"])]
            for one in results.failures
        ]
        yield from table(["peer", "work", "point", "reason"], lines)


def cell(text: str) -> str:
    """A table's cell holds no bar and no line end."""
    return " ".join(text.split()).replace("|", "\\|")


def peers(results: Results) -> Iterator[str]:
    yield "## Peers and their settings"
    yield ""
    for name, peer in results.peers.items():
        versions = ", ".join(f"{key} {value}" for key, value in peer["packages"].items() if value)
        languages = f"{peer['caller']} to {peer['server_language']}"
        yield f"- **{peer['title']}** (`{name}`, {languages}). {peer['settings'].strip()}"
        if versions:
            yield f"  Versions: {versions}."
    yield ""
