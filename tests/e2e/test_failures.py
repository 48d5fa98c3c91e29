# SPDX-License-Identifier: Apache-2.0
"""What a handler raises arrives at the caller: status, type, message, traceback."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import carom
import pytest
from carom import Status
from conftest import Serve
from processes import is_alive, until


def failure(lab: carom.Client, what: str) -> carom.RemoteError:
    with pytest.raises(carom.RemoteError) as raised:
        lab.call("fail", what.encode())
    return raised.value


@pytest.mark.parametrize(
    ("what", "status", "kind", "message"),
    [
        ("value", Status.UNKNOWN, "ValueError", "a bad value, é"),
        ("lab", Status.UNKNOWN, "lab.LabError", "of its own type"),
        ("chosen", Status.NOT_FOUND, "carom.Error", "no such photograph"),
        ("memory", Status.RESOURCE_EXHAUSTED, "MemoryError", ""),
        ("unimplemented", Status.UNIMPLEMENTED, "NotImplementedError", "later"),
        ("nul", Status.UNKNOWN, "ValueError", "a\\x00b \\udcff"),
        ("mute", Status.UNKNOWN, "lab.Mute", "<the exception's text could not be made>"),
        ("remote", Status.UNKNOWN, "carom.RemoteError", "INTERNAL: Far: away"),
        (
            "remote timeout",  # another service's is not this one's
            Status.UNKNOWN,
            "carom.RemoteTimeoutError",
            "DEADLINE_EXCEEDED: Far: late",
        ),
        ("timeout", Status.DEADLINE_EXCEEDED, "TimeoutError", "too slow"),
        (
            "cancelled",
            Status.CANCELLED,
            "carom.Cancelled",
            "the caller does not wait for this call any more",
        ),
    ],
)
def test_an_exception_becomes_status_type_and_message(
    lab: carom.Client, what: str, status: Status, kind: str, message: str
) -> None:
    error = failure(lab, what)
    assert (error.status, error.type, error.message) == (status, kind, message)
    assert isinstance(error.status, Status)


def test_the_traceback_shows_the_applications_frames_and_no_others(lab: carom.Client) -> None:
    lines = failure(lab, "value").traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert [line.rpartition(" in ")[2] for line in lines if "File " in line] == ["fail", "step"]
    assert lines[-1] == "ValueError: a bad value, é"


def test_the_traceback_has_the_chain_of_causes(lab: carom.Client) -> None:
    text = failure(lab, "cause").traceback
    assert "KeyError: 'inner'" in text
    assert "direct cause" in text
    assert text.rstrip().endswith("lab.LabError: outer")


INNER = carom.Cause("KeyError", "'inner'")


@pytest.mark.parametrize(
    ("what", "causes"),
    [
        ("value", []),
        ("cause", [INNER]),
        ("context", [INNER]),
        ("suppressed", []),
        ("cycle", [carom.Cause("lab.LabError", "second")]),
        ("mute cause", [carom.Cause("lab.Mute", "<the exception's text could not be made>")]),
        ("long chain", [carom.Cause("lab.LabError", f"link {28 - i}") for i in range(16)]),
    ],
)
def test_the_chain_of_causes_arrives_as_records(
    lab: carom.Client, what: str, causes: list[carom.Cause]
) -> None:
    assert list(failure(lab, what).causes) == causes


def test_an_error_says_when_and_where_it_happened(lab: carom.Client) -> None:
    before = time.time()
    error = failure(lab, "value")
    assert error.time is not None
    assert before - 1.0 <= error.time <= time.time() + 1.0
    assert error.worker == 0


@pytest.mark.parametrize(
    ("what", "functions"), [("recursion", 1), ("recursion of two", 2)], ids=["one", "two"]
)
def test_endless_recursion_is_an_error_with_a_traceback_and_the_worker_goes_on(
    lab: carom.Client, what: str, functions: int
) -> None:
    worker = lab.call("pid")
    error = failure(lab, what)
    assert (error.status, error.type) == (Status.UNKNOWN, "RecursionError")
    assert "maximum recursion depth exceeded" in error.message
    lines = error.traceback.splitlines()
    assert lines[-1].startswith("RecursionError: ")
    if functions == 1:
        assert any("Previous line repeated" in line for line in lines)
        assert len(lines) < 50
    assert lab.call("pid") == worker


BUILT_IN = [
    (Status.DEADLINE_EXCEEDED, carom.RemoteTimeoutError, TimeoutError),
    (Status.UNAVAILABLE, carom.RemoteUnavailableError, ConnectionError),
    (Status.UNIMPLEMENTED, carom.RemoteUnimplementedError, NotImplementedError),
    (Status.PERMISSION_DENIED, carom.RemotePermissionError, PermissionError),
    (Status.NOT_FOUND, carom.RemoteLookupError, LookupError),
]


@pytest.mark.parametrize(("status", "kind", "built_in"), BUILT_IN)
def test_a_status_with_a_built_in_type_is_caught_as_that(
    lab: carom.Client, status: Status, kind: type[carom.RemoteError], built_in: type[Exception]
) -> None:
    with pytest.raises(built_in) as raised:
        lab.call("fail", f"status {int(status)}".encode())
    error = raised.value
    assert type(error) is kind
    assert isinstance(error, carom.RemoteError)
    assert (error.status, error.type, error.message) == (status, "carom.Error", "as asked")
    assert str(error).startswith(f"{status.name}: carom.Error: as asked")
    if isinstance(error, OSError):
        assert (error.errno, error.strerror, error.filename) == (None, None, None)


def test_every_other_status_is_a_plain_remote_error(lab: carom.Client) -> None:
    others = set(Status) - {Status.OK} - {status for status, _, _ in BUILT_IN}
    for status in others:
        error = failure(lab, f"status {int(status)}")
        assert type(error) is carom.RemoteError
        assert error.status is status


@pytest.mark.parametrize(
    "copier", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
@pytest.mark.parametrize("status", [*(int(row[0]) for row in BUILT_IN), int(Status.ABORTED)])
def test_a_copy_of_an_error_is_the_same_error(
    lab: carom.Client, status: int, copier: Callable[[carom.RemoteError], carom.RemoteError]
) -> None:
    error = failure(lab, f"status {status}")
    again = copier(error)
    assert type(again) is type(error)
    assert again.args == error.args
    assert vars(again) == vars(error)
    assert str(again) == str(error)
    assert format_only(again) == format_only(error)


def format_only(error: BaseException) -> list[str]:
    return traceback.format_exception_only(type(error), error)


def test_what_cancels_a_handler_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(carom.Cancelled("enough")))
    assert (type(again), again.status, str(again)) == (carom.Cancelled, Status.CANCELLED, "enough")
    assert isinstance(again, carom.Error)


@pytest.mark.parametrize(
    ("method", "how", "status"),
    [
        ("forked", "return", b"0"),
        ("forked", "raise", b"0"),
        ("forked", "exit", b"7"),
        ("forked_context", "", b"0"),
    ],
)
def test_a_child_that_comes_out_of_its_handler_ends_quietly(
    serve: Serve, method: str, how: str, status: bytes
) -> None:
    served = serve()
    with carom.connect("lab") as lab:
        for _ in range(3):
            assert lab.call(method, how.encode(), timeout=20.0) == status
            assert lab.call("echo", b"on", timeout=20.0) == b"on"
        assert int(lab.call("pid", timeout=20.0)) == served.worker_pids[0]
    assert "Traceback" not in served.errors
    assert "in the child" not in served.errors


FORKING_WORKER = """
import os, sys, carom
service = carom.Service("forks")

