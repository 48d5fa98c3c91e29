# SPDX-License-Identifier: Apache-2.0
"""SIGKILL for a client, a worker, the host, while eight clients are calling.

The others go on, callers of the dead get a status soon, and nothing stays behind.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import carom
import pytest
from conftest import Serve
from processes import children_of, is_alive, open_fds, shared_mappings, until

CALLERS = 8
SOON_NS = 2_000_000_000
"""The limits are 50 ms and 200 ms; a busy test machine gets more."""


class Callers:
    """Eight processes that call; see caller.py."""

    def __init__(self, folder: Path, method: str) -> None:
        self.counts = folder / "counts"
        self.counts.write_bytes(bytes(8 * CALLERS))
        program = str(Path(__file__).parent / "caller.py")
        self.processes = [
            subprocess.Popen(
                [sys.executable, program, "lab", method, str(self.counts), str(index)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(CALLERS)
        ]

    def done(self) -> list[int]:
        return list(struct.unpack(f"{CALLERS}Q", self.counts.read_bytes()))

    def wait_progress(self, indexes: range | list[int] = range(CALLERS)) -> None:
        before = self.done()
        until(lambda: all(self.done()[i] > before[i] + 3 for i in indexes), "every caller")

    def end(self) -> list[list[str]]:
        """Kills what still runs. The lines that each caller wrote."""
        lines = []
        for process in self.processes:
            process.kill()
            out, err = process.communicate()
            assert err == ""
            lines.append(out.splitlines())
        return lines


@pytest.fixture
def eight(folder: Path) -> Iterator[list[Callers]]:
    started: list[Callers] = []
    yield started
    for callers in started:
        for process in callers.processes:
            process.kill()
            process.communicate()


def start(eight: list[Callers], folder: Path, method: str = "echo") -> Callers:
    callers = Callers(folder, method)
    eight.append(callers)
    callers.wait_progress()
    return callers


def parts(lines: list[str]) -> list[tuple[int, str, str]]:
    return [(int(t), kind, status) for t, kind, status in (line.split() for line in lines)]


def belongings(pids: list[int]) -> list[tuple[int, int]]:
    """File descriptors and mappings of carom's in each process."""
    return [(open_fds(pid), shared_mappings(pid)) for pid in pids]


def test_killed_clients_leave_nothing_and_disturb_nobody(
    serve: Serve, folder: Path, eight: list[Callers]
) -> None:
    served = serve(workers=2)
    pids = [served.pid, *served.worker_pids]
    before = belongings(pids)
    callers = start(eight, folder)
    for index, process in enumerate(callers.processes[:4]):
        process.kill()
        process.wait()
        callers.wait_progress(range(index + 1, CALLERS))
    assert callers.end() == [[]] * CALLERS
    until(lambda: belongings(pids) == before, f"{before} again")
    assert [is_alive(pid) for pid in pids] == [True] * 3


def test_a_killed_worker_costs_its_callers_a_status_and_the_others_nothing(
    serve: Serve, folder: Path, eight: list[Callers]
) -> None:
    served = serve(workers=2)
    callers = start(eight, folder, "sleep")
    for _ in range(3):
        os.kill(served.children()[0], signal.SIGKILL)
        callers.wait_progress()
    errors = [part for lines in callers.end() for part in parts(lines)]
    assert {part[1:] for part in errors} <= {("carom.WorkerDied", "UNAVAILABLE")}
    assert len(errors) <= 3
    served.wait_log("was killed by SIGKILL; starting another", 3)


def test_the_caller_of_a_killed_worker_hears_of_it_soon(serve: Serve) -> None:
    served = serve(workers=2)
    heard: list[int] = []

    def call() -> None:
        with (
            carom.connect("lab") as client,
            pytest.raises(carom.RemoteError, match=r"UNAVAILABLE: carom.WorkerDied") as raised,
        ):
            client.call("sleep", b"100")
        heard.append(time.monotonic_ns())
        assert raised.value.status is carom.Status.UNAVAILABLE

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    with carom.connect("lab") as client:
        until(lambda: all_busy(client))
    killed_ns = time.monotonic_ns()
    for pid in served.worker_pids:
        os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert max(heard) - killed_ns < SOON_NS


