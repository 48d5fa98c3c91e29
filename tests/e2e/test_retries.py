# SPDX-License-Identifier: Apache-2.0
"""Calls that are made again, clients that connect again: what a worker's or a host's death leaves
of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import carom
import pytest
from processes import PATIENCE_S, press_ctrl_c, until

HOST = "import carom; carom.Host('shaky'); input()"
WORKER = """
import os, signal, time
from pathlib import Path
import carom

service = carom.Service("shaky")
attempts = Path(os.environ["ATTEMPTS"])

def count():
    with attempts.open("a") as file:
        file.write("x")
    return attempts.stat().st_size

@service.method(idempotent=True)
def echo(request):
    return request

@service.method
def once(request):
    return request

@service.method(idempotent=True)
def pid(request):
    return str(os.getpid()).encode()

@service.method(idempotent=True)
def second_time(request):
    if count() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return request

@service.method(idempotent=True)
def busy_once(request):
    if count() < 3:
        raise carom.Error(carom.Status.UNAVAILABLE, "not now")
    return str(count()).encode()

@service.method
def fatal(request):
    count()
    os.kill(os.getpid(), signal.SIGKILL)

@service.method(idempotent=True)
def poison(request):
    count()
    os.kill(os.getpid(), signal.SIGKILL)

@service.method(idempotent=True)
def slow(request):
    count()
    time.sleep(600)

try:
    with carom.Worker(service) as worker:
        worker.run()
except ConnectionError:
    pass
