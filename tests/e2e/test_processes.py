# SPDX-License-Identifier: Apache-2.0
"""The child processes of `carom serve`, driven by this test in the place of the supervisor."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import carom
import carom.pool.fork
import pytest
from carom.pool.channel import DUMP_SIGNAL, INTERRUPT_SIGNAL, Channel, Message
from processes import PATIENCE_S, children_of, is_alive, status_fields, until

PR_SET_CHILD_SUBREAPER = 36
Application = Callable[[str], Path]

BEGIN = """
import carom, os, signal, sys, threading, time
from pathlib import Path
service = carom.Service("app")

@service.method
def echo(request):
    return request

def log(what):
    with open("log.txt", "a") as file:
        file.write(f"{what} {os.getpid()}\\n")
"""


class Child:
    """A worker process and this test's ends of its channel and its stack pipe."""

    def __init__(self, pid: int, channel: Channel, stacks: int) -> None:
        self.pid = pid
        self.channel = channel
        self.stacks = stacks
        self.ended: int | None = None
        channel.socket.settimeout(PATIENCE_S)

    def receive(self) -> Message | None:
        return self.channel.receive()

    def join(self, threads: int = 1, timeout: float | None = None) -> list[int]:
        self.channel.send({"join": "app", "threads": threads, "spin": True, "timeout": timeout})
        message = self.receive()
        assert message is not None, "it ended"
        assert "ready" in message, message
        return list(message["ready"])

    def failed(self) -> str:
        message = self.receive()
        assert message is not None
        assert self.wait() == 1
        assert self.receive() is None
        return str(message["failed"])

    def wait(self) -> int:
        """The exit status, or a signal's number below zero."""

        def ended() -> bool:
            if self.ended is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.ended = os.waitstatus_to_exitcode(status) if pid else None
            return self.ended is not None

        until(ended, f"the end of {self.pid}")
        assert self.ended is not None
        return self.ended

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def clean(self) -> None:
        if self.ended is None:
            self.signal(signal.SIGKILL)
            self.wait()
        self.channel.close()
        os.close(self.stacks)


class Pool:
    """What the supervisor would do, step by step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[Child] = []
        self.template: Child | None = None
        self.errors = folder / "stderr.txt"

    def start_template(self) -> Child:
        channel, theirs = Channel.pair()
        with theirs:
            self.template = self._start("template", channel, theirs.fileno(), os.dup(2))
        return self.template

    def load(self) -> Message:
        """Starts the template; what it says when it has loaded."""
        message = self.start_template().receive()
        assert message is not None, self.errors.read_text()
        return message

    def fork(self, key: int = 1) -> Child:
        assert self.template is not None
        channel, theirs = Channel.pair()
        reader, writer = os.pipe()
        with theirs:
            self.template.channel.send({"fork": key}, [theirs.fileno(), writer])
        os.close(writer)
        answer = self.template.receive()
        assert answer is not None
        assert answer["key"] == key
        child = Child(answer["forked"], channel, reader)
        self.children.append(child)
        return child

    def start_fresh(self) -> Child:
        """A worker without a template."""
        channel, theirs = Channel.pair()
        reader, writer = os.pipe()
        with theirs:
            child = self._start("worker", channel, theirs.fileno(), reader, writer)
        os.close(writer)
        return child

    def worker(self, *, preload: bool) -> Child:
        """A worker that has not joined yet."""
        if preload:
            if self.template is None:
                assert "loaded" in self.load()
            return self.fork()
        child = self.start_fresh()
        message = child.receive()
        assert message is not None
        assert message["loaded"] == "app"
        return child

    def log(self) -> list[tuple[str, int]]:
        lines = (self.folder / "log.txt").read_text().splitlines()
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def _start(
        self, module: str, channel: Channel, theirs: int, ours: int, stacks: int | None = None
    ) -> Child:
        code = (
            f"import sys; del sys.path[0]; from carom.pool import {module} as m; sys.exit(m.main())"
        )
        options = ["--channel", str(theirs), "--parent", str(os.getpid())]
        if stacks is not None:
            options += ["--stacks", str(stacks)]
        with self.errors.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-c", code, "app:service", *options],
                cwd=self.folder,
                stderr=stderr,
                pass_fds=[theirs] if stacks is None else [theirs, stacks],
            )
        process.returncode = 0  # this test reaps it
        child = Child(process.pid, channel, ours)
        self.children.append(child)
        return child


@pytest.fixture
def pool(folder: Path) -> Iterator[Pool]:
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    made = Pool(folder)
    yield made
    for child in made.children:
        child.clean()
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def host(folder: Path) -> Iterator[carom.Host]:
    with carom.Host("app") as made:
        yield made


both = pytest.mark.parametrize("preload", [True, False], ids=["preload", "no-preload"])


# ---- loading, hooks, forking


def test_a_template_says_what_it_has_loaded(pool: Pool, application: Application) -> None:
    application(
        BEGIN
        + """