def all_busy(client: carom.Client) -> bool:
    try:
        client.call("echo", timeout=0.05)
    except TimeoutError:
        return True
    return False


def test_a_handler_that_kills_its_worker_is_not_run_again(serve: Serve) -> None:
    served = serve(workers=2)
    with carom.connect("lab") as client:
        for _ in range(3):
            with pytest.raises(carom.RemoteError, match="WorkerDied"):
                client.call("die")
        until(lambda: client.call("echo", b"x", timeout=20.0) == b"x")
    until(lambda: served.errors.count("SIGKILL") == 3)


def test_a_killed_host_frees_every_blocked_caller_and_ends_the_workers(
    serve: Serve, folder: Path, eight: list[Callers]
) -> None:
    served = serve(workers=2)
    callers = start(eight, folder)
    blocked: list[int] = []

    def call() -> None:
        with carom.connect("lab") as client, pytest.raises(ConnectionError):
            client.call("sleep", b"100")
        blocked.append(time.monotonic_ns())

    thread = threading.Thread(target=call)
    thread.start()
    callers.wait_progress()
    killed_ns = time.monotonic_ns()
    served.process.kill()
    served.wait()
    thread.join()
    for process in callers.processes:
        process.wait(20.0)
    assert blocked[0] - killed_ns < SOON_NS
    for lines in callers.end():
        at_ns, kind, status = parts(lines)[-1]
        assert (kind, status) == ("ConnectionResetError", "lost")
        assert at_ns - killed_ns < SOON_NS
    until(lambda: not any(is_alive(pid) for pid in served.worker_pids), "workers to end")


def test_a_stopped_host_does_not_stop_calls(serve: Serve) -> None:
    served = serve()
    with carom.connect("lab") as client:
        client.call("echo")
        os.kill(served.pid, signal.SIGSTOP)
        try:
            for i in range(200):
                assert client.call("echo", b"%d" % i, timeout=20.0) == b"%d" % i
            time.sleep(0.2)  # everybody asleep now
            assert client.call("echo", b"after sleep", timeout=20.0) == b"after sleep"
        finally:
            os.kill(served.pid, signal.SIGCONT)


def test_a_stopped_worker_is_not_taken_for_dead(serve: Serve) -> None:
    served = serve(workers=1)
    with carom.connect("lab") as client:
        client.call("echo")
        os.kill(served.worker_pids[0], signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            client.call("echo", b"x", timeout=0.3)
        os.kill(served.worker_pids[0], signal.SIGCONT)
        assert int(client.call("pid", timeout=20.0)) == served.worker_pids[0]


def test_hundreds_of_connections_leave_the_host_as_it_was(serve: Serve) -> None:
    served = serve(workers=2)
    pids = [served.pid, *served.worker_pids]

    def connect() -> None:
        with carom.connect("lab", slots=4) as client:
            assert client.call("echo", b"x") == b"x"

    before = belongings(pids)
    for _ in range(300):
        connect()
    until(lambda: belongings(pids) == before, f"{before} again")


def test_workers_die_with_a_supervisor_that_cannot_say_goodbye(serve: Serve) -> None:
    served = serve(workers=3)
    everybody = children_of(served.pid)
    assert sorted(served.worker_pids) == served.children()
    served.process.kill()
    served.wait()
    until(lambda: not any(is_alive(pid) for pid in everybody))


def test_an_observer_sees_a_worker_come_and_go(serve: Serve) -> None:
    served = serve(workers=1)
    with carom.Observer("lab") as observer, carom.connect("lab") as client:
        client.call("echo")
        os.kill(served.worker_pids[0], signal.SIGKILL)
        until(lambda: [w.pid for w in observer.workers()] not in ([], served.worker_pids))
        assert json.loads(client.call("context", timeout=20.0))["pid"] == os.getpid()