@service.method
def fork(request):
    child = os.fork()
    if child == 0:
        return b"from the child"
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()

with carom.Worker(service) as worker:
    pid = os.getpid()
    try:
        worker.run()
    except ChildProcessError as error:
        os._exit(5 if os.getpid() != pid and "fork" in str(error) else 6)
"""


def test_a_forked_worker_of_ones_own_gets_a_child_process_error(folder: Path) -> None:
    with carom.Host("forks") as host:
        worker = subprocess.Popen([sys.executable, "-c", FORKING_WORKER])
        try:
            host.wait_ready(timeout=20.0)
            with carom.connect("forks") as client:
                assert client.call("fork", timeout=20.0) == b"5"
                assert client.call("fork", timeout=20.0) == b"5"
            host.stop()
            assert worker.wait(20.0) == 0
        finally:
            worker.kill()
            worker.wait()


TWO_LOOPS = """
import re, sys, threading, carom

def loop(service):
    with carom.Worker(service) as worker:
        worker.run()

busy, idle = carom.Service("busy"), carom.Service("idle")
busy.method(re.compile(b"x+y").search, name="search")  # C, and keeps the interpreter lock
idle.method(lambda request: request, name="echo")
sys.setswitchinterval(0.001)
threads = [threading.Thread(target=loop, args=(service,)) for service in (busy, idle)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_a_loop_that_is_never_idle_leaves_the_interpreter_to_other_loops(folder: Path) -> None:
    searched: list[bytes] = []
    enough = threading.Event()

    def search() -> None:
        with carom.connect("busy") as client:
            while not enough.is_set():
                searched.append(client.call("search", b"x" * 3000))

    with carom.Host("busy") as busy, carom.Host("idle") as idle:
        worker = subprocess.Popen([sys.executable, "-c", TWO_LOOPS])
        callers = [threading.Thread(target=search) for _ in range(4)]
        try:
            for host in (busy, idle):
                host.wait_ready(timeout=20.0)
            for caller in callers:
                caller.start()
            until(lambda: len(searched) > 8)
            before = len(searched)
            with carom.connect("idle") as client:
                for _ in range(20):
                    assert client.call("echo", b"on", timeout=20.0) == b"on"
            meanwhile = len(searched) - before
        finally:
            enough.set()
            for caller in callers:
                caller.join()
            worker.kill()
            worker.wait()
    assert meanwhile < 500  # some turns of the interpreter for each echo, one or two searches each


def test_a_very_long_message_arrives_whole_or_shortened(lab: carom.Client) -> None:
    assert failure(lab, "long").message.startswith("x" * 1000)


def test_the_callers_own_traceback_shows_the_remote_one_below(lab: carom.Client) -> None:
    text = "".join(traceback.format_exception(failure(lab, "value")))
    own, _, remote = text.partition("RemoteError: ValueError: a bad value, é")
    assert "test_failures.py" in own
    assert "lab.py" in remote
    assert "In worker 0" in remote


def test_a_remote_error_can_be_pickled(lab: carom.Client) -> None:
    error = failure(lab, "value")
    again = pickle.loads(pickle.dumps(error))
    assert (again.status, again.type, again.traceback) == (
        error.status,
        error.type,
        error.traceback,
    )


def test_an_error_of_the_handler_must_have_an_error_status() -> None:
    with pytest.raises(ValueError, match="is not that of an error"):
        carom.Error(Status.OK, "fine")
    with pytest.raises(ValueError, match="is not that of an error"):
        carom.Error(17, "unheard of")


def test_system_exit_answers_the_caller_and_ends_the_worker(serve: Serve) -> None:
    served = serve()
    with carom.connect("lab") as lab:
        error = failure(lab, "exit")
        assert (error.status, error.type) == (Status.ABORTED, "SystemExit")
        until(lambda: not is_alive(served.worker_pids[0]))
        assert int(lab.call("pid", timeout=20.0)) != served.worker_pids[0]
    assert "exited with status 3" in served.errors


def test_keyboard_interrupt_answers_the_caller_and_the_service_goes_on(serve: Serve) -> None:
    serve()
    with carom.connect("lab") as lab:
        error = failure(lab, "interrupt")
        assert (error.status, error.type) == (Status.ABORTED, "KeyboardInterrupt")
        assert lab.call("echo", b"on", timeout=20.0) == b"on"


def test_an_uncaught_remote_error_prints_both_tracebacks(lab: carom.Client) -> None:
    program = f"import carom; carom.connect({lab.service!r}).call('fail', b'value')"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.index("RemoteError") < ended.stderr.index("lab.py")
