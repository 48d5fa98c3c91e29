# SPDX-License-Identifier: Apache-2.0
"""The commands `carom call` and `carom ls`, and what they say when they cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import carom
import pytest
from conftest import Serve
from processes import Served
from processes import carom as command

DATA = bytes(range(256)) * 100


@pytest.fixture
def here(lab_service: Served, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAROM_DIR", str(lab_service.log.parent))
    return lab_service.log.parent


def test_call_reads_standard_input_and_writes_standard_output(here: Path) -> None:
    ended = command("call", "lab", "echo", "-", input=DATA, text=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, DATA, b"")


def test_call_reads_a_file_and_writes_a_file(here: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    ended = command("call", "lab", "echo", str(tmp_path / "in"), "--output", str(tmp_path / "out"))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert (tmp_path / "out").read_bytes() == DATA


def test_call_without_a_file_sends_an_empty_request(here: Path) -> None:
    ended = command("call", "lab", "echo")
    assert (ended.returncode, ended.stdout) == (0, "")


def test_call_shows_a_remote_error_with_its_traceback(here: Path) -> None:
    ended = command("call", "lab", "fail", "-", input="chosen")
    assert (ended.returncode, ended.stdout) == (1, "")
    lines = ended.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "carom: NOT_FOUND: carom.Error: no such photograph"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nosuch", "echo", "--timeout", "0.05"], "nosuch"),
        (["lab", "ehco"], "'ehco'"),
        (["lab", "sleep", "-", "--timeout", "0.05"], "deadline"),
        (["lab", "echo", "/no/such/file"], "/no/such/file"),
    ],
)
def test_call_says_in_one_line_what_is_wrong(here: Path, arguments: list[str], text: str) -> None:
    ended = command("call", *arguments, input="0.3")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("carom: ")
    assert ended.stderr.count("\n") == 1
    assert text in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["call"],
        ["call", "lab", "echo", "--timeout", "soon"],
        ["serve", "lab:service", "--workers", "0"],
        ["serve", "lab:service", "--workers", "many"],
        ["serve", "lab:service", "--spin", "0"],
        ["serve", "lab:service", "--spin", "1", "--no-spin"],
        ["serve", "lab"],
        ["serve", "lab:service", "--grace", "5"],
        ["status"],
        ["ls", "lab", "lab"],
        ["fly"],
    ],
)
def test_a_wrong_command_line_is_status_2_and_a_usage_line(arguments: list[str]) -> None:
    ended = command(*arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: carom")


def test_a_reader_that_leaves_early_is_no_error(here: Path) -> None:
    ended = subprocess.run(
        [f"{sys.executable} -m carom call lab zeros - | head -c 1 | wc -c"],
        shell=True,
        input=b"10000000",
        capture_output=True,
        check=False,
    )
    assert ended.stdout.strip() == b"1"
    assert ended.stderr == b""


def test_ls_without_services_says_where_it_looked(folder: Path) -> None:
    ended = command("ls")
    assert (ended.returncode, ended.stdout) == (0, f"no services in {folder}\n")


def test_ls_shows_every_service_and_a_stale_socket_as_such(serve: Serve) -> None:
    lab = serve(workers=2)
    dead = serve("lab:service", "--name", "dead")
    dead.process.kill()
    dead.wait()
    with carom.connect("lab") as client:
        client.call("echo")
        with pytest.raises(carom.RemoteError):
            client.call("fail", b"value")
        head, *rows = command("ls").stdout.splitlines()
    assert head.split() == [
        "SERVICE",
        "STATE",
        "HOST",
        "WORKERS",
        "CLIENTS",
        "CALLS",
        "ERRORS",
        "UP",
    ]
    assert rows[0].split() == ["dead", "stale:", "its", "host", "is", "gone"]
    assert rows[1].split()[:7] == ["lab", "ready", str(lab.pid), "2", "1", "2", "1"]


def test_ls_of_a_service_shows_workers_clients_and_methods(serve: Serve) -> None:
    served = serve(workers=2)
    with carom.connect("lab") as client:
        for _ in range(5):
            client.call("echo")
        text = command("ls", "lab").stdout
    assert text.startswith(f"lab: ready, host {served.pid}\nmethods: echo, ")
    workers, clients = (part.splitlines() for part in text.split("\n\n")[1:])
    assert workers[0].split()[:5] == ["WORKER", "PID", "CALLS", "ERRORS", "EXPIRED"]
    assert {int(row.split()[1]) for row in workers[1:]} == set(served.worker_pids)
    assert sum(int(row.split()[2]) for row in workers[1:]) == 5
    assert clients[1].split()[1:] == [str(os.getpid()), str(os.getuid())]


def test_ls_of_no_service_is_one_line(folder: Path) -> None:
    ended = command("ls", "nosuch")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert "nosuch" in ended.stderr


def test_dir_says_where_the_sockets_are(serve: Serve, folder: Path, tmp_path: Path) -> None:
    other = folder / "other"
    serve("lab:service", "--dir", str(other))
    assert (other / "lab.sock").exists()
    ended = command("call", "--dir", str(other), "lab", "echo", "-", input="hi")
    assert ended.stdout == "hi"


def test_version_is_that_of_package_and_library() -> None:
    ended = command("--version")
    assert ended.stdout == f"carom {carom.__version__}\n"
