# SPDX-License-Identifier: Apache-2.0
"""`make bench-pool`: its arguments, its arithmetic, its output. Nothing is measured here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


def ask(expression: str, setting: str = "") -> Any:
    """What an expression about the module is: in a process of its own, for bench/ and the tests
    have modules of the same name."""
    script = f"import json, pool\n{setting}\nprint(json.dumps({expression}))"
    environment = {**os.environ, "PYTHONPATH": str(BENCH)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "pool.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--parts", "deaths,speed"), "no such part: speed; there are deaths, first-call, memory"),
        (("--rounds", "0"), "--rounds 0: at least 1"),
    ],
)
def test_a_wrong_command_line_says_what_there_is(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_program_that_is_missing_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "pool.json"
    done = run("--programs", str(tmp_path), "--out", str(out), "--rounds=1", "--parts=launch")
    assert done.returncode == 1
    assert "bench-pool failed" in done.stderr
    assert "launch" in done.stderr
    assert not out.exists()


def test_every_limit_is_met_missed_or_not_measured() -> None:
    figures = {"respawn_ms": 30.0, "pss_ratio": 0.26, "reload_failed_calls": 1, "kills": 100}
    verdicts = ask(f"pool.verdicts({figures})")
    assert {key: found["verdict"] for key, found in verdicts.items()} == {
        "respawn_ms": "met",
        "crash_notice_ms": "not measured",
        "first_call_ratio": "not measured",
        "pss_ratio": "missed",
        "reload_failed_calls": "missed",
        "recycle_failed_calls": "not measured",
        "autoscale_s": "not measured",
        "launch_ms": "not measured",
    }
    lines = ask(f"list(pool.table({figures}))")
    assert [line.split()[0] for line in lines[1:]] == ["kills", *list(figures)[:3]]
    assert [line.split()[-1] for line in lines[2:]] == ["met", "MISSED", "MISSED"]


@pytest.mark.parametrize(("values", "found"), [(range(100, 0, -1), 99), ([7], 7)])
def test_the_99th_of_a_hundred(values: Sequence[int], found: int) -> None:
    assert ask(f"pool.p99({list(values)})") == found


def test_a_call_without_an_outcome_and_a_lost_connection_are_failed_calls() -> None:
    setting = """
import dataclasses
class Load:
    def outcome(self):
        errors = {"UNAVAILABLE": {"count": 3, "first": "worker 2 has gone"}}
        latency = {"p99_ns": 2e6, "max_ns": 5e6}
        return {"errors": errors, "lost": ["the host died"], "failed": 3, "unfinished": 4,
                "calls_per_s": 50e3, "latency": latency}
"""
    found = ask("dataclasses.asdict(pool.exchange.summary(10, Load()))", setting)
    assert found == {
        "rounds": 10,
        "failed": 8,
        "calls_per_s": 50e3,
        "p99_ms": 2.0,
        "max_ms": 5.0,
        "first_error": "UNAVAILABLE: worker 2 has gone; the host died",
    }