import json, helper
@service.method(idempotent=True, timeout=2.5)
def again(request): ...
"""
    )
    (pool.folder / "helper.py").write_text("")
    assert pool.load() == {
        "loaded": "app",
        "methods": {
            "echo": {"idempotent": False, "timeout": None},
            "again": {"idempotent": True, "timeout": 2.5},
        },
        "files": [str(pool.folder / "app.py"), str(pool.folder / "helper.py")],
        "warning": None,
    }


HOOKS = """
log("import")

@service.on_load
def load_first(): log("load_first")
@service.on_load
def load_second(): log("load_second")
@service.on_start
def start_first(): log("start_first")
@service.on_start
def start_second(): log("start_second")

@service.method
def logged(request):
    log("call")
    return request

@service.warmup
def warm_first(client):
    assert client.call("logged", b"x") == b"x"
    log("warm_first")
@service.warmup
def warm_second(client): log("warm_second")
"""
LOADING = ["import", "load_first", "load_second"]
STARTING = ["start_first", "start_second", "call", "warm_first", "warm_second"]


def test_the_template_loads_once_and_every_worker_starts_and_warms_up(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + HOOKS)
    pool.load()
    workers = [pool.fork(key) for key in (7, 8)]
    for worker in workers:
        assert worker.join() != []
    assert pool.template is not None
    log = pool.log()
    assert log[:3] == [(what, pool.template.pid) for what in LOADING]
    for worker in workers:
        assert [what for what, pid in log[3:] if pid == worker.pid] == STARTING
    assert len(log) == 13
    assert {worker.pid for worker in workers} <= set(children_of(os.getpid()))
    assert children_of(pool.template.pid) == []


def test_without_a_template_a_worker_loads_for_itself(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + HOOKS)
    worker = pool.worker(preload=False)
    worker.join()
    assert pool.log() == [(what, worker.pid) for what in LOADING + STARTING]
    with carom.connect("app") as client:
        assert client.call("logged", b"x") == b"x"


def test_a_warm_up_is_seen_by_nobody_else(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + HOOKS)
    worker = pool.worker(preload=True)
    with carom.Observer("app") as observer:
        worker.join()
        (seen,) = observer.workers()
        assert (seen.pid, seen.calls) == (worker.pid, 0)
    with carom.connect("app") as client:
        assert client.call("echo", b"x") == b"x"


FAILURES = {
    "load": ("load hook 'bad' of app:service raised OSError: no model", "on_load", ""),
    "start": ("start hook 'bad' of app:service raised OSError: no model", "on_start", ""),
    "warmup": ("warm-up hook 'bad' of app:service raised OSError: no model", "warmup", "client"),
}


@both
@pytest.mark.parametrize("kind", FAILURES)
def test_a_hook_that_raises_is_reported_with_its_traceback(
    kind: str, preload: bool, pool: Pool, host: carom.Host, application: Application
) -> None:
    line, decorator, parameter = FAILURES[kind]
    application(
        BEGIN + f"@service.{decorator}\ndef bad({parameter}):\n    raise OSError('no model')\n"
    )
    if kind == "load":
        child = pool.start_template() if preload else pool.start_fresh()
    else:
        child = pool.worker(preload=preload)
    if kind == "warmup":
        child.channel.send({"join": "app", "threads": 1, "spin": True, "timeout": None})
    text = child.failed()
    assert text.splitlines()[-1] == line
    assert text.startswith("Traceback")
    assert "in bad" in text
    assert "carom/" not in text
    assert "\n\n" not in text


ODD = """
class Odd(Exception):
    def __str__(self):
        return 5

    @property
    def __class__(self):
        raise ValueError
