# SPDX-License-Identifier: Apache-2.0
"""The command `carom status`: what it shows, and when a service is healthy."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import carom
import pytest
from carom.records import State
from carom.status_command import as_text, memory_of
from carom.text import duration, memory, short_duration
from conftest import Serve
from processes import carom as command
from processes import until

NOW = time.time()


def status(name: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, facts and reason."""
    ended = command("status", name, "--json")
    return ended.returncode, json.loads(ended.stdout), ended.stderr.rstrip("\n")


# ---- real services


def test_a_ready_service_is_healthy_and_says_everything(serve: Serve) -> None:
    served = serve("lab:service", workers=2)
    with carom.connect("lab") as client:
        client.call("echo", b"x")
        with pytest.raises(carom.RemoteError):
            client.call("fail", b"value")
        code, facts, reason = status("lab")
    assert (code, reason) == (0, "")
    assert (facts["service"], facts["state"], facts["healthy"]) == ("lab", "ready", True)
    assert (facts["host"], facts["target"]) == (served.pid, "lab:service")
    assert (facts["wanted"], facts["ready"], facts["restarts"], facts["clients"]) == (2, 2, 0, 1)
    assert "echo" in facts["methods"]
    workers = facts["workers"]
    assert {worker["pid"] for worker in workers} == set(served.worker_pids)
    assert {worker["stage"] for worker in workers} == {"ready"}
    assert sum(worker["calls"] for worker in workers) == 2
    assert sum(worker["errors"] for worker in workers) == 1
    for worker in workers:
        assert worker["running"] == []
        assert 0 < worker["pss"] <= worker["rss"]
        assert abs(worker["started"] - time.time()) < 60
    ended = command("status", "lab")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("lab: ready for ")
    assert ", 2 of 2 workers\n" in ended.stdout
    assert len(ended.stdout.rstrip().split("\n\n")[1].splitlines()) == 3


def test_what_a_worker_runs_and_since_when(serve: Serve) -> None:
    served = serve("lab:service", "--threads", "2", "--graceful-timeout", "0")

    def running() -> list[dict[str, Any]]:
        (worker,) = status("lab")[1]["workers"]
        assert worker["threads"] == 2
        return worker["running"]

    with carom.connect("lab") as client:
        threads = []
        for count in (1, 2):
            threads.append(threading.Thread(target=outlive, args=(client,)))
            threads[-1].start()
            until(lambda: len(running()) == count)  # noqa: B023  # waited for here
        first, second = running()
        text = command("status", "lab").stdout
        served.stop()
        for thread in threads:
            thread.join()
    assert first["method"] == second["method"] == "sleep"
    assert first["since"] <= second["since"] <= time.time()
    assert "sleep for " in text
    assert ", 1 more" in text


def outlive(client: carom.Client) -> None:
    """A call that ends with its service."""
    with pytest.raises(carom.RemoteError, match="UNAVAILABLE"):
        client.call("sleep", b"600")


def test_a_service_that_starts_is_not_healthy_yet(serve: Serve, folder: Path) -> None:
    (folder / "app.py").write_text(
        "import time, pathlib, carom\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
        "service = carom.Service('app')\n"
        "@service.method\ndef echo(request): return request\n"
    )
    served = serve("app:service", "--name", "early", cwd=folder, ready=False)
    until(lambda: status("early")[1]["state"] == "starting")
    code, facts, reason = status("early")
    assert (code, facts["healthy"]) == (1, False)
    assert reason == "carom: early is starting: no worker has been ready yet"
    (folder / "go").touch()
    served.wait_ready()
    assert status("early")[0] == 0


def test_restarts_are_counted_with_the_last_reason(serve: Serve) -> None:
    served = serve("lab:service", workers=2)
    os.kill(served.worker_pids[0], signal.SIGKILL)
    facts = until(lambda: next((f for f in [status("lab")[1]] if f["restarts"]), None))
    assert facts["restarts"] == 1
    assert "SIGKILL" in facts["last_reason"]
    assert abs(facts["last_restart"] - time.time()) < 60
    until(lambda: status("lab")[1]["state"] == "ready")
    text = command("status", "lab").stdout
    assert "restarts  1, the last " in text
    assert "SIGKILL" in text


def test_nobody_there(folder: Path) -> None:
    code, facts, reason = status("nobody")
    assert (code, facts["state"], facts["healthy"]) == (1, "absent", False)
    assert reason.startswith("carom: ") and "nobody" in reason
    ended = command("status", "nobody")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1


def test_a_host_that_was_killed_is_stale(serve: Serve) -> None:
    served = serve("lab:service")
    served.process.kill()
    served.wait()
    code, facts, reason = status("lab")
    assert (code, facts["state"]) == (1, "stale")
    assert "lab" in reason


