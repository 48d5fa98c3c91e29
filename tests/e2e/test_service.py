# SPDX-License-Identifier: Apache-2.0
"""What may be registered as a method, and a worker and a host in one's own program."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import carom
import pytest
from carom.service import takes_context
from carom.status import Status


class Callable:
    def __call__(self, request: memoryview, context: carom.Context) -> None: ...
    def bound(self, request: memoryview) -> None: ...


def positional(request: memoryview, context: carom.Context, /) -> None: ...
def defaulted(request: memoryview, quality: int = 3) -> None: ...
def optional_request(request: memoryview | None = None) -> None: ...
def keyword(request: memoryview, *, quality: int = 3) -> None: ...


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (lambda request: None, False),
        (lambda request, context: None, True),
        (lambda *arguments: None, False),
        (Callable(), True),
        (Callable().bound, False),
        (functools.partial(positional, b""), False),
        (positional, True),
        (defaulted, False),
        (optional_request, False),
        (keyword, False),
        (bytes, False),
        (len, False),
    ],
)
def test_a_handler_gets_a_context_when_it_requires_a_second_argument(
    handler: Any, expected: bool
) -> None:
    assert takes_context("method", handler) is expected


async def asynchronous(request: memoryview) -> None: ...


@pytest.mark.parametrize(
    "handler",
    [
        lambda: None,
        lambda a, b, c: None,
        lambda request, *, needed: None,
        lambda **names: None,
        asynchronous,
    ],
)
def test_other_signatures_are_refused_at_registration(handler: Any) -> None:
    with pytest.raises(TypeError, match="method 'odd'"):
        carom.Service("s").method(handler, name="odd")


@pytest.mark.parametrize("name", ["", "x" * 104, "é" * 52, "a\0b"])
def test_method_names_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="method name"):
        carom.Service("s").method(len, name=name)


def test_a_method_cannot_be_registered_twice() -> None:
    service = carom.Service("s")
    service.method(len)
    with pytest.raises(ValueError, match="already has a method 'len'"):
        service.method(len)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(ValueError, match=r"method\(name=...\)"):
        carom.Service("s").method(lambda request: request)


def test_the_decorated_function_stays_what_it_was() -> None:
    service = carom.Service("s")

    @service.method
    def plain(request: memoryview) -> None: ...

    @service.method(name="other")
    def named(request: memoryview) -> None: ...

    assert service.methods["plain"].handler is plain
    assert service.methods["other"].handler is named


def test_a_method_says_whether_it_may_run_twice_and_how_long_it_may_take() -> None:
    service = carom.Service("s")

    @service.method(idempotent=True, timeout=2)
    def again(request: memoryview) -> None: ...

    @service.method()
    def once(request: memoryview) -> None: ...

    assert (service.methods["again"].idempotent, service.methods["again"].timeout) == (True, 2)
    assert (service.methods["once"].idempotent, service.methods["once"].timeout) == (False, None)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match=r"method 'len': a timeout is more than 0 seconds, not"):
        carom.Service("s").method(timeout=timeout)(len)


def test_options_of_a_method_have_types() -> None:
    service = carom.Service("s")
    for options in ({"timeout": "5 s"}, {"timeout": True}, {"idempotent": 1}):
        with pytest.raises(TypeError, match="method 'len'"):
            service.method(**options)(len)  # type: ignore[call-overload]
    assert not service.methods


def test_hooks_stay_what_they_were_and_keep_their_order() -> None:
    service = carom.Service("s")

    def first() -> None: ...
    def second(scale: int = 1) -> None: ...
    def warm(client: carom.Client) -> None: ...

    for hook in (first, second):
        assert service.on_load(hook) is hook
        assert service.on_start(hook) is hook
    assert service.warmup(warm) is warm
    assert service.load_hooks == service.start_hooks == [first, second]
    assert service.warmup_hooks == [warm]


def generating() -> Any:
    yield


async def waiting() -> None: ...


@pytest.mark.parametrize(
    ("kind", "hook", "message"),
    [
        ("on_load", lambda needed: None, "on_load hook '<lambda>' must take (), not (needed)"),
        ("on_start", lambda *, key: None, "on_start hook '<lambda>' must take (), not (*, key)"),
        ("warmup", lambda: None, "warmup hook '<lambda>' must take (client), not ()"),
        ("on_load", waiting, "on_load hook 'waiting' is async: only plain functions are called"),
        ("on_start", generating, "on_start hook 'generating' is a generator: calling it would"),
        ("warmup", None, "warmup needs a function, not NoneType"),
        ("on_load", 3, "on_load needs a function, not int"),
    ],
)
def test_hooks_that_cannot_be_called_are_refused(kind: str, hook: Any, message: str) -> None:
    with pytest.raises(TypeError) as raised:
        getattr(carom.Service("s"), kind)(hook)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("name", ["", "x" * 64])
def test_service_names_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        carom.Service(name)


def test_a_service_without_methods_cannot_be_worked_for(folder: Path) -> None:
    with pytest.raises(ValueError, match="no methods"):
        carom.Worker(carom.Service("empty"))


def test_status_numbers_are_those_of_grpc() -> None:
    assert [status.name for status in Status][:5] == [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
    ]
    assert max(Status) == Status.UNAUTHENTICATED == 16


def test_the_types_made_in_c_cannot_be_made_in_python() -> None:
    with pytest.raises(TypeError, match="cannot create"):
        carom.Context()


def test_host_worker_and_client_can_be_threads_of_one_program(folder: Path) -> None:
    service = carom.Service("whole")
    service.method(lambda request: bytes(request)[::-1], name="reverse")
    with carom.Host("whole") as host, carom.Worker(service) as worker:
        thread = threading.Thread(target=worker.run)
        thread.start()
        host.wait_ready(1, timeout=20.0)
        with carom.connect("whole") as client:
            assert [client.call("reverse", b"abc") for _ in range(1000)] == [b"cba"] * 1000
        worker.stop()
        thread.join()


def test_closing_a_worker_lets_its_call_end_and_its_thread_return(folder: Path) -> None:
    service = carom.Service("closing")
    inside = threading.Event()

    @service.method
    def slow(request: memoryview) -> bytes:
        inside.set()
        time.sleep(0.2)
        return b"done"

    with carom.Host("closing"), ThreadPoolExecutor(2) as threads:
        worker = carom.Worker(service)
        running = threads.submit(worker.run)
        with carom.connect("closing") as client:
            reply = threads.submit(client.call, "slow")
            inside.wait()
            worker.close()
            worker.close()
            assert reply.result() == b"done"
        running.result()
        with pytest.raises(ValueError, match="closed"):
            worker.run()


def test_a_handler_cannot_close_or_run_its_own_worker_but_stop_it(folder: Path) -> None:
    service = carom.Service("own")
    workers: list[carom.Worker] = []
    for name in ("close", "run", "stop"):
        service.method(lambda _, name=name, *, _n=0: getattr(workers[0], name)(), name=name)
    with carom.Host("own"), carom.Worker(service) as worker, ThreadPoolExecutor(1) as threads:
        workers.append(worker)
        running = threads.submit(worker.run)
        with carom.connect("own") as client:
            for name in ("close", "run"):
                with pytest.raises(carom.RemoteError, match="can only stop"):
                    client.call(name)
            assert client.call("stop") == b""
        running.result()


def test_an_overdue_handler_in_another_thread_can_be_interrupted(folder: Path) -> None:
    service = carom.Service("overdue")
    inside = threading.Event()

    @service.method(timeout=0.02)
    def spin(request: memoryview) -> None:
        inside.set()
        while True:
            pass

    with carom.Host("overdue"), carom.Worker(service) as worker, ThreadPoolExecutor(2) as threads:
        running = threads.submit(worker.run)
        with carom.connect("overdue") as client:
            for _ in range(3):
                inside.clear()
                call = threads.submit(client.call, "spin")
                inside.wait()
                while not call.done():
                    worker.interrupt()
                    time.sleep(0.005)
                with pytest.raises(carom.RemoteError, match="longer than its timeout of"):
                    call.result()
        worker.stop()
        running.result()


def test_a_closed_host_and_a_closed_observer_say_so(folder: Path) -> None:
    host = carom.Host("over")
    observer = carom.Observer("over")
    observer.close()
    host.close()
    host.close()
    with pytest.raises(ValueError, match="closed"):
        observer.service()
    with pytest.raises(ValueError, match="closed"):
        host.wait_ready()


def test_a_host_that_nobody_closed_removes_its_socket_at_exit(folder: Path) -> None:
    program = "import carom; host = carom.Host('forgotten'); print(host.path.exists())"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "True\n", "")
    assert not (folder / "forgotten.sock").exists()


def test_a_stopped_host_sends_workers_home_and_refuses_calls(folder: Path) -> None:
    service = carom.Service("brief")
    service.method(bytes)
    with carom.Host("brief") as host, carom.Worker(service) as worker:
        thread = threading.Thread(target=worker.run)
        thread.start()
        with carom.connect("brief", timeout=20.0) as client:
            assert client.call("bytes", b"x") == b"x"
            host.stop()
            thread.join()
            with pytest.raises(ConnectionError):
                client.call("bytes", b"x")


def test_waiting_for_workers_that_do_not_come_times_out(folder: Path) -> None:
    with carom.Host("lonely") as host, pytest.raises(TimeoutError):
        host.wait_ready(1, timeout=0.05)


def test_an_observer_sees_workers_clients_and_counts(folder: Path) -> None:
    service = carom.Service("seen")
    service.method(bytes)
    service.method(lambda request: 1 / 0, name="fail")
    with carom.Host("seen"), carom.Worker(service) as worker:
        thread = threading.Thread(target=worker.run)
        thread.start()
        with carom.connect("seen", timeout=20.0) as client, carom.Observer("seen") as observer:
            for _ in range(10):
                client.call("bytes", b"x")
            with pytest.raises(carom.RemoteError, match="ZeroDivisionError"):
                client.call("fail")
            record = observer.service()
            assert record.name == "seen"
            assert record.state.name == "READY"
            assert record.methods == ("bytes", "fail")
            assert (record.worker_count, record.client_count) == (1, 1)
            (seen,) = observer.workers()
            assert (seen.id, seen.calls, seen.errors) == (worker.id, 11, 1)
            assert 0 < seen.handler_p50_ns <= seen.handler_p99_ns
            assert [peer.uid for peer in observer.clients()] == [seen.uid]
        worker.stop()
        thread.join()