"""


@pytest.mark.parametrize("kind", FAILURES)
def test_a_hook_that_raises_what_cannot_be_described_is_reported(
    kind: str, pool: Pool, host: carom.Host, application: Application
) -> None:
    _, decorator, parameter = FAILURES[kind]
    application(BEGIN + ODD + f"@service.{decorator}\ndef bad({parameter}):\n    raise Odd\n")
    child = pool.start_template() if kind == "load" else pool.worker(preload=True)
    if kind == "warmup":
        child.channel.send({"join": "app", "threads": 1, "spin": True, "timeout": None})
    last = child.failed().splitlines()[-1]
    assert last.endswith("hook 'bad' of app:service raised Odd: <the text could not be made>")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("sys.exit(3)", "cannot import app: it called sys.exit(3)"),
        (
            "del service\ndef __getattr__(name):\n    raise KeyboardInterrupt('no')",
            "cannot get 'service' of app: KeyboardInterrupt: no",
        ),
        ("raise RuntimeError", "cannot import app: RuntimeError"),
        (
            "@service.on_load\ndef leave(): sys.exit('bye')",
            "load hook 'leave' of app:service called sys.exit('bye')",
        ),
    ],
)
def test_an_application_that_leaves_while_it_loads_is_reported(
    source: str, line: str, pool: Pool, application: Application
) -> None:
    application(BEGIN + source)
    assert pool.start_template().failed().splitlines()[-1] == line


def test_a_method_that_exits_during_the_warm_up_is_reported(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(
        BEGIN
        + """
service.method(lambda request: sys.exit(4), name="leave")
@service.warmup
def warm(client):
    for _ in range(2):
        try: client.call("leave")
        except Exception: pass
"""
    )
    worker = pool.worker(preload=True)
    worker.channel.send({"join": "app", "threads": 1, "spin": True, "timeout": None})
    assert worker.failed() == "a method of app:service called sys.exit(4) during the warm-up"


def test_a_method_that_closes_all_descriptors_during_the_warm_up_ends_the_process(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(
        BEGIN
        + """
service.method(lambda request: os.closerange(3, 1000), name="close")
@service.warmup
def warm(client): client.call("close")
"""
    )
    worker = pool.worker(preload=True)
    worker.channel.send({"join": "app", "threads": 1, "spin": True, "timeout": None})
    assert worker.wait() == 1
    assert "descriptors of app:service were closed" in pool.errors.read_text()


def test_a_method_that_forks_during_the_warm_up_makes_no_second_worker(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(
        BEGIN
        + """
@service.method
def fork(request):
    child = os.fork()
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode() if child else b""
@service.warmup
def warm(client): assert client.call("fork") == b"0"
"""
    )
    assert len(pool.worker(preload=True).join()) == 1


@both
def test_the_end_of_the_channel_sends_everyone_home(
    preload: bool, pool: Pool, application: Application
) -> None:
    application(BEGIN)
    worker = pool.worker(preload=preload)
    worker.channel.socket.shutdown(2)
    assert worker.wait() == 0
    if pool.template is not None:
        pool.template.channel.socket.shutdown(2)
        assert pool.template.wait() == 0


def test_workers_share_the_memory_of_the_template(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(
        BEGIN
        + """
