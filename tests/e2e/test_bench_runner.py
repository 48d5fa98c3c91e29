# SPDX-License-Identifier: Apache-2.0
"""The runner of `make bench`, with peers that only pretend: order, failures, results, comparison.

Nothing is measured here: the clients print figures of their own making.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"

PEER = """
from runner.peer import Peer

PEERS = (
    Peer(
        name={name!r},
        title="the {name}",
        group={group!r},
        caller="Python",
        server_language="Python",
        settings="None.",
        client=("{{python}}", "{{peer}}/client.py"),
        **{more!r},
    ),
)
"""

CLIENT = """
import json, os, sys
asked = dict(word.split("=", 1) for word in sys.argv[1:])
with open(os.environ["BENCH_LOG"], "a") as log:
    print({name!r}, asked["work"], asked["bytes"], asked["at"], file=log)
{before}
calls = int(asked["ms"]) * 10
print(json.dumps({{
    "work": asked["work"], "bytes": int(asked["bytes"]), "depth": 1, "clients": 1, "calls": calls,
    "seconds": 0.1, "calls_per_s": 1e6, "p50_ns": {ns}, "p90_ns": {ns}, "p99_ns": {ns},
    "p999_ns": {ns}, "p9999_ns": None, "max_ns": {ns}, "mean_ns": {ns}, "cpu_s": 0.1,
    "least_share": 1.0, "histogram": [[{ns}, calls]], "connect_ns": 5000, "first_ns": 9000,
}}))
"""

SERVER = """
import os, signal, sys
{before}
with open(os.environ["BENCH_LOG"] + ".pids", "a") as log:
    print(os.getpid(), file=log)
print("ready", sys.argv[sys.argv.index("--at") + 1] + ".here", flush=True)
signal.pause()
"""

SERVED = {"server": ("{python}", "{peer}/server.py")}
SMALL = {"bytes_max": 64}


def make_peer(root: Path, name: str, ns: int = 1000, client: str = "", **more: Any) -> None:
    """Writes a peer's folder; `client` and `server_code` are lines that its programs begin with."""
    folder = root / "peers" / name
    folder.mkdir(parents=True)
    server = more.pop("server_code", "")
    group = more.pop("group", "kernel")
    (folder / "peer.py").write_text(PEER.format(name=name, group=group, more=SMALL | more))
    (folder / "client.py").write_text(CLIENT.format(name=name, ns=ns, before=client))
    (folder / "server.py").write_text(SERVER.format(before=server))


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "full.py"), "--minutes=0.02"]
    command += [f"--out={folder / 'out'}", f"--programs={folder / 'build'}"]
    return subprocess.run(
        [*command, f"--folder={folder / 'peers'}", *options],
        env={**os.environ, "BENCH_LOG": str(folder / "log")},
        capture_output=True,
        text=True,
        timeout=55,
    )


def results(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "out" / "results.json").read_text())
    assert isinstance(found, dict)
    return found


@dataclass
class Run:
    """One run of `latency` with peers good and bad."""

    folder: Path
    done: subprocess.CompletedProcess[str]

    @property
    def calls(self) -> list[list[str]]:
        """Name, work, bytes and address of every client that ran, in order."""
        return [line.split() for line in (self.folder / "log").read_text().splitlines()]

    def calls_of(self, *names: str) -> list[list[str]]:
        return [call for call in self.calls if call[0] in names]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("bench")
    make_peer(folder, "broken", client="sys.exit('the socket is made of wood')")
    make_peer(folder, "dead", server_code="sys.exit('no such port')", **SERVED)
    make_peer(folder, "exotic", needs=("no-such-command",))
    make_peer(folder, "first", ns=1234)
    make_peer(folder, "second")
    make_peer(folder, "served", **SERVED)
    make_peer(folder, "spinner", spins=True, **SERVED)
    done = bench(folder, "--bench=latency")
    assert done.returncode == 0, done.stderr
    return Run(folder, done)


def test_rounds_are_interleaved_and_every_second_one_runs_backwards(run: Run) -> None:
    order = [(name, size) for name, _, size, _ in run.calls_of("first", "second")]
    there = [(name, size) for size in ("0", "64") for name in ("first", "second")]
    assert order[:8] == there + there[::-1]


def test_results_hold_every_round_and_all_histograms_added_up(run: Run) -> None:
    found = results(run.folder)
    row = next(r for r in found["rows"] if r["peer"] == "first" and r["point"]["bytes"] == 64)
    assert found["schema"] == 1
    assert (row["work"], row["median"]["p50_ns"]) == ("latency", 1234)
    assert row["histogram"] == [[1234, 800 * len(row["rounds"])]]
    assert [one["round"] for one in row["rounds"]] == list(range(len(row["rounds"])))
    assert found["machine"]["cpus"] >= 1
    assert found["peers"]["first"]["settings"] == "None."


def test_the_report_has_a_table_and_plots_are_drawn(run: Run) -> None:
    assert "| the first | 1.23 us | 1.23 us |" in (run.folder / "out" / "report.md").read_text()
    drawn = {path.name for path in (run.folder / "out" / "plots").iterdir()}
    assert {"latency-over-size.svg", "latency-over-size.png"} <= drawn


def test_a_peer_that_fails_is_reported_and_stops_nobody(run: Run) -> None:
    found = results(run.folder)
    reasons = {failure["peer"]: failure["reason"] for failure in found["failures"]}
    assert "the socket is made of wood" in reasons["broken"]
    assert "no such port" in reasons["dead"]
    assert {row["peer"] for row in found["rows"]} == {"first", "second", "served", "spinner"}
    assert "made of wood" in (run.folder / "out" / "report.md").read_text()


