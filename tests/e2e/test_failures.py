# SPDX-License-Identifier: Apache-2.0
"""What a handler raises arrives at the caller: status, type, message, traceback."""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback

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
