# SPDX-License-Identifier: Apache-2.0
"""The command `carom bench`: what it counts, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import carom
import pytest
from carom.benchtext import as_text
from carom.binding import bucket_lasts
from carom.load import Histogram, Report, Result, Work, plans
from conftest import Serve
from processes import COMMAND, PATIENCE_S, Served
from processes import carom as command

FOR_EVER = ("-d", "1h", "--warm-up", "0", "--live")


@pytest.fixture
def here(lab_service: Served, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAROM_DIR", str(lab_service.log.parent))
    return lab_service.log.parent


def measured(*arguments: str, status: int = 0) -> Any:
    ended = command("bench", *arguments, "--json")
    assert ended.returncode == status, ended.stderr
    assert ended.stderr == ""
    return json.loads(ended.stdout)


def calls_of_workers(service: str) -> int:
    with carom.Observer(service) as observer:
        return sum(worker.calls for worker in observer.workers())


class Running:
    """A `carom bench` that goes on until it is stopped."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "bench", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_line(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Exit status and standard output."""
        if number is not None:
            self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, output


# ---- counting


@pytest.mark.parametrize("depth", ["1", "8"])
def test_a_count_of_calls_is_made_exactly(serve: Serve, depth: str) -> None:
    serve(workers=2)
    found = measured("lab", "echo", "--text", "hello", "-n", "1000", "-c", "3", "--depth", depth)
    assert (found["calls"], found["ok"], found["failed"]) == (1000, 1000, 0)
    assert sum(count for _, count in found["latency"]["histogram"]) == 1000
    assert calls_of_workers("lab") == 1000
    assert (found["connections"], found["depth"], found["request_bytes"]) == (3, int(depth), 5)
    assert found["latency_from"] == "sent"
    assert found["rate_asked"] is None
    assert found["reply_bytes_per_s"] == pytest.approx(found["request_bytes_per_s"])
    assert not found["errors"] and not found["lost"] and not found["interrupted"]


@pytest.mark.parametrize("depth", ["1", "64"])
def test_an_open_loop_makes_its_calls_on_schedule(serve: Serve, depth: str) -> None:
    serve()
    found = measured("lab", "echo", "-n", "201", "-R", "4k", "-c", "2", "--depth", depth)
    assert (found["calls"], found["rate_asked"], found["latency_from"]) == (201, 4000.0, "due")
    assert found["calls_per_s"] < 4000.1
    assert found["unsent"] == 0
    assert calls_of_workers("lab") == 201


def test_a_duration_counts_what_it_makes_and_the_warm_up_is_not_counted(serve: Serve) -> None:
    serve()
    found = measured("lab", "echo", "-d", "500ms", "--warm-up", "0")
    assert found["calls"] == calls_of_workers("lab") > 0
    assert found["seconds"] == pytest.approx(0.5)
    before = calls_of_workers("lab")
    found = measured("lab", "echo", "-d", "500ms", "--warm-up", "500ms", "-R", "2000")
    assert 0 < found["calls"] <= 1000
    assert calls_of_workers("lab") - before > found["calls"]


def test_a_latency_counts_from_when_the_call_was_due(here: Path) -> None:
    arguments = ["lab", "sleep", "--text", "0.01", "-n", "20", "--depth", "1"]
    due = measured(*arguments, "-R", "1000")
    assert due["latency"]["max_ns"] >= 20 * 10_000_000 - 19 * 1_000_000
    assert due["late_max_ns"] >= 19 * 10_000_000 - 19 * 1_000_000
    assert due["delayed"] == 19
    assert due["saturated"] and not due["generator_limited"]
    sent = measured(*arguments)
    assert sent["latency"]["p50_ns"] >= 10_000_000
    assert sent["delayed"] == 0


@pytest.mark.parametrize("depth", ["1", "16"])
def test_a_rate_that_the_service_cannot_keep_is_said_clearly(here: Path, depth: str) -> None:
    arguments = ["lab", "sleep", "--text", "0.01", "-d", "200ms", "--warm-up", "50ms"]
    arguments += ["-R", "10000", "--depth", depth]
    found = measured(*arguments)
    assert found["saturated"]
    assert found["unsent"] + found["calls"] >= 2000
    assert found["calls"] <= 22 + int(depth)
    text = command("bench", *arguments).stdout
    assert "asked 10,000/s, got " in text
    assert "the service is saturated; latencies include queueing" in text


def test_the_request_comes_from_a_file_or_from_standard_input(here: Path, tmp_path: Path) -> None:
    (tmp_path / "request").write_bytes(bytes(70_000))
    found = measured("lab", "echo", "--data", str(tmp_path / "request"), "-n", "5")
    assert found["request_bytes"] == 70_000
    assert found["reply_bytes_per_s"] == pytest.approx(found["request_bytes_per_s"])
    ended = command("bench", "lab", "echo", "--data", "-", "-n", "5", "--json", input="12345")
    assert json.loads(ended.stdout)["request_bytes"] == 5