def test_a_peer_that_cannot_be_installed_is_skipped_with_the_reason(run: Run) -> None:
    skipped = results(run.folder)["skipped"]
    assert [one["peer"] for one in skipped] == ["exotic"]
    assert "no-such-command" in skipped[0]["reason"]
    assert "no-such-command" in run.done.stdout


def test_servers_are_reached_where_they_say_and_end_with_the_run(run: Run) -> None:
    served, spun = ([at for *_, at in run.calls_of(name)] for name in ("served", "spinner"))
    assert all(at.endswith(".here") for at in served + spun)
    assert len(set(served)) == 1
    assert len(set(spun)) == len(spun) > 1
    pids = (run.folder / "log.pids").read_text().split()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_start_and_cost_work_with_and_without_a_server(tmp_path: Path) -> None:
    make_peer(tmp_path, "served", **SERVED)
    make_peer(tmp_path, "alone")
    done = bench(tmp_path, "--bench=start,cost")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert found["failures"] == []
    medians = {(row["work"], row["peer"]): row["median"] for row in found["rows"]}
    assert medians["start", "served"]["ready_ms"] > 0
    assert "ready_ms" not in medians["start", "alone"]
    assert medians["cost", "served"]["server_bytes"] > 1 << 20
    assert "energy" in found["notes"]


def test_the_list_names_works_and_peers_and_what_they_lack(tmp_path: Path) -> None:
    make_peer(tmp_path, "well")
    make_peer(tmp_path, "exotic", packages=("no-such-debian-package",))
    done = bench(tmp_path, "--list")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert lines["well"].endswith("ready")
    assert "no-such-debian-package" in lines["exotic"]
    assert "oversubscribed" in lines
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "said"), [("--bench=speed", "BENCH=speed"), ("--peers=pigeon", "PEERS=pigeon")]
)
def test_an_unknown_name_is_refused(tmp_path: Path, option: str, said: str) -> None:
    make_peer(tmp_path, "well")
    done = bench(tmp_path, option)
    assert done.returncode == 1
    assert said in done.stderr
    assert "make bench-list" in done.stderr


# ---- comparison

POINT = {"bytes": 64, "depth": 1, "clients": 1, "load": "", "workers": 1, "compute_ns": 0}


def compare(tmp_path: Path, before: object, after: object) -> subprocess.CompletedProcess[str]:
    for name, data in (("a", before), ("b", after)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    return subprocess.run(
        [sys.executable, str(BENCH / "compare.py"), "a.json", "b.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )


def a_run(carom: float, unix: float = 20_000.0, seed: int = 1) -> dict[str, Any]:
    """Results of two peers at three sizes, with 5 % of scatter in 8 rounds."""
    scatter = random.Random(seed)
    rows = [
        {
            "work": "latency",
            "peer": peer,
            "point": POINT | {"bytes": size},
            "rounds": [
                {"round": number, "p50_ns": ns * scatter.uniform(0.95, 1.05)} for number in range(8)
            ],
        }
        for peer, ns in (("carom", carom), ("unix", unix))
        for size in (64, 4096, 65536)
    ]
    peers = {"carom": {"group": "carom", "title": "carom"}, "unix": {"group": "kernel"}}
    empty: dict[str, Any] = {"figures": [], "skipped": [], "failures": [], "notes": {}, "quick": {}}
    return {"schema": 1, "peers": peers, "rows": rows, **empty}


def test_scatter_is_not_a_change(tmp_path: Path) -> None:
    done = compare(tmp_path, a_run(500), a_run(505, seed=2))
    assert done.returncode == 0, done.stdout
    assert "1 of 1 curves of carom are the same" in done.stdout


def test_slower_is_said_and_is_the_exit_status(tmp_path: Path) -> None:
    done = compare(tmp_path, a_run(500), a_run(560, seed=2))
    assert done.returncode == 1
    assert "slower  latency: carom" in done.stdout
    faster = compare(tmp_path, a_run(560), a_run(500, seed=2))
    assert faster.returncode == 0
    assert "faster  latency: carom" in faster.stdout


def test_a_slower_machine_is_not_a_slower_carom(tmp_path: Path) -> None:
    done = compare(tmp_path, a_run(500), a_run(600, unix=24_000, seed=2))
    assert done.returncode == 0, done.stdout
    assert "the machine itself moved" in done.stdout


def test_rounds_of_bench_quick_can_be_compared(tmp_path: Path) -> None:
    scatter = random.Random(3)

    def rounds(py: float, calls: float) -> dict[str, list[float]]:
        floor = [220 * scatter.uniform(0.9, 1.1) for _ in range(25)]
        return {
            "floor_rtt_ns": floor,
            "py_rtt_ns": [py * one / 220 for one in floor],
            "c_calls_per_s": [calls * scatter.uniform(0.95, 1.05) for _ in floor],
        }

    done = compare(tmp_path, rounds(500, 8e6), rounds(600, 9e6))
    assert done.returncode == 1
    assert "slower  quick: py_rtt_ns" in done.stdout
    assert "faster  quick: c_calls_per_s" in done.stdout


@pytest.mark.parametrize("data", [{"schema": 99}, {"machine": "fast"}, [1, 2]])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, data: object) -> None:
    done = compare(tmp_path, a_run(500), data)
    assert done.returncode == 2
    assert done.stderr.startswith("bench-compare: b.json: ")
