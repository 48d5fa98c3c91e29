# SPDX-License-Identifier: Apache-2.0
"""A call goes to a warm Python process and comes back: sizes, results, threads."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import carom
import pytest
from conftest import Serve
from processes import PATIENCE_S, Served, press_ctrl_c

SIZES = [0, 1, 63, 64, 65, 4095, 4096, 4097, 1_000_003, 64 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_every_byte_goes_there_and_back(lab: carom.Client, size: int) -> None:
    data = os.urandom(min(size, 1 << 20)) * max(1, size >> 20) if size else b""
    assert lab.call("echo", data) == data


@pytest.mark.parametrize("size", [0, 5, 100_000])
def test_the_handler_gets_a_read_only_view_of_all_bytes(lab: carom.Client, size: int) -> None:
    data = os.urandom(size)
    seen = json.loads(lab.call("describe", data))
    assert seen["type"] == "memoryview"
    assert seen["readonly"]
    assert seen["format"] == "B"
    assert seen["shape"] == [size]
    assert seen["contiguous"]
    assert seen["digest"] == hashlib.sha256(data).hexdigest()


def test_a_handler_cannot_write_to_the_request(lab: carom.Client) -> None:
    with pytest.raises(carom.RemoteError, match="TypeError: cannot modify read-only memory"):
        lab.call("write", b"abc")


@pytest.mark.parametrize(
    "data", [bytearray(b"abcd"), memoryview(b"xabcdx")[1:-1], memoryview(b"abcd").cast("H")]
)
def test_a_request_may_be_any_contiguous_buffer(lab: carom.Client, data: object) -> None:
    assert lab.call("echo", data) == b"abcd"


def test_a_request_of_text_is_refused_with_the_way_out(lab: carom.Client) -> None:
    with pytest.raises(TypeError, match=r"encode\(\)"):
        lab.call("echo", "text")


@pytest.mark.parametrize("kind", "bamsrn2")
def test_a_handler_may_return_any_contiguous_buffer(lab: carom.Client, kind: str) -> None:
    data = os.urandom(3000)
    assert lab.call("returns", kind.encode() + data) == data


def test_a_handler_that_returns_none_gives_an_empty_reply(lab: carom.Client) -> None:
    assert lab.call("returns", b"0abc") == b""


@pytest.mark.parametrize(
    ("kind", "type_name", "text"),
    [
        ("t", "TypeError", r"method 'returns' returned str \(use text.encode\(\)\); return bytes"),
        ("i", "TypeError", "method 'returns' returned int; return bytes"),
        ("l", "TypeError", "method 'returns' returned list; return bytes"),
        ("x", "BufferError", "method 'returns' returned memoryview .* return a contiguous"),
        ("f", "BufferError", "method 'returns' returned numpy.ndarray .* numpy.ascontiguousarray"),
        ("d", "BufferError", "method 'returns' returned memoryview .*released"),
    ],
)
def test_other_results_end_in_an_error_that_says_what_to_return(
    lab: carom.Client, kind: str, type_name: str, text: str
) -> None:
    with pytest.raises(carom.RemoteError, match=text) as raised:
        lab.call("returns", kind.encode() + b"abcd")
    assert raised.value.type == type_name
    assert raised.value.status is carom.Status.UNKNOWN
    assert lab.call("echo", b"and the worker goes on") == b"and the worker goes on"


def test_a_method_may_have_any_name_and_be_a_builtin(lab: carom.Client) -> None:
    assert lab.call("a name with spaces, é") == b"spaced"
    assert lab.call("builtin", b"copied") == b"copied"


def test_a_second_parameter_with_a_default_is_left_alone(lab: carom.Client) -> None:
    assert lab.call("optional") == b"3"


def test_a_request_larger_than_its_block_is_refused_before_it_is_sent(
    lab_service: Served,
) -> None:
    path = str(lab_service.log.parent / "lab.sock")
    with carom.connect(path, request_block_bytes=8192, slots=2) as client:
        with pytest.raises(ValueError, match=r"8193 bytes .*8192.*request_block_bytes"):
            client.call("echo", bytes(8193))
        for _ in range(10):  # the slots were given back
            assert client.call("echo", bytes(8192)) == bytes(8192)


def test_a_reply_larger_than_its_block_tells_handler_and_caller(lab_service: Served) -> None:
    path = str(lab_service.log.parent / "lab.sock")
    with carom.connect(path, reply_block_bytes=8192) as client:
        assert client.call("zeros", b"8192") == bytes(8192)
        with pytest.raises(carom.RemoteError, match=r"8193 bytes .*8192 bytes") as raised:
            client.call("zeros", b"8193")
        assert raised.value.status is carom.Status.RESOURCE_EXHAUSTED
        text = client.call("build_caught", b"8193").decode()
        assert text.startswith("RESOURCE_EXHAUSTED a reply of 8193 bytes does not fit")
        with pytest.raises(carom.RemoteError, match=r"8193 bytes .*8192 bytes") as raised:
            client.call("build_size", b"8193")
        assert raised.value.status is carom.Status.RESOURCE_EXHAUSTED


def test_an_unknown_method_names_those_that_exist(lab: carom.Client) -> None:
    with pytest.raises(carom.UnknownMethodError, match=r"'ehco'.*echo") as raised:
        lab.call("ehco")
    assert isinstance(raised.value, KeyError)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_below_zero_is_refused(lab: carom.Client, timeout: float) -> None:
    with pytest.raises(ValueError, match="at least 0 seconds"):
        lab.call("echo", b"", timeout=timeout)


def test_threads_share_a_client_and_each_gets_its_own_reply(lab: carom.Client) -> None:
    def many(seed: int) -> int:
        for i in range(500):
            data = f"{seed}-{i}-".encode() * (1 + i % 50)
            assert lab.call("echo", data) == data
        return seed

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(many, range(8))) == list(range(8))


def test_more_threads_than_slots_wait_for_each_other(lab_service: Served) -> None:
    path = str(lab_service.log.parent / "lab.sock")
    with carom.connect(path, slots=2) as client, ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda i: client.call("echo", b"%d" % i), range(200)))
    assert replies == [b"%d" % i for i in range(200)]


def test_a_waiting_call_lets_other_threads_of_the_process_run(lab: carom.Client) -> None:
    called = threading.Thread(target=lab.call, args=("sleep", b"0.2"))
    called.start()
    turns = 0
    while called.is_alive():
        time.sleep(0)
        turns += 1
    called.join()
    assert turns > 10


def test_ctrl_c_ends_a_waiting_call(serve: Serve) -> None:
    served = serve()
    program = "import carom\nclient = carom.connect('lab')\nprint('ready', flush=True)\n"
    waiting = subprocess.Popen(
        [sys.executable, "-c", program + "client.call('sleep', b'600')"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "ready\n"
    press_ctrl_c(waiting)
    assert "KeyboardInterrupt" in waiting.communicate(timeout=PATIENCE_S)[1]
    os.kill(served.worker_pids[0], signal.SIGKILL)  # which still sleeps


def test_a_call_after_the_deadline_raises_timeout_error(lab: carom.Client) -> None:
    with pytest.raises(TimeoutError, match="deadline"):
        lab.call("sleep", b"0.3", timeout=0.02)
    assert lab.call("echo", b"next", timeout=10.0) == b"next"


def test_a_call_queued_behind_another_gives_up_at_its_deadline_and_never_runs(
    lab: carom.Client,
) -> None:
    lab.call("forget")
    slow = threading.Thread(target=lab.call, args=("sleep", b"0.3"))
    slow.start()
    time.sleep(0.05)  # either order is right; this one is the interesting one
    with pytest.raises(TimeoutError):
        lab.call("keep", b"must not run", timeout=0.05)
    slow.join()
    with pytest.raises(carom.RemoteError, match="KeyError"):
        lab.call("read")


def test_a_closed_client_says_so(lab_service: Served) -> None:
    client = carom.connect(str(lab_service.log.parent / "lab.sock"))
    client.close()
    client.close()
    with pytest.raises(ValueError, match="client is closed"):
        client.call("echo")


def test_closing_lets_calls_of_other_threads_end(lab_service: Served) -> None:
    client = carom.connect(str(lab_service.log.parent / "lab.sock"))
    client.call("echo")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(client.call, "sleep", b"0.2")
        time.sleep(0.05)
        client.close()
        assert running.result() == str(lab_service.worker_pids[0]).encode()


def test_a_forked_child_is_told_to_connect_again(lab: carom.Client) -> None:
    lab.call("echo")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            lab.call("echo")
        except ChildProcessError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as text:
        assert "fork" in text.read()
    assert lab.call("echo", b"parent goes on") == b"parent goes on"