# ---- failures


@pytest.mark.parametrize("depth", ["1", "4"])
def test_failed_calls_are_counted_by_status(here: Path, depth: str) -> None:
    arguments = ["lab", "fail", "--text", "chosen", "-n", "7", "-c", "2", "--depth", depth]
    found = measured(*arguments, status=1)
    assert found["errors"] == {
        "NOT_FOUND": {"count": 7, "first": "carom.Error: no such photograph"}
    }
    assert (found["ok"], found["failed"], found["latency"]) == (0, 7, None)
    assert found["failed_latency"]["count"] == 7
    text = command("bench", *arguments).stdout
    assert "7 failed" in text
    assert "NOT_FOUND" in text and "no such photograph" in text


@pytest.mark.parametrize("depth", ["1", "2"])
def test_a_call_that_is_not_done_in_time_is_a_failure(here: Path, depth: str) -> None:
    found = measured(
        *("lab", "sleep", "--text", "0.1", "-n", "2", "--timeout", "10ms", "--depth", depth),
        status=1,
    )
    assert list(found["errors"]) == ["DEADLINE_EXCEEDED"]
    assert found["failed"] == 2
    assert found["failed_latency"]["max_ns"] >= 10_000_000


def test_a_dead_worker_is_a_failed_call_and_no_more(serve: Serve) -> None:
    serve()
    found = measured("lab", "die", "-n", "1", status=1)
    assert found["errors"]["UNAVAILABLE"]["count"] == 1
    assert found["errors"]["UNAVAILABLE"]["first"].startswith("carom.WorkerDied: ")
    assert found["lost"] == []


@pytest.mark.parametrize("more", [["--depth", "1"], ["--depth", "8"], ["-R", "100"]])
def test_a_killed_service_ends_the_run(serve: Serve, more: list[str]) -> None:
    served = serve()
    running = Running("lab", "echo", "-c", "2", *more, *FOR_EVER, "--json")
    assert "calls/s" in running.wait_for_line()
    served.process.kill()
    status, output = running.end()
    found = json.loads(output)
    assert status == 1
    assert found["calls"] > 0
    assert any("host died" in text for text in found["lost"])
    assert set(found["errors"]) == {"UNAVAILABLE"}


def test_a_stopped_service_ends_the_run(serve: Serve) -> None:
    served = serve()
    running = Running("lab", "echo", *FOR_EVER)
    running.wait_for_line()
    served.stop()
    status, output = running.end()
    assert status == 1
    assert "A connection was lost: the service " in output


# ---- ending early


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("more", [["--depth", "1"], ["--depth", "8"], ["-R", "1"]])
def test_a_signal_ends_the_run_and_shows_what_was_measured(
    here: Path, number: int, more: list[str]
) -> None:
    running = Running("lab", "echo", *more, *FOR_EVER)
    running.wait_for_line()
    status, output = running.end(number)
    assert status == 0
    assert "Interrupted: " in output
    assert "p99.99" in output


@pytest.mark.parametrize("depth", [1, 4])
def test_a_signal_gives_up_calls_that_hang(serve: Serve, depth: int) -> None:
    serve("lab:service", "--graceful-timeout", "0")
    running = Running("lab", "sleep", "--text", "1000", "--depth", str(depth), *FOR_EVER, "--json")
    running.wait_for_line()
    status, output = running.end(signal.SIGINT)
    found = json.loads(output)
    assert (found["unfinished"], found["calls"], found["interrupted"]) == (depth, 0, True)
    assert status == 1


# ---- output


def test_the_text_has_rates_percentiles_and_on_request_a_spectrum(here: Path) -> None:
    plain = command("bench", "lab", "echo", "--text", "hi", "-n", "500")
    assert (plain.returncode, plain.stderr) == (0, "")
    names = [line.split()[0] for line in plain.stdout.splitlines() if line.strip()]
    assert names[2:7] == ["calls", "rate", "requests", "replies", "latency"]
    assert names[7:] == ["p50", "p75", "p90", "p99", "p99.9", "p99.99", "max"]
    detailed = command("bench", "lab", "echo", "--text", "hi", "-n", "500", "--latency").stdout
    last = detailed.splitlines()[-1].split()
    assert (last[0], last[-1]) == ("max", "0")
    assert "p97.5" in detailed