"""
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Runs a Python program until the end of the test."""
    running: list[subprocess.Popen[bytes]] = []
    environment = os.environ | {"ATTEMPTS": str(folder / "attempts")}

    def run(program: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, env=environment
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def attempts(folder: Path) -> int:
    """How often the handlers that count were run."""
    file = folder / "attempts"
    return file.stat().st_size if file.exists() else 0


def wait_for_workers(count: int) -> None:
    """Until so many are ready."""
    with carom.Observer("shaky") as observer:
        until(lambda: observer.service().worker_count == count, f"{count} workers")


def test_a_client_may_connect_before_any_worker_is_there(start: Start) -> None:
    start(HOST)
    with carom.connect("shaky", timeout=PATIENCE_S) as client:
        with pytest.raises(TimeoutError, match="no worker of service 'shaky' was ready in time"):
            client.call("echo", b"too soon", timeout=0.05)
        start(WORKER)
        assert client.call("echo", b"at last", timeout=PATIENCE_S) == b"at last"
        with pytest.raises(carom.UnknownMethodError, match="busy_once"):
            client.call("nonesuch")


def test_a_wrong_name_asked_for_too_soon_is_an_unknown_method_as_well(start: Start) -> None:
    start(HOST)
    with carom.connect("shaky", timeout=PATIENCE_S) as client:
        with pytest.raises(TimeoutError):
            client.call("nonesuch", timeout=0.05)
        start(WORKER)
        with pytest.raises(carom.UnknownMethodError, match="'nonesuch'; it has: echo"):
            client.call("nonesuch", timeout=PATIENCE_S)


def test_an_idempotent_call_outlives_its_worker(start: Start, folder: Path) -> None:
    start(HOST)
    start(WORKER)
    with carom.connect("shaky", timeout=PATIENCE_S) as client:
        client.call("echo", timeout=PATIENCE_S)
        start(WORKER)
        wait_for_workers(2)
        assert client.call("second_time", b"still", timeout=PATIENCE_S) == b"still"
        assert attempts(folder) == 2
        assert client.statistics().retries == 1
        assert client.statistics().reconnects == 0


def test_a_status_that_passes_is_waited_out(start: Start, folder: Path) -> None:
    start(HOST)
    start(WORKER)
    with carom.connect("shaky", timeout=PATIENCE_S, retry_pause=0) as client:
        assert client.call("busy_once", timeout=PATIENCE_S) == b"4"
        assert client.statistics() == carom.ClientStatistics(
            reconnects=0,
            retries=2,
            connected_ns=client.statistics().connected_ns,
            connected=True,
        )


def test_one_attempt_or_no_status_means_no_repetition(start: Start, folder: Path) -> None:
    start(HOST)
    start(WORKER)
    for count, options in enumerate(({"retry_attempts": 1}, {"retry_statuses": ()}), 1):
        with carom.connect("shaky", timeout=PATIENCE_S, **options) as client:
            with pytest.raises(carom.RemoteError, match="not now"):
                client.call("busy_once", timeout=PATIENCE_S)
            assert attempts(folder) == count
            assert client.statistics().retries == 0


def test_a_call_that_is_not_idempotent_is_made_once(start: Start, folder: Path) -> None:
    start(HOST)
    start(WORKER)
    with carom.connect("shaky", timeout=PATIENCE_S) as client:
        client.call("echo", timeout=PATIENCE_S)
        start(WORKER)
        wait_for_workers(2)
        with pytest.raises(carom.RemoteError) as raised:
            client.call("fatal", timeout=PATIENCE_S)
        assert raised.value.status is carom.Status.UNAVAILABLE
        assert attempts(folder) == 1
        assert client.call("echo", b"on", timeout=PATIENCE_S) == b"on"


def test_a_request_that_kills_is_given_to_two_workers_and_no_third(
    start: Start, folder: Path
) -> None:
    start(HOST)
    workers = [start(WORKER) for _ in range(3)]
    wait = carom.connect("shaky", timeout=PATIENCE_S, retry_attempts=10)
    with wait as client:
        client.call("echo", timeout=PATIENCE_S)
        wait_for_workers(3)
        with pytest.raises(carom.RemoteError) as raised:
            client.call("poison", timeout=PATIENCE_S)
        assert raised.value.type == "carom.PoisonRequest"
        assert attempts(folder) == 2
        assert client.call("echo", b"on", timeout=PATIENCE_S) == b"on"
    until(lambda: sum(worker.poll() is not None for worker in workers) == 2)


def test_a_repetition_never_passes_the_timeout(start: Start, folder: Path) -> None:
    start(HOST)
    start(WORKER)
    with carom.connect(
        "shaky", timeout=PATIENCE_S, retry_pause=86400.0, retry_pause_most=86400.0
    ) as client:
        client.call("echo", timeout=PATIENCE_S)
        with pytest.raises(carom.RemoteError, match="not now"):
            client.call("busy_once", timeout=1.0)  # a pause shorter than that is hardly drawn
        assert attempts(folder) == 1


def test_threads_go_on_while_the_host_is_killed_and_started_again(start: Start) -> None:
    """Idempotent calls never fail; the others fail with a ConnectionError or not at all."""
    rounds, over = 3, threading.Event()
    host = start(HOST)
    start(WORKER)
    answered = [0] * 4
    failures: list[BaseException] = []

    def call(client: carom.Client, index: int) -> None:
        while not over.is_set():
            data = os.urandom(8)
            try:
                assert client.call("echo", data, timeout=PATIENCE_S) == data
                answered[index] += 1
            except BaseException as error:
                failures.append(error)
            try:
                assert client.call("once", data, timeout=PATIENCE_S) == data
            except ConnectionError:
                pass
            except carom.RemoteError as error:
                if error.status is not carom.Status.UNAVAILABLE:
                    failures.append(error)
            except BaseException as error:
                failures.append(error)

    with carom.connect("shaky", timeout=PATIENCE_S, reconnect_timeout=None) as client:
        threads = [threading.Thread(target=call, args=(client, i)) for i in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(1, rounds + 1):
            before = list(answered)
            until(lambda was=before: all(a > b for a, b in zip(answered, was, strict=True)))
            host.kill()
            host.wait()
            host = start(HOST)
            start(WORKER)
            until(lambda number=turn: client.statistics().reconnects >= number)
        before = list(answered)
        until(lambda was=before: all(a > b for a, b in zip(answered, was, strict=True)))
        over.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert client.statistics().connected


def test_a_service_that_stays_away_is_a_connection_error_that_says_why(start: Start) -> None:
    host = start(HOST)
    start(WORKER)
    with carom.connect("shaky", timeout=PATIENCE_S, reconnect_timeout=0.05) as client:
        assert client.call("echo", b"x", timeout=PATIENCE_S) == b"x"
        host.kill()
        host.wait()
        until(lambda: not client.statistics().connected)
        with pytest.raises(ConnectionResetError, match="cannot be reached again") as raised:
            client.call("echo", timeout=PATIENCE_S)
        assert "\n" not in str(raised.value)
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        carom.connect("shaky", timeout=0.0)


def test_a_client_may_be_told_never_to_connect_again(start: Start) -> None:
    host = start(HOST)
    start(WORKER)
    with carom.connect("shaky", timeout=PATIENCE_S, reconnect_timeout=0) as client:
        client.call("echo", timeout=PATIENCE_S)
        host.kill()
        host.wait()
        start(HOST)
        start(WORKER)
        with carom.connect("shaky", timeout=PATIENCE_S) as other:
            other.call("echo", timeout=PATIENCE_S)
        until(lambda: not client.statistics().connected)
        with pytest.raises(ConnectionResetError):
            client.call("echo", timeout=PATIENCE_S)
        assert client.statistics().reconnects == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retry_attempts": 0}, "retry_attempts"),
        ({"retry_attempts": -1}, "retry_attempts"),
        ({"retry_statuses": (carom.Status.OK,)}, "retry_statuses"),
        ({"retry_statuses": (17,)}, "retry_statuses"),
        ({"retry_pause": -0.1}, "retry_pause"),
        ({"retry_pause": float("nan")}, "retry_pause"),
        ({"retry_pause": 2.0, "retry_pause_most": 1.0}, "retry_pause_most"),
        ({"retry_pause_most": float("inf")}, "retry_pause_most"),
        ({"reconnect_timeout": -1.0}, "reconnect_timeout"),
        ({"reconnect_timeout": float("nan")}, "reconnect_timeout"),
    ],
)
def test_options_that_cannot_be_are_value_errors(
    folder: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        carom.connect("shaky", timeout=0.0, **options)


INTERRUPTED = """
import sys
import carom

with carom.connect("shaky", slots=1) as client:
    print("ready", flush=True)
    try:
        client.call("echo")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(3)
"""


def test_ctrl_c_ends_a_call_that_waits_for_a_worker(start: Start) -> None:
    start(HOST)
    until(lambda: (Path(os.environ["CAROM_DIR"]) / "shaky.sock").exists())
    caller = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == "ready\n"
    press_ctrl_c(caller)
    assert caller.communicate(timeout=PATIENCE_S)[0] == "interrupted\n"
    assert caller.returncode == 3