def test_a_host_that_does_not_answer_keeps_nobody_waiting(serve: Serve) -> None:
    served = serve("lab:service")
    os.kill(served.pid, signal.SIGSTOP)
    try:
        code, facts, reason = status("lab")
        listed = command("ls").stdout
    finally:
        os.kill(served.pid, signal.SIGCONT)
    assert (code, facts["state"], facts["healthy"]) == (1, "silent", False)
    assert reason.startswith("carom: ")
    assert "silent: its host does not answer" in listed
    until(lambda: status("lab")[0] == 0)


def test_dir_is_where_it_looks(serve: Serve, folder: Path, monkeypatch: Any) -> None:
    serve("lab:service")
    monkeypatch.setenv("CAROM_DIR", "/no/such")
    assert command("status", "lab", "--dir", str(folder)).returncode == 0
    assert command("status", str(folder / "lab.sock")).returncode == 0
    assert command("status", "lab").returncode == 1


# ---- hosts that say how they are


Hosted = Callable[[State | None, str], tuple[int, dict[str, Any], str]]


@pytest.fixture
def hosted(folder: Path) -> Hosted:
    """A host; with a worker, if a state is given: it says nothing until it is dismissed."""
    service = carom.Service("hosted")
    service.method(lambda request: request, name="echo")

    def ask(state: State | None, description: str) -> tuple[int, dict[str, Any], str]:
        with carom.Host("hosted") as host, contextlib.ExitStack() as joined:
            if state is not None:
                joined.enter_context(carom.Worker(service))
                host.describe(state, description)
            listed = command("ls").stdout.splitlines()[1].split()
            assert listed[:2] == ["hosted", "starting" if state is None else state.name.lower()]
            shown = command("status", "hosted")
            found = status("hosted")
        assert (shown.returncode, shown.stderr) == (found[0], f"{found[2]}\n" if found[2] else "")
        return found

    return ask


@pytest.mark.parametrize("state", sorted(set(State) - {State.STOPPING}))
def test_only_ready_and_degraded_are_healthy(hosted: Hosted, state: State) -> None:
    reason = "worker 5 was killed by SIGSEGV"
    code, facts, text = hosted(state, json.dumps({"last_reason": reason, "workers": []}))
    healthy = state in (State.READY, State.DEGRADED)
    assert (code, facts["healthy"]) == (0 if healthy else 1, healthy)
    assert facts["state"] == state.name.lower()
    assert (facts["reason"] is None) is healthy
    assert text.startswith("" if healthy else f"carom: hosted is {state.name.lower()}")
    assert (reason in text) is (state is State.FAILING)


def test_without_a_worker_it_is_not_healthy(folder: Path) -> None:
    with carom.Host("empty") as host:
        host.describe(State.DEGRADED, json.dumps({"last_reason": "worker 5 exited with status 3"}))
        code, facts, text = status("empty")
    assert (code, facts["healthy"]) == (1, False)
    assert text == "carom: empty is degraded: no worker is ready; worker 5 exited with status 3"


def test_a_service_without_a_description_shows_what_there_is(hosted: Hosted) -> None:
    code, facts, _ = hosted(None, "")
    assert (code, facts["host"], facts["workers"]) == (1, os.getpid(), [])
    assert facts["restarts"] is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "5",
        "null",
        "[]",
        '{"workers": 5}',
        '{"workers": [5, null, {}, {"pid": "x", "stage": 5, "started": "y"}]}',
        '{"since": "x", "restarts": "many", "last_restart": [], "min": {}, "ready": null}',
        '{"workers": [{"pid": null, "stage": "starting", "generation": 1, "started": 1}]}',
        '{"restarts": 5}',
    ],
)
def test_a_description_of_another_shape_is_no_error(hosted: Hosted, text: str) -> None:
    code, facts, _ = hosted(State.READY, text)
    assert (code, facts["healthy"]) == (0, True)


def test_a_worker_that_is_not_in_the_description_is_shown(folder: Path) -> None:
    service = carom.Service("mine")
    service.method(lambda request: request, name="echo")
    with carom.Host("mine") as host:
        worker = carom.Worker(service)
        thread = threading.Thread(target=worker.run)
        thread.start()
        host.wait_ready()
        code, facts, _ = status("mine")
        host.stop()
        thread.join()
    assert code == 0
    (one,) = facts["workers"]
    assert (one["pid"], one["stage"], one["generation"]) == (os.getpid(), "ready", None)


# ---- how it looks


def worker(number: int, **more: Any) -> dict[str, Any]:
    one = {"pid": 4000 + number, "stage": "ready", "generation": 1, "started": NOW - 3600}
    one |= {"threads": 1, "calls": 10**number, "errors": number, "expired": 0, "running": []}
    return one | {"rss": 100 << 20, "pss": 20 << 20} | more