def test_json_goes_to_a_file_beside_the_text(here: Path, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    ended = command("bench", "lab", "echo", "-n", "10", "--json", str(file))
    assert ended.stdout.startswith("lab echo: 1 connection, ")
    found = json.loads(file.read_text())
    assert (found["schema"], found["carom"], found["calls"]) == (1, carom.__version__, 10)


def test_a_live_line_is_drawn_over_itself_on_a_terminal(here: Path) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [COMMAND, "bench", "lab", "echo", "-d", "1h", "--warm-up", "0"],
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        seen = b""
        while b"calls/s" not in seen:
            seen += terminal.read(1024)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        os.close(theirs)
        assert seen.startswith(b"\r")
        assert b"\n" not in seen


# ---- what cannot be done


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nosuch", "echo", "--timeout", "50ms"], "nosuch"),
        (["lab", "ehco"], "has no method 'ehco'; it has: echo, "),
        (["lab", "echo", "--data", "/no/such/file"], "/no/such/file"),
        (["lab", "echo", "-n", "1", "--json", "/no/such/file"], "/no/such/file"),
        (["lab", "", "-n", "1"], "no method ''"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(here: Path, arguments: list[str], text: str) -> None:
    ended = command("bench", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("carom: ")
    assert ended.stderr.count("\n") == 1
    assert text in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "SERVICE"),
        (["-R", "0"], "'0' is not a rate"),
        (["-R", "-5"], "--rate"),
        (["-R", "nan"], "'nan' is not a rate"),
        (["-R", "1e9"], "'1e9' is not a rate"),
        (["-c", "0"], "'0' is not a whole number from 1 to 1,024"),
        (["-c", "1.5"], "'1.5' is not a whole number"),
        (["-n", "0"], "'0' is not a whole number"),
        (["-n", "k"], "'k' is not a whole number"),
        (["--depth", "4097"], "'4097' is not a whole number from 1 to 4,096"),
        (["-d", "0s"], "'0s' is no time at all"),
        (["-d", "soon"], "'soon' is not a time"),
        (["-d", "5 s"], "'5 s' is not a time"),
        (["-d", "9999999h"], "'9999999h' is not a time"),
        (["--timeout", "0"], "'0' is no time at all"),
        (["--warm-up", "-1s"], "--warm-up"),
        (["-d", "1s", "-n", "5"], "not allowed with"),
        (["--data", "x", "--text", "y"], "not allowed with"),
    ],
)
def test_a_wrong_option_is_status_2_and_says_what_is_right(arguments: list[str], text: str) -> None:
    ended = command("bench", *(["lab", "echo"] if arguments else []), *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: carom bench")
    assert text in ended.stderr


# ---- arithmetic


def test_buckets_follow_each_other_and_are_at_most_a_64th_wide() -> None:
    lasts = bucket_lasts()
    assert lasts[:128] == list(range(128))
    assert lasts[-1] == 2**63 - 1
    assert all(0 < b - a <= max(1, (a + 1) / 64) for a, b in pairwise(lasts))


def test_percentiles_are_by_nearest_rank_and_never_above_the_maximum() -> None:
    counts = [0] * len(bucket_lasts())
    for value in range(1, 101):
        counts[value] = 100
    counts[500] = 1
    histogram = Histogram(counts, bucket_lasts(), 100 * 5050 + bucket_lasts()[500] - 3, 9_000)
    assert histogram.count == 10_001
    assert [histogram.percentile(p) for p in (0, 50, 99, 99.99)] == [1, 51, 100, 100]
    assert histogram.percentile(100) == min(bucket_lasts()[500], 9_000)
    assert Histogram([0, 4], [0, 1], 4, 1).stdev_ns == 0.0
    assert Histogram([2, 0, 2], [0, 1, 2], 4, 2).stdev_ns == 1.0
    assert Histogram([0], [0]).percentile(50) == 0


def test_work_is_divided_without_a_rest_and_schedules_interleave() -> None:
    work = Work(b"", 3, 1, 1.0, 0.0, None, 10, 1000.0)
    parts = plans(work, 5_000_000)
    assert [part.calls for part in parts] == [4, 3, 3]
    assert [part.begin_ns for part in parts] == [5_000_000, 6_000_000, 7_000_000]
    assert {part.interval_ns for part in parts} == {3_000_000.0}
    assert {part.end_ns for part in parts} == {None}


@pytest.mark.parametrize(
    ("behind_ns", "full", "timely", "text"),
    [
        (5_000_000, True, 1000, "at most 9 ms after a call was due"),
        (500_000_000, True, 500, "asked 1,000/s, got 500/s: the service is saturated"),
        (500_000_000, False, 500, "asked 1,000/s, got 500/s: this generator did not send faster"),
        (0, False, 900, "asked 1,000/s, got 900/s: 100 calls were still in flight when the time"),
    ],
)
def test_a_missed_rate_is_explained(behind_ns: int, full: bool, timely: int, text: str) -> None:
    second = 1_000_000_000
    unsent = behind_ns // 1_000_000 if behind_ns > 100_000_000 else 0
    counts = Histogram([timely], [0])
    report = Report(
        *(second, timely, 0, 0, unsent, 0, 9_000_000, behind_ns, (0, 0), (0, 0), full, None, {})
    )
    work = Work(b"", 1, 4, 1.0, 0.0, 1.0, None, 1000.0)
    result = Result(work, 1.0, 0, False, counts, Histogram([0], [0]), [report])
    words = as_text(result, "lab", "echo", detailed=False)
    assert text in words
    assert ("asked 1,000/s, got" in words) == (timely < 1000)