import numpy
@service.on_load
def load():
    global table
    table = numpy.ones(64 << 20, numpy.uint8)
@service.method
def total(request): return str(table.sum()).encode()
"""
    )
    assert pool.load()["warning"] is None  # numpy's own threads end before a fork
    workers = [pool.fork() for _ in range(3)]
    for worker in workers:
        worker.join()
        with carom.connect("app") as client:
            assert client.call("total") == b"67108864"
    for worker in workers:
        assert memory(worker.pid, "Rss") > 64 << 20
        assert memory(worker.pid, "Pss") < memory(worker.pid, "Rss") / 2


def memory(pid: int, what: str) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(rf"^{what}: +(\d+) kB$", text, re.MULTILINE)
    assert match
    return int(match[1]) << 10


def test_workers_draw_different_random_numbers(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(
        BEGIN
        + """
import numpy, random
random.seed(1)
numpy.random.seed(1)
@service.on_start
def draw():
    Path(f"drawn-{os.getpid()}").write_text(f"{random.random()} {numpy.random.random()}")
"""
    )
    drawn = []
    for _ in range(2):
        worker = pool.worker(preload=True)
        worker.join()
        drawn += (pool.folder / f"drawn-{worker.pid}").read_text().split()
    assert len(set(drawn)) == 4
    assert str(random.Random(1).random()) not in drawn


def test_threads_of_the_application_are_a_reason_for_a_warning(
    pool: Pool, application: Application
) -> None:
    application(
        BEGIN
        + """
threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
"""
    )
    warning = pool.load()["warning"]
    assert "has started 1 thread (poller) that is not in the workers" in warning
    assert "--no-preload" in warning


def test_a_connection_made_on_import_is_a_reason_for_a_warning(
    pool: Pool, application: Application
) -> None:
    application(BEGIN + "host = carom.Host('private')\n")
    assert "has opened a carom connection or host on import" in pool.load()["warning"]


def test_a_fork_that_fails_is_reported(pool: Pool, application: Application) -> None:
    application(BEGIN)
    pool.load()
    assert pool.template is not None
    pool.template.channel.send({"fork": 5})
    answer = pool.template.receive()
    assert answer == {
        "unforked": "cannot fork a worker: its descriptors did not arrive: too many open files",
        "key": 5,
    }
    pool.fork(6)


def test_a_second_fork_that_fails_is_an_error_in_the_first_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    me = os.getpid()

    def fork() -> int:
        if os.getpid() != me:
            raise OSError(errno.EAGAIN, "no more")
        return os.fork()

    monkeypatch.setattr(carom.pool.fork, "fork", fork)
    with pytest.raises(BlockingIOError) as raised:
        carom.pool.fork.fork_for(me)
    assert raised.value.errno == errno.EAGAIN
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


SUPERVISOR = """
import ctypes, os, sys
sys.path[:0] = {path!r}
from pathlib import Path
import test_processes
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
pool = test_processes.Pool(Path({folder!r}))
pool.load()
print(pool.template.pid, pool.fork().pid, pool.worker(preload=False).pid, flush=True)
sys.stdin.read()
"""


def test_children_die_with_a_supervisor_that_cannot_say_goodbye(
    folder: Path, application: Application
) -> None:
    application(BEGIN)
    source = SUPERVISOR.format(path=[str(Path(__file__).parent)], folder=str(folder))
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(pid) for pid in supervisor.stdout.readline().split()]
        assert len(pids) == 3
        assert [status_fields(pid)[1] for pid in pids] == [str(supervisor.pid)] * 3
        supervisor.kill()
    until(lambda: not any(is_alive(pid) for pid in pids), "the children to end")


# ---- threads and signals


@both
def test_a_worker_with_threads_runs_calls_at_the_same_time(
    preload: bool, pool: Pool, host: carom.Host, application: Application
) -> None:
    application(
        BEGIN
        + """
