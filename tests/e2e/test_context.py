# SPDX-License-Identifier: Apache-2.0
"""What a handler can ask its context, and that a context is worth nothing after its call."""

from __future__ import annotations

import ast
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import carom
import carom.context
import pytest
from processes import until


def test_without_a_timeout_there_is_no_deadline(lab: carom.Client) -> None:
    seen = json.loads(lab.call("context"))
    assert seen["type"] == "Context"
    assert seen["deadline"] is None
    assert seen["remaining"] is None
    assert not seen["cancelled"]


def test_the_deadline_is_the_callers_on_the_monotonic_clock(lab: carom.Client) -> None:
    before = time.monotonic_ns()
    seen = json.loads(lab.call("context", timeout=50.0))
    after = time.monotonic_ns()
    late = 10 * 10**6  # a timeout of 200 ms and more may last so much longer
    assert before <= seen["deadline"] - 50 * 10**9 <= after + late
    assert 0 < seen["remaining"] <= 50.0 + late / 10**9
    assert not seen["cancelled"]


def test_the_client_is_who_the_kernel_says(lab: carom.Client) -> None:
    seen = json.loads(lab.call("context"))
    assert seen["pid"] == os.getpid()
    assert seen["uid"] == os.getuid()
    assert seen["client"][1:] == [seen["pid"], seen["uid"]]


def test_two_clients_have_two_ids(lab: carom.Client) -> None:
    path = lab.service
    with carom.connect(path) as other:
        mine, theirs = (json.loads(c.call("context"))["client"][0] for c in (lab, other))
    assert mine != theirs


@pytest.mark.parametrize("size", [0, 1, 5000, 3_000_000])
def test_a_reply_can_be_built_in_place(lab: carom.Client, size: int) -> None:
    data = os.urandom(size)
    assert lab.call("build", data) == data


@pytest.mark.parametrize("size", [0, 1, 5000, 3_000_000])
def test_a_slice_of_the_reply_view_is_a_reply(lab: carom.Client, size: int) -> None:
    data = os.urandom(size)
    assert lab.call("build_part", data) == data


def test_several_reply_views_are_views_of_one_block(lab: carom.Client) -> None:
    assert lab.call("build_twice", b"abcdefgh") == b"1234efgh"


def test_a_reply_of_negative_size_is_a_value_error(lab: carom.Client) -> None:
    with pytest.raises(carom.RemoteError, match="ValueError: a reply cannot have -1 bytes"):
        lab.call("build_size", b"-1")


def test_a_reply_larger_than_its_block_raises_in_the_handler(lab: carom.Client) -> None:
    wanted = (64 << 20) + 1
    text = lab.call("build_caught", str(wanted).encode()).decode()
    assert str(wanted) in text
    assert str(64 << 20) in text


def test_a_context_is_dead_after_its_call(lab: carom.Client) -> None:
    lab.call("keep_context")
    texts = json.loads(lab.call("use_kept_context"))
    assert len(texts) == 6
    assert all("only while its handler runs" in text for text in texts)


def test_a_context_whose_call_ends_while_a_reply_is_sized_gives_no_memory(folder: Path) -> None:
    service = carom.Service("late")
    asked, next_runs = threading.Event(), threading.Event()
    outcomes: list[object] = []

    class Size:
        def __index__(self) -> int:
            asked.set()
            next_runs.wait(20.0)
            return 4

    def ask(context: carom.Context) -> None:
        try:
            outcomes.append(context.reply(Size()))  # type: ignore[arg-type]
        except RuntimeError as error:
            outcomes.append(error)

    @service.method
    def first(request: memoryview, context: carom.Context) -> None:
        threads.append(threading.Thread(target=ask, args=(context,)))
        threads[0].start()
        asked.wait(20.0)

    @service.method
    def second(request: memoryview) -> None:
        next_runs.set()
        threads[0].join()

    threads: list[threading.Thread] = []
    with carom.Host("late"), carom.Worker(service) as worker, ThreadPoolExecutor(1) as pool:
        running = pool.submit(worker.run)
        with carom.connect("late") as client:
            client.call("first")
            client.call("second")
        worker.stop()
        running.result()
    assert [type(outcome) for outcome in outcomes] == [RuntimeError]


def test_a_handler_sees_that_the_deadline_has_passed(lab: carom.Client) -> None:
    with pytest.raises(TimeoutError):
        lab.call("until_cancelled", timeout=0.05)
    assert until(lambda: lab.call("was_cancelled")) == b"0.0"


def test_a_handler_sees_that_its_client_has_left(lab: carom.Client) -> None:
    child = os.fork()
    if child == 0:
        with carom.connect(lab.service) as mine:
            mine.call("until_cancelled")
        os._exit(1)
    until(lambda: is_busy(lab))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert lab.call("was_cancelled", timeout=20.0) == b"None"


def test_check_returns_nothing_while_somebody_waits(lab: carom.Client) -> None:
    assert lab.call("check") == b"None"
    assert lab.call("check", timeout=50.0) == b"None"


def test_check_raises_a_timeout_past_the_deadline(lab: carom.Client) -> None:
    with pytest.raises(TimeoutError):
        lab.call("until_check_raises", timeout=0.05)
    told = lab.call("checked", timeout=20.0)
    assert told == b"builtins.TimeoutError: the deadline of this call has passed"


def test_check_raises_cancelled_when_the_client_has_left(lab: carom.Client) -> None:
    child = os.fork()
    if child == 0:
        with carom.connect(lab.service) as mine:
            mine.call("until_check_raises")
        os._exit(1)
    until(lambda: is_busy(lab))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = lab.call("checked", timeout=20.0)
    assert told == b"carom.Cancelled: the caller does not wait for this call any more"


def test_what_python_shows_of_the_context_is_what_its_stub_says() -> None:
    """The types are made in C; the stub is what type checkers and readers see."""
    module = ast.parse(Path(carom.context.__file__).read_text())
    stubs = [n for n in ast.walk(module) if isinstance(n, ast.ClassDef) and n.name == "Context"]
    functions = {n.name: n for n in stubs[0].body if isinstance(n, ast.FunctionDef)}
    public = {name for name in vars(carom.Context) if not name.startswith("_")}
    assert public == set(functions)
    for name in ("cancelled", "check"):
        assert inspect.getdoc(getattr(carom.Context, name)) == ast.get_docstring(functions[name])


def is_busy(lab: carom.Client) -> bool:
    try:
        lab.call("echo", timeout=0.05)
    except TimeoutError:
        return True
    return False


MAKE_TYPES_ON_THREADS = """
import threading, time
from carom import binding

class Slow:
    calls = 0
    def __getattr__(self, name):
        return getattr(lib, name)
    def carom_py_setup(self, *arguments):
        self.calls += 1
        for _ in range(1000):
            time.sleep(0)  # others may run
        return lib.carom_py_setup(*arguments)

lib, binding.lib = binding.lib, Slow()
found = []
threads = [
    threading.Thread(target=lambda: found.append(binding.native_types())) for _ in range(8)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert binding.lib.calls == 1
assert len(found) == 8 and all(types is found[0] for types in found)
"""


def test_threads_that_begin_at_the_same_time_make_the_types_once() -> None:
    command = [sys.executable, "-c", MAKE_TYPES_ON_THREADS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