def service(count: int, **more: Any) -> dict[str, Any]:
    facts = {"service": "photo", "state": "ready", "healthy": True, "reason": None}
    facts |= {"since": NOW - 7200, "started": NOW - 7200, "host": 3999, "methods": ["size"]}
    facts |= {"target": "photo:service", "generation": 1, "template": 4000, "wanted": count}
    facts |= {"min": count, "max": count, "ready": count, "clients": 2, "restarts": 0}
    facts |= {"last_restart": None, "last_reason": None}
    return facts | {"workers": [worker(n) for n in range(1, count + 1)]} | more


@pytest.mark.parametrize("count", [1, 8])
def test_a_row_for_each_worker_in_columns(count: int) -> None:
    head, table = as_text(service(count)).split("\n\n")
    lines = table.splitlines()
    assert head.splitlines()[0] == f"photo: ready for 2h, {count} of {count} worker" + (
        "" if count == 1 else "s"
    )
    names = ["PID", "STAGE", "AGE", "CALLS", "ERRORS", "RSS", "PSS", "GEN", "RUNS"]
    assert lines[0].split() == names
    assert len(lines) == count + 1
    ends = [lines[0].index(name) + len(name) for name in ("PID", "CALLS", "ERRORS", "RSS")]
    for number, row in enumerate(lines[1:], 1):
        assert row[ends[0] - 4 : ends[0]] == str(4000 + number)
        assert row[: ends[1]].endswith(str(10**number))
        assert row[: ends[3]].endswith("100M")
        assert row.split()[-2:] == ["1", "-"]


def test_without_workers_it_says_so() -> None:
    text = as_text(service(0, state="failing", wanted=4, min=1, max=8))
    assert text.startswith("photo: failing for 2h, 0 of 4 workers (1 to 8)\n")
    assert text.endswith("\n\nno workers")


def test_what_cannot_be_known_is_a_dash() -> None:
    unborn = worker(1, pid=None, rss=None, pss=None, stage="starting", generation=None)
    row = as_text(service(1, workers=[unborn])).splitlines()[-1].split()
    assert row[:2] + row[3:] == ["-", "starting", "10", "1", *"----"]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_lines_fit_a_terminal(width: int) -> None:
    calls = [{"method": "a method with a very long name " * 2, "since": NOW - 3}] * 3
    facts = service(
        8,
        workers=[worker(n, running=calls) for n in range(1, 9)],
        methods=[f"method_{n}" for n in range(40)],
        restarts=3,
        last_restart=NOW - 60,
        last_reason="worker 5 failed: " + "a long sentence about what went wrong " * 5,
    )
    head, table = as_text(facts, width).split("\n\n")
    assert all(len(line) <= width for line in head.splitlines())
    assert all(len(line) <= width for line in table.splitlines())
    assert table.split()[:2] == ["PID", "STAGE"]
    assert all(" for " in line for line in table.splitlines()[1:])
    assert "method_39" in head and "went wrong" in head


def test_without_a_terminal_every_fact_is_one_line() -> None:
    facts = service(1, methods=[f"method_{n}" for n in range(40)])
    assert len(as_text(facts).split("\n\n")[0].splitlines()) == 6


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    running = [{"method": "\x1b[2J\n", "since": NOW}]
    facts = service(
        1,
        service="a\x1b[0m",
        workers=[worker(1, running=running)],
        methods=["\x1b[31m"],
        restarts=1,
        last_restart=NOW,
        last_reason="two\nlines\x07",
    )
    text = as_text(facts)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "two lines?" in text


def test_times_and_amounts() -> None:
    seconds = [0, 1, 119, 120, 7199, 7200, 172799, 172800]
    assert [duration(s * 10**9) for s in seconds] == [
        *("0s", "1s", "119s", "2m", "119m", "2h", "47h", "2d")
    ]
    assert [short_duration(int(s * 1e9)) for s in (0, 0.003, 0.25, 9.96, 12, -1)] == [
        *("0ms", "3ms", "0.2s", "10.0s", "12s", "0ms")
    ]
    sizes = [0, 1 << 10, 10 << 20, 1536 << 20, 20 << 30, 3 << 40]
    assert [memory(size) for size in sizes] == ["0B", "1K", "10M", "1.5G", "20G", "3.0T"]


def test_memory_of_a_process() -> None:
    mine = memory_of(os.getpid())
    assert mine.pss is not None and mine.rss is not None and 0 < mine.pss <= mine.rss
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = memory_of(ended.pid)
    assert (gone.rss, gone.pss) == (None, None)
    assert memory_of(None).rss is None
