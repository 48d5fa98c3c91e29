# SPDX-License-Identifier: Apache-2.0
"""What systemd and the log hear of the pool."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from carom.pool.log import Log
from carom.pool.notify import Notifier
from conftest import Serve
from processes import PATIENCE_S

WORDS = {"READY", "STATUS", "STOPPING", "RELOADING", "MONOTONIC_USEC", "WATCHDOG"}
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[socket.socket, str]]:
    """The service manager's socket, and what $NOTIFY_SOCKET says of it."""
    name = f"@carom-{os.getpid()}" if request.param == "abstract" else str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0" + name[1:] if name[0] == "@" else name)
        end.settimeout(5.0)
        yield end, name


def heard(end: socket.socket) -> list[str]:
    return end.recv(4096).decode().split("\n")


def test_every_word_is_a_datagram_of_its_own(manager: tuple[socket.socket, str]) -> None:
    end, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("4 workers")
    assert heard(end) == ["READY=1", "STATUS=4 workers"]
    notifier.ready()
    assert heard(end) == ["READY=1"]
    notifier.status("two\nlines")
    assert heard(end) == ["STATUS=two lines"]
    notifier.stopping("draining")
    assert heard(end) == ["STOPPING=1", "STATUS=draining"]
    notifier.watchdog()
    assert heard(end) == ["WATCHDOG=1"]
    before_us = time.monotonic_ns() // 1000
    notifier.reloading()
    first, second = heard(end)
    variable, _, now_us = second.partition("=")
    assert (first, variable) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before_us <= int(now_us) <= time.monotonic_ns() // 1000
    notifier.close()
    notifier.ready()  # nobody is told
    end.setblocking(False)
    with pytest.raises(BlockingIOError):
        end.recv(1)


def test_the_variables_are_not_for_workers(manager: tuple[socket.socket, str]) -> None:
    environment = {
        "NOTIFY_SOCKET": manager[1],
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    notifier = Notifier(environment)
    assert environment == {"PATH": "/bin"}
    assert notifier.watchdog_s == 1.5
    notifier.close()


@pytest.mark.parametrize(
    ("variables", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "1000000"}, 0.5),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_wants_to_hear_twice_in_its_time(
    manager: tuple[socket.socket, str], variables: dict[str, str], interval_s: float | None
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager[1], **variables})
    assert notifier.watchdog_s == interval_s
    notifier.close()


@pytest.mark.parametrize("address", ["", "relative", "@", "vsock:2:1234", "/no/such/socket"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_PID": "x"})
    notifier.ready("text")
    notifier.stopping()
    notifier.watchdog()
    notifier.close()


def test_a_manager_that_does_not_read_keeps_nobody_waiting(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(folder / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(folder / "notify")})
        for _ in range(10000):
            notifier.status("x" * 100)
        notifier.close()


def test_the_process_starts_without_the_variables(manager: tuple[socket.socket, str]) -> None:
    os.environ["NOTIFY_SOCKET"] = manager[1]
    Notifier().close()
    assert "NOTIFY_SOCKET" not in os.environ


def test_a_service_says_what_it_does(folder: Path, serve: Serve) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(folder / "notify"))
        end.settimeout(PATIENCE_S)
        os.environ["NOTIFY_SOCKET"] = str(folder / "notify")
        os.environ["WATCHDOG_USEC"] = "200000"
        try:
            served = serve("lab:service")
        finally:
            del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
        await_word(end, "STATUS=lab: ready, 1 of 1 workers ready")
        await_word(end, "READY=1")
        await_word(end, "WATCHDOG=1")
        os.kill(served.pid, signal.SIGHUP)
        await_word(end, "RELOADING=1")
        await_word(end, "READY=1")
        environments = []
        for pid in served.children():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # an old one leaves
                environments.append(Path(f"/proc/{pid}/environ").read_bytes())
        assert any(b"PATH=" in one for one in environments)
        assert not any(b"NOTIFY_SOCKET" in one for one in environments)
        assert served.stop() == 0
        await_word(end, "STOPPING=1")


def await_word(end: socket.socket, word: str) -> None:
    """Reads until it is said; every datagram must be one that systemd knows."""
    said: list[str] = []
    give_up = time.monotonic() + PATIENCE_S
    while word not in said:
        assert time.monotonic() < give_up, f"no {word} in {said}"
        said += heard(end)
        assert {line.partition("=")[0] for line in said} <= WORDS


# ---- the log


def test_text_is_a_line_with_time_and_process() -> None:
    stream = io.StringIO()
    Log("text", stream).event("died", "worker 5 was killed by SIGKILL", pid=5)
    pattern = rf"{STAMP} carom\[{os.getpid()}\] worker 5 was killed by SIGKILL\n"
    assert re.fullmatch(pattern, stream.getvalue())


def test_further_lines_are_indented() -> None:
    stream = io.StringIO()
    Log("text", stream).event("stacks", "stacks of worker 5:\nThread 1\r\n  File x\n")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("] stacks of worker 5:")
    assert lines[1:] == ["  Thread 1", "    File x"]


def test_json_is_one_object_per_line() -> None:
    stream = io.StringIO()
    log = Log("json", stream)
    log.event("died", 'killed\nby "SIGKILL" é', pid=5, path=Path("/x"))
    log.event("ready", "ready")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert re.fullmatch(STAMP, first.pop("time"))
    assert first == {
        "event": "died",
        "supervisor": os.getpid(),
        "message": 'killed\nby "SIGKILL" é',
        "pid": 5,
        "path": "/x",
    }
    assert second["message"] == "ready"


def test_a_log_that_nobody_reads_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = open(writer, "w")  # noqa: SIM115  # its close fails
    Log("text", stream).event("a", "b")
    with contextlib.suppress(BrokenPipeError):
        stream.close()
    Log("json", stream).event("a", "b")
    assert stream.closed