barrier = threading.Barrier(3)
@service.method
def meet(request):
    barrier.wait(20.0)
    return str(os.getpid()).encode()
"""
    )
    worker = pool.worker(preload=preload)
    ids = worker.join(threads=3)
    assert len(set(ids)) == 3
    with carom.connect("app") as client, ThreadPoolExecutor(3) as threads:
        meeting = [threads.submit(client.call, "meet") for _ in range(3)]
        assert [call.result() for call in meeting] == [str(worker.pid).encode()] * 3
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_sigterm_lets_all_threads_finish_their_calls(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(
        BEGIN
        + """
@service.method
def slow(request):
    log("begun")
    while not Path("go").exists(): time.sleep(0.01)
    return b"done"
"""
    )
    worker = pool.worker(preload=True)
    worker.join(threads=2)
    with carom.connect("app") as client, ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(client.call, "slow") for _ in range(2)]
        until(lambda: (pool.folder / "log.txt").exists() and len(pool.log()) == 2)
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGTERM)
        (pool.folder / "go").touch()
        assert [call.result() for call in calls] == [b"done"] * 2
        assert worker.wait() == 0


def test_what_a_terminal_sends_is_not_for_children(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n")
    worker = pool.worker(preload=True)
    worker.join()
    assert pool.template is not None
    for child in (worker, pool.template):
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU):
            child.signal(number)
    with carom.connect("app") as client:
        assert client.call("echo", b"x") == b"x"
    pool.fork().join()


STUCK = """
import functools, hashlib

@service.method(timeout=0.05)
def spin(request):
    log("spin")
    while True: pass

@service.method
def spin_by_default(request): spin(request)

@service.method
def patient(request):
    log("patient")
    while not Path("go").exists(): time.sleep(0.01)
    return b"done"

native = functools.partial(hashlib.pbkdf2_hmac, "sha256", salt=b"salt", iterations=2_000_000)
service.method(native, name="native", timeout=0.001)
"""


def call_in_background(client: carom.Client, method: str, pool: Pool) -> Future[bytes]:
    """The call, begun: its handler has said so."""
    before = len(pool.log()) if (pool.folder / "log.txt").exists() else 0
    thread = ThreadPoolExecutor(1)
    future = thread.submit(client.call, method, timeout=PATIENCE_S)
    thread.shutdown(wait=False)
    until(lambda: (pool.folder / "log.txt").exists() and len(pool.log()) > before)
    return future


def test_a_worker_shows_its_stacks(pool: Pool, host: carom.Host, application: Application) -> None:
    application(BEGIN + STUCK)
    worker = pool.worker(preload=True)
    worker.join(threads=2)
    with carom.connect("app") as client:
        call = call_in_background(client, "patient", pool)
        worker.signal(DUMP_SIGNAL)
        os.set_blocking(worker.stacks, False)
        text = b""
        while b"in main" not in text:
            until(lambda: select.select([worker.stacks], [], [], 0)[0], "stacks")
            text += os.read(worker.stacks, 65536)
        (pool.folder / "go").touch()
        assert call.result() == b"done"
    assert b"in patient" in text
    assert text.count(b"hread 0x") >= 2


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("method", ["spin", "spin_by_default"])
def test_a_handler_that_runs_too_long_gets_an_exception(
    method: str, threads: int, pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + STUCK)
    worker = pool.worker(preload=True)
    worker.join(threads=threads, timeout=0.08)
    limit = 0.05 if method == "spin" else 0.08
    with carom.connect("app") as client, ThreadPoolExecutor(threads) as callers:
        calls = [callers.submit(client.call, method, timeout=PATIENCE_S) for _ in range(threads)]
        until(lambda: interrupted(worker, calls), "the interruption")
        for call in calls:
            error = call.exception()
            assert isinstance(error, carom.RemoteError)
            assert error.type == "TimeoutError"
            assert error.message == f"the call ran longer than its timeout of {limit:g} s"
            assert "in spin" in error.traceback
        assert client.call("echo", b"x") == b"x"


def interrupted(worker: Child, calls: list[Future[bytes]]) -> bool:
    worker.signal(INTERRUPT_SIGNAL)
    time.sleep(0.01)
    return all(call.done() for call in calls)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_interruption_hits_nobody_who_is_in_time_or_idle(
    threads: int, pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + STUCK)
    worker = pool.worker(preload=True)
    worker.join(threads=threads)
    with carom.connect("app") as client:
        for number in range(200):
            worker.signal(INTERRUPT_SIGNAL)
            assert client.call("echo", b"%d" % number) == b"%d" % number
        call = call_in_background(client, "patient", pool)
        for _ in range(5):
            worker.signal(INTERRUPT_SIGNAL)
            time.sleep(0.01)
        (pool.folder / "go").touch()
        assert call.result() == b"done"


def test_an_interruption_that_comes_too_late_does_not_hit_the_next_call(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + STUCK)
    worker = pool.worker(preload=True)
    worker.join(threads=2)
    with carom.connect("app") as client, ThreadPoolExecutor(2) as callers:
        for _ in range(3):
            calls = [callers.submit(client.call, "native", timeout=PATIENCE_S) for _ in range(2)]
            while not all(call.done() for call in calls):
                worker.signal(INTERRUPT_SIGNAL)
                time.sleep(0.01)
            # A C function has no place for an exception; that of the main thread may come up.
            assert all(
                call.exception() is None or "longer" in str(call.exception()) for call in calls
            )
            for _ in range(50):
                assert client.call("echo", b"x") == b"x"


# ---- handlers that misbehave


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("sys.exit(3)", 3),
        ("sys.exit()", 0),
        ("sys.exit('why')", 1),
        ("sys.exit(257)", 1),
        ("raise KeyboardInterrupt", 130),
    ],
)
def test_a_handler_that_exits_ends_its_process(
    statement: str,
    status: int,
    threads: int,
    pool: Pool,
    host: carom.Host,
    application: Application,
) -> None:
    application(BEGIN + f"@service.method\ndef leave(request):\n    {statement}\n")
    worker = pool.worker(preload=True)
    worker.join(threads=threads)
    with carom.connect("app") as client:
        with pytest.raises(carom.RemoteError) as raised:
            client.call("leave", timeout=PATIENCE_S)
        assert raised.value.status is carom.Status.ABORTED
        assert worker.wait() == status
    assert worker.receive() is None


def test_a_handler_may_end_its_process_at_once(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + "service.method(lambda request: os._exit(7), name='leave')\n")
    worker = pool.worker(preload=True)
    worker.join()
    with carom.connect("app") as client, pytest.raises(carom.RemoteError) as raised:
        client.call("leave", timeout=PATIENCE_S)
    assert raised.value.status is carom.Status.UNAVAILABLE
    assert worker.wait() == 7


FORKS = """
@service.method
def fork(request):
    what = bytes(request)  # the child does not have it
    child = os.fork()
    if child == 0:
        if what == b"stay":
            while True: signal.pause()
        if what == b"exit":
            sys.exit(9)
        return b"from the child"
    if what == b"stay":
        return str(child).encode()
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_handler_may_fork(
    threads: int, pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + FORKS)
    worker = pool.worker(preload=True)
    worker.join(threads=threads)
    with carom.connect("app") as client:
        for _ in range(threads * 2):
            assert client.call("fork") == b"0"
            assert client.call("fork", b"exit") == b"9"
        assert client.call("echo", b"x") == b"x"
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert worker.receive() is None
    assert pool.errors.read_text() == ""


EARLY = """
import os, signal
forks = []
os.register_at_fork(after_in_child=lambda: forks and os.kill(os.getpid(), signal.SIGTERM))


@service.method
def fork(request):
    forks.append("now")
    child = os.fork()
    if child == 0:
        os._exit(3)
    forks.clear()
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()
"""


def test_sigterm_ends_a_forked_child_that_has_just_begun(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + EARLY)
    worker = pool.worker(preload=True)
    worker.join()
    with carom.connect("app") as client:
        assert client.call("fork") == b"-15"
        assert client.call("fork") == b"-15"
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_process_forked_by_a_handler_is_not_taken_for_the_worker(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + FORKS)
    worker = pool.worker(preload=True)
    worker.join()
    with carom.connect("app") as client:
        child = int(client.call("fork", b"stay"))
        worker.signal(signal.SIGKILL)
        assert worker.receive() is None
        assert worker.wait() == -signal.SIGKILL
        assert os.read(worker.stacks, 1) == b""
        os.kill(child, signal.SIGTERM)
        until(lambda: not is_alive(child), "the forked process")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


CLOSES = """
import atexit
files = []

@service.method
def close(request):
    os.closerange(3, 1000)
    files.extend(open(f"file{i}", "w") for i in range(20))
    return b"closed"

@atexit.register
def write():
    for file in files:
        file.write("whole")
        file.close()
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_handler_that_closes_all_descriptors_ends_its_worker(
    threads: int, pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + CLOSES)
    worker = pool.worker(preload=True)
    worker.join(threads=threads)
    with carom.connect("app") as client:
        assert outcome(client, "close") in (b"closed", carom.Status.UNAVAILABLE)
        assert worker.wait() == 1
    assert pool.errors.read_text() == (
        f"carom serve: worker {worker.pid}: the file descriptors of app:service were closed in "
        f"this process; it ends\n"
    )
    for number in range(20):
        assert (pool.folder / f"file{number}").read_text() == "whole"


def outcome(client: carom.Client, method: str) -> bytes | carom.Status:
    """The reply, or the status if the host has seen the end of the worker's socket before it."""
    try:
        return client.call(method, timeout=PATIENCE_S)
    except carom.RemoteError as error:
        return error.status


HARDSHIPS = """
@service.method
def memory(request): return bytes(1 << 60)
@service.method
def recurse(request): return recurse(request)
@service.method
def block(request):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
"""


def test_memory_and_recursion_have_an_end_that_costs_one_call(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + HARDSHIPS)
    worker = pool.worker(preload=True)
    worker.join()
    with carom.connect("app") as client:
        for method, error in (("memory", "MemoryError"), ("recurse", "RecursionError")):
            with pytest.raises(carom.RemoteError) as raised:
                client.call(method)
            assert raised.value.type == error
            assert client.call("echo", b"x") == b"x"
    assert is_alive(worker.pid)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_that_blocks_signals_can_be_dismissed(
    threads: int, pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN + HARDSHIPS)
    worker = pool.worker(preload=True)
    worker.join(threads=threads)
    with carom.connect("app") as client:
        client.call("block")
    assert host.dismiss(worker.pid) == threads
    assert worker.wait() == 0


def test_a_crash_in_c_leaves_a_python_traceback(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(
        BEGIN + "import ctypes\nservice.method(lambda request: ctypes.string_at(0), name='crash')\n"
    )
    worker = pool.worker(preload=True)
    worker.join()
    with carom.connect("app") as client, pytest.raises(carom.RemoteError):
        client.call("crash", timeout=PATIENCE_S)
    assert worker.wait() == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in pool.errors.read_text()


def test_a_service_that_stops_sends_all_threads_home(
    pool: Pool, host: carom.Host, application: Application
) -> None:
    application(BEGIN)
    worker = pool.worker(preload=True)
    worker.join(threads=3)
    host.stop()
    assert worker.wait() == 0
