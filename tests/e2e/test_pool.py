# SPDX-License-Identifier: Apache-2.0
"""The pool that `carom serve` keeps: warm, replaced, exchanged, reloaded, scaled, never a lie."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import carom
import pytest
from carom.pool.host_events import in_words
from carom.pool.memory import OutOfMemory
from carom.records import State
from conftest import Serve
from processes import COMMAND, Served, children_of, is_alive, session_members, until

Application = Callable[..., Path]
LONG_S = 20.0

APP = """
import os, time, carom
from pathlib import Path
service = carom.Service("app")
VERSION = b"1"
with open("imports", "a") as file:
    file.write("x")

@service.on_start
def start():
    if os.path.exists("die"):
        os._exit(7)
    if os.path.exists("hang"):
        time.sleep(60)
    if os.path.exists("raise"):
        raise RuntimeError("not today")

@service.method
def version(request):
    return VERSION

@service.method
def pid(request):
    return str(os.getpid()).encode()

@service.method
def sleep(request):
    time.sleep(float(bytes(request)))
    return pid(request)

@service.method
def eat(request):
    kept.append(bytearray(int(bytes(request))))

kept = []

@service.method
def spin(request):
    while True:
        pass

@service.method(timeout=0.2)
def spin_briefly(request):
    while True:
        pass

@service.method
def count_in_c(request):
    sum(range(1 << 50))  # looks at no signal

@service.method(idempotent=True)
def poison(request):
    os._exit(3)

@service.method
def orphan(request):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.05)
        os._exit(0)
    os.wait()
"""

BOTH = pytest.mark.parametrize("how", ["--preload", "--no-preload"])


@pytest.fixture
def app(application: Application) -> Path:
    return application(APP)


def pid_of(client: carom.Client) -> int:
    return int(client.call("pid", timeout=LONG_S))


def outcome(client: carom.Client, method: str) -> str:
    """Type of the error that a call gets; "" if it gets none."""
    try:
        client.call(method, timeout=LONG_S)
    except carom.RemoteError as error:
        return error.type
    return ""


def unavailable(client: carom.Client) -> str:
    """Text of the error that a call gets; "" if it gets none."""
    try:
        client.call("pid", timeout=LONG_S)
    except carom.RemoteError as error:
        return f"{error.status.name} {error.type} {error.message}" if error.status == 14 else ""
    return ""


class Caller:
    """Makes calls on a thread of its own until told to stop; what went wrong is in errors."""

    def __init__(self, method: str, request: bytes = b"") -> None:
        self.replies: set[bytes] = set()
        self.errors: list[Exception] = []
        self._call = (method, request)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)  # a failed test ends, too
        self._thread.start()

    def _run(self) -> None:
        with carom.connect("app") as client:
            while not self._stop.is_set():
                try:
                    self.replies.add(client.call(*self._call, timeout=LONG_S))
                except Exception as error:
                    self.errors.append(error)

    def stop(self) -> list[Exception]:
        self._stop.set()
        self._thread.join()
        return self.errors


# ---- warm


@BOTH
def test_a_dead_worker_is_replaced(serve: Serve, app: Path, how: str) -> None:
    served = serve("app:service", how, workers=2, cwd=app)
    os.kill(served.worker_pids[0], signal.SIGKILL)
    (new,) = set(served.replaced(served.worker_pids[0], 2)) - set(served.worker_pids)
    with carom.connect("app") as client:
        until(lambda: pid_of(client) == new)
    assert (app / "imports").read_text() == ("x" if how == "--preload" else "xxx")
    served.wait_log(f"worker {served.worker_pids[0]} was killed by SIGKILL; starting another")
    described = served.description()
    assert described["restarts"] == 1
    assert described["last_reason"] == f"worker {served.worker_pids[0]} was killed by SIGKILL"
    assert abs(described["last_restart"] - time.time()) < LONG_S


@BOTH
def test_clients_may_connect_before_anything_is_loaded(
    serve: Serve, application: Application, how: str
) -> None:
    slow = application("import time\ntime.sleep(0.5)\n" + APP)
    served = serve("app:service", how, "--name", "early", cwd=slow, ready=False)
    with carom.connect("early", timeout=LONG_S) as client, carom.Observer("early") as observer:
        assert observer.service().state is State.STARTING
        assert json.loads(until(observer.description))["state"] == "starting"
        assert client.call("version", timeout=LONG_S) == b"1"
    served.wait_ready()
    assert served.workers() == served.worker_pids


def test_what_is_said_of_a_service(serve: Serve, app: Path) -> None:
    served = serve("app:service", "--threads", "2", workers=2, cwd=app)
    described = served.description()
    workers = described.pop("workers")
    since = described.pop("since")
    assert -0.001 <= time.time() - since < LONG_S  # it is rounded to a millisecond
    assert described == {
        "target": "app:service",
        "state": "ready",
        "generation": 1,
        "supervisor": served.pid,
        "template": served.template(),
        "wanted": 2,
        "min": 2,
        "max": 2,
        "ready": 2,
        "restarts": 0,
        "last_restart": None,
        "last_reason": None,
        "truncated": False,
    }
    assert [worker["pid"] for worker in workers] == served.worker_pids
    for worker in workers:
        assert worker["stage"] == "ready"
        assert worker["generation"] == 1
        assert worker["threads"] == 2
        assert abs(worker["started"] - time.time()) < LONG_S
    assert sorted(number for worker in workers for number in worker["ids"]) == [0, 1, 2, 3]


def test_threads_of_a_worker_run_calls_at_the_same_time(serve: Serve, app: Path) -> None:
    served = serve("app:service", "--threads", "3", cwd=app)
    with (
        carom.connect("app") as client,
        carom.Observer("app") as observer,
        ThreadPoolExecutor(3) as threads,
    ):
        calls = [threads.submit(client.call, "sleep", b"0.5") for _ in range(3)]
        until(lambda: [w.running for w in observer.workers()] == ["sleep"] * 3)
        assert {int(call.result()) for call in calls} == set(served.worker_pids)


# ---- the start


HANGS = "import time\ntime.sleep(60)"


@BOTH
def test_an_import_that_hangs_ends_after_the_start_timeout(
    serve: Serve, application: Application, how: str
) -> None:
    options = (how, "--start-timeout", "2")
    served = serve("app:service", *options, cwd=application(HANGS), ready=False)
    assert served.wait() == 1
    assert "did not finish importing in 2 s (--start-timeout)" in served.errors
    assert ('app.py", line 2' in served.errors) == (how == "--no-preload")
    assert session_members(served.pid) == []


def test_a_start_hook_that_hangs_ends_it_as_well(serve: Serve, app: Path) -> None:
    (app / "hang").touch()
    served = serve("app:service", "--start-timeout", "2", cwd=app, ready=False)
    assert served.wait() == 1
    assert "did not become ready in 2 s (--start-timeout)" in served.errors
    assert " in start" in served.errors  # the hook's stack
    assert session_members(served.pid) == []


@BOTH
def test_an_application_that_exits_on_import(
    serve: Serve, application: Application, how: str
) -> None:
    gone = application("import os\nos._exit(5)")
    served = serve("app:service", how, cwd=gone, ready=False)
    assert served.wait() == 1
    assert "exited with status 5 on its start" in served.errors
    assert len(served.errors.splitlines()) == 1
    assert session_members(served.pid) == []


@BOTH
def test_a_start_hook_that_raises(serve: Serve, app: Path, how: str) -> None:
    (app / "raise").touch()
    served = serve("app:service", how, workers=2, cwd=app, ready=False)
    assert served.wait() == 1
    first, *rest = served.errors.splitlines()
    assert "start hook 'start' of app:service raised RuntimeError: not today" in first
    assert all(line.startswith("  ") for line in rest)
    assert 'app.py", line' in served.errors
    assert session_members(served.pid) == []


def test_two_hosts_racing_for_a_name(serve: Serve, app: Path) -> None:
    both = [serve("app:service", cwd=app, ready=False) for _ in range(2)]
    until(lambda: any(served.process.poll() is not None for served in both))
    (loser,) = [served for served in both if served.process.poll() is not None]
    (winner,) = [served for served in both if served is not loser]
    assert loser.wait() == 1
    assert "cannot serve 'app'" in loser.errors
    assert "already served by another host" in loser.errors
    assert session_members(loser.pid) == []
    winner.wait_ready()
    with carom.connect("app") as client:
        assert [pid_of(client)] == winner.worker_pids


def run_with_report(app: Path, target: str) -> tuple[subprocess.Popen[bytes], str]:
    """`carom serve --report-fd`, and what it has reported."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [COMMAND, "serve", target, "--report-fd", str(writer), "--parent", str(os.getpid())],
        cwd=app,
        pass_fds=[writer],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    with os.fdopen(reader) as report:
        return process, report.read()


def test_the_report_for_a_program_that_launches(app: Path) -> None:
    process, report = run_with_report(app, "app:service")
    try:
        assert report == "ready 10\n"
        with carom.connect("app") as client:
            assert client.call("version") == b"1"
    finally:
        process.terminate()
        assert process.communicate(timeout=LONG_S) == (b"", b"")
    assert process.returncode == 0


def test_the_report_of_a_failure_has_the_traceback(app: Path) -> None:
    (app / "bad.py").write_text("import app\n1 / 0\n")
    process, report = run_with_report(app, "bad:service")
    assert process.communicate(timeout=LONG_S)[0] == b""
    assert process.returncode == 1
    assert report.startswith("failed\nTraceback (most recent call last):\n")
    assert report.endswith("cannot import bad: ZeroDivisionError: division by zero")


# ---- stays up


def test_a_service_that_keeps_failing_says_so_at_once_and_recovers(serve: Serve, app: Path) -> None:
    served = serve("app:service", "--max-crashes", "3", cwd=app)
    (app / "die").touch()
    os.kill(served.worker_pids[0], signal.SIGKILL)
    served.wait_log("calls are refused until a worker is ready")
    with carom.connect("app") as client, carom.Observer("app") as observer:
        text = unavailable(client)
        assert re.fullmatch(
            r"UNAVAILABLE carom.Unavailable app:service keeps failing: "
            r"worker \d+ exited with status 7 \(\d+ times in 60 s\)",
            text,
        )
        assert observer.service().state is State.FAILING
        assert served.description()["state"] == "failing"
        (app / "die").unlink()
        until(lambda: served.workers(), "a worker again")
        assert [pid_of(client)] == served.workers()
        assert observer.service().state is State.READY


def test_fewer_workers_than_wanted_is_degraded(serve: Serve, app: Path) -> None:
    served = serve("app:service", "--max-crashes", "1", workers=2, cwd=app)
    (app / "hang").touch()
    os.kill(served.worker_pids[0], signal.SIGKILL)
    with carom.connect("app") as client, carom.Observer("app") as observer:
        until(lambda: observer.service().state is State.DEGRADED)
        assert pid_of(client) == served.worker_pids[1]
        assert served.description()["ready"] == 1


def test_a_start_hook_that_raises_later_is_logged_with_its_traceback(
    serve: Serve, app: Path
) -> None:
    served = serve("app:service", cwd=app)
    (app / "raise").touch()
    os.kill(served.worker_pids[0], signal.SIGKILL)
    log = served.wait_log("RuntimeError: not today")
    assert "Traceback" in log
    (app / "raise").unlink()
    until(lambda: served.workers())


def test_a_killed_template_is_replaced_and_workers_go_on(serve: Serve, app: Path) -> None:
    served = serve("app:service", workers=2, cwd=app)
    old = served.template()
    assert old is not None
    os.kill(old, signal.SIGKILL)
    until(lambda: served.template() not in (None, old))
    assert served.workers() == served.worker_pids
    served.wait_log(f"the template {old} was killed by SIGKILL; starting another")
    os.kill(served.worker_pids[0], signal.SIGKILL)
    served.replaced(served.worker_pids[0], 2)


def test_template_and_worker_killed_together(serve: Serve, app: Path) -> None:
    served = serve("app:service", cwd=app)
    template = served.template()
    assert template is not None
    os.kill(template, signal.SIGKILL)
    os.kill(served.worker_pids[0], signal.SIGKILL)
    with carom.connect("app") as client:
        assert pid_of(client) not in served.worker_pids


def test_a_worker_that_is_busy_or_stopped_is_left_alone(serve: Serve, app: Path) -> None:
    served = serve("app:service", "--max-requests", "1000", "--timeout-grace", "0.1", cwd=app)
    (pid,) = served.worker_pids
    with carom.connect("app") as client, ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.call, "sleep", b"0.3")
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.0)
        assert served.workers() == [pid]
        os.kill(pid, signal.SIGCONT)
        assert int(call.result(LONG_S)) == pid
        assert pid_of(client) == pid
    assert served.errors == ""


def test_orphans_of_handlers_leave_no_zombies(serve: Serve, app: Path) -> None:
    served = serve("app:service", cwd=app)
    with carom.connect("app") as client:
        for _ in range(3):
            client.call("orphan")
        known = {served.template(), *served.worker_pids}
        until(lambda: set(children_of(served.pid)) == known)
        assert [pid_of(client)] == served.worker_pids


def test_a_request_that_kills_two_workers_is_kept_and_logged(serve: Serve, app: Path) -> None:
    folder = app / "quarantine"
    folder.mkdir()
    served = serve("app:service", "--quarantine", str(folder), workers=2, cwd=app)
    with (
        carom.connect("app") as client,
        pytest.raises(carom.RemoteError, match=r"carom.PoisonRequest: .* exited with status 3"),
    ):
        client.call("poison", b"x", timeout=LONG_S)
    log = served.wait_log("a request of 'poison' has killed two workers; it is kept as ")
    (kept,) = folder.iterdir()
    assert str(kept) in log


def test_a_template_that_cannot_be_replaced_makes_the_service_fail(serve: Serve, app: Path) -> None:
    served = serve("app:service", "--max-crashes", "2", cwd=app)
    template = served.template()
    assert template is not None
    (app / "app.py").write_text("def f(:")
    os.kill(template, signal.SIGKILL)
    served.wait_log("no template; starting another", 2)
    with carom.connect("app") as client:
        assert [pid_of(client)] == served.worker_pids
        os.kill(served.worker_pids[0], signal.SIGKILL)
        until(lambda: "app:service keeps failing" in unavailable(client))
        (app / "app.py").write_text(APP)
        until(lambda: served.workers())
        assert [pid_of(client)] == served.workers()


RUDE = {
    "forks": ("os.fork()", ""),
    "closes": ("os.closerange(3, 1024)", ""),
    "exits": ("sys.exit(4)", "SystemExit"),
    "allocates": ("bytearray(1 << 60)", "MemoryError"),
    "blocks": ("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))", ""),
    "recurses": ("rude(request)", "RecursionError"),
    "aborts": ("os.abort()", "carom.WorkerDied"),
}
"""What a handler does, and the type of the error that its caller gets."""


@pytest.mark.parametrize("deed", RUDE)
def test_whatever_a_handler_does_the_service_goes_on(
    serve: Serve, application: Application, deed: str
) -> None:
    does, error = RUDE[deed]
    rude = f"\n@service.method\ndef rude(request):\n    {does}\n"
    served = serve("app:service", cwd=application(APP + "\nimport signal, sys\n" + rude))
    with carom.connect("app") as client:
        for _ in range(2):
            assert outcome(client, "rude") == error
            assert pid_of(client) in until(served.workers)
    assert served.stop() == 0
    assert session_members(served.pid) == []


# ---- stuck workers


STUCK = ("--timeout", "0.3", "--timeout-grace", "1")


def test_a_stuck_handler_in_python_gets_an_exception(serve: Serve, app: Path) -> None:
    served = serve("app:service", *STUCK, cwd=app)
    with carom.connect("app") as client:
        with pytest.raises(carom.RemoteError) as raised:
            client.call("spin", timeout=LONG_S)
        assert raised.value.type == "TimeoutError"
        assert [pid_of(client)] == served.worker_pids
    log = served.wait_log("stacks of worker")
    assert f"worker {served.worker_pids[0]} runs 'spin' longer than its timeout of 0.3 s" in log
    assert " in spin" in log


def test_a_method_has_a_timeout_of_its_own(serve: Serve, app: Path) -> None:
    served = serve("app:service", cwd=app)
    with carom.connect("app") as client:
        with pytest.raises(carom.RemoteError) as raised:
            client.call("spin_briefly", timeout=LONG_S)
        assert raised.value.type == "TimeoutError"
        assert [pid_of(client)] == served.worker_pids
    assert "runs 'spin_briefly' longer than its timeout of 0.2 s" in served.errors


def test_a_stuck_handler_in_c_is_killed(serve: Serve, app: Path) -> None:
    served = serve("app:service", *STUCK, cwd=app)
    (old,) = served.worker_pids
    end = "ran 'count_in_c' longer than its timeout of 0.3 s and was killed"
    with carom.connect("app") as client:
        with pytest.raises(carom.RemoteError) as raised:
            client.call("count_in_c", timeout=LONG_S)
        assert raised.value.status is carom.Status.UNAVAILABLE
        assert end in raised.value.message
        assert pid_of(client) != old
    log = served.wait_log(f"worker {old} {end}; starting another")
    assert " in count_in_c" in log


# ---- the end


@BOTH
def test_draining_ends_running_calls_and_refuses_the_others(
    serve: Serve, app: Path, how: str
) -> None:
    served = serve("app:service", how, cwd=app)
    with (
        carom.connect("app") as client,
        carom.Observer("app") as observer,
        ThreadPoolExecutor(4) as threads,
    ):
        running = threads.submit(client.call, "sleep", b"1")
        until(lambda: [w.running for w in observer.workers()] == ["sleep"])
        waiting = [threads.submit(client.call, "sleep", b"0") for _ in range(3)]
        served.process.send_signal(signal.SIGTERM)
        errors = [call.exception(LONG_S) for call in waiting]
        assert not running.done()
        assert observer.service().state is State.DRAINING
        assert json.loads(observer.description())["state"] == "draining"
        for error in errors:
            assert isinstance(error, carom.RemoteError)
            assert error.status is carom.Status.UNAVAILABLE
            assert (error.type, error.message) == ("carom.Unavailable", "app is shutting down")
        assert int(running.result(LONG_S)) == served.worker_pids[0]
    assert served.wait() == 0
    assert served.errors == ""
    assert session_members(served.pid) == []


def test_a_second_signal_ends_it_at_once(serve: Serve, app: Path) -> None:
    served = serve("app:service", "--graceful-timeout", "60", cwd=app)
    with (
        carom.connect("app") as client,
        carom.Observer("app") as observer,
        ThreadPoolExecutor(1) as threads,
    ):
        running = threads.submit(client.call, "sleep", b"60")
        until(lambda: [w.running for w in observer.workers()] == ["sleep"])
        served.process.send_signal(signal.SIGTERM)
        until(lambda: observer.service().state is State.DRAINING)
        assert served.stop(signal.SIGINT) == 0
        assert "was killed by a second SIGINT" in str(running.exception(LONG_S))
    assert session_members(served.pid) == []


def test_it_ends_while_it_still_loads(serve: Serve, application: Application) -> None:
    served = serve("app:service", "--name", "early", cwd=application(HANGS), ready=False)
    with carom.connect("early", timeout=LONG_S):
        assert served.stop() == 0
    assert session_members(served.pid) == []


PARENT = """
import os, subprocess, sys, time
command = [*sys.argv[1:], "--parent", str(os.getpid())]
print(subprocess.Popen(command).pid, flush=True)
time.sleep(60)
"""


def test_it_ends_with_its_parent(app: Path) -> None:
    program = app / "parent.py"
    program.write_text(PARENT)
    command = [str(Path(COMMAND).parent / "python"), str(program), COMMAND, "serve", "app:service"]
    with subprocess.Popen(
        command, cwd=app, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        supervisor = int(parent.stdout.readline())
        assert "carom: serving app" in parent.stdout.readline()
        with carom.connect("app") as client, ThreadPoolExecutor(1) as threads:
            running = threads.submit(client.call, "sleep", b"60")
            everybody = [supervisor, *children_of(supervisor)]
            parent.kill()
            until(lambda: not any(map(is_alive, everybody)), "the service to end")
            assert running.exception(LONG_S) is not None
    assert session_members(parent.pid) == []


# ---- exchanged


def reloaded(served: Served, app: Path, version: str) -> None:
    """Writes another version of the application and reloads it."""
    (app / "app.py").write_text(APP.replace('VERSION = b"1"', f'VERSION = b"{version}"'))
    served.process.send_signal(signal.SIGHUP)


@BOTH
def test_a_reload_exchanges_every_worker_and_fails_no_call(
    serve: Serve, app: Path, how: str
) -> None:
    served = serve("app:service", how, workers=2, cwd=app)
    template = served.template()
    callers = [Caller("version") for _ in range(2)]
    reloaded(served, app, "22")
    served.wait_log("reloaded: every worker runs the new code")
    errors = [error for caller in callers for error in caller.stop()]
    assert errors == []
    with carom.connect("app") as client:
        assert client.call("version") == b"22"
    assert not set(served.workers()) & set(served.worker_pids)
    assert len(served.workers()) == 2
    until(lambda: not any(map(is_alive, served.worker_pids)))
    described = served.description()
    assert described["generation"] == 2
    assert described["restarts"] == 0
    if template is not None:
        assert described["template"] != template
        until(lambda: not is_alive(template))


@BOTH
@pytest.mark.parametrize("fault", ["syntax", "hook", "exit"])
def test_a_reload_that_fails_changes_nothing(serve: Serve, app: Path, how: str, fault: str) -> None:
    served = serve("app:service", how, workers=2, cwd=app)
    template = served.template()
    if fault == "hook":
        (app / "raise").touch()
    bad = {"syntax": "def f(:", "exit": "import os\nos._exit(9)", "hook": APP}[fault]
    (app / "app.py").write_text(bad)
    served.process.send_signal(signal.SIGHUP)
    log = served.wait_log("reload failed; the old code goes on")
    text = {"syntax": "SyntaxError", "exit": "exited with status 9", "hook": "not today"}[fault]
    assert text in log
    assert served.workers() == served.worker_pids
    assert served.template() == template
    with carom.connect("app") as client:
        assert client.call("version") == b"1"
    (app / "raise").unlink(missing_ok=True)
    reloaded(served, app, "3")
    served.wait_log("reloaded: every worker runs the new code")
    with carom.connect("app") as client:
        assert client.call("version") == b"3"
    assert served.description()["state"] == "ready"


def test_bytecode_is_kept_unless_the_file_was_saved_a_moment_ago(serve: Serve, app: Path) -> None:
    old, young = app / "old.py", app / "young.py"
    for path in (old, young):
        path.write_text("")
    os.utime(old, (time.time() - 60, time.time() - 60))
    (app / "app.py").write_text("import old, young\n" + APP)
    serve("app:service", cwd=app)
    kept = {path.name.partition(".")[0] for path in (app / "__pycache__").iterdir()}
    assert kept == {"old"}


def test_a_reload_asked_for_during_another_one_follows_it(serve: Serve, app: Path) -> None:
    served = serve("app:service", cwd=app)
    (app / "app.py").write_text("import time\ntime.sleep(0.5)\n" + APP)
    served.process.send_signal(signal.SIGHUP)
    served.wait_log("reload (SIGHUP)")
    reloaded(served, app, "2")
    served.wait_log("reloaded: every worker runs the new code", 2)
    with carom.connect("app") as client:
        assert client.call("version") == b"2"


def test_a_changed_file_is_loaded_when_watched(serve: Serve, app: Path) -> None:
    serve("app:service", "--watch", cwd=app)
    (app / "app.py").write_text(APP.replace('VERSION = b"1"', 'VERSION = b"watched"'))
    with carom.connect("app") as client:
        until(lambda: client.call("version", timeout=LONG_S) == b"watched")


RECYCLED = {
    "requests": (("--max-requests", "50", "--max-requests-jitter", "0"), r"ran \d+ calls"),
    "age": (("--max-age", "0.5"), r"is [\d.]+ s old"),
    "rss": (("--max-rss", "150M"), r"uses [\d.]+ MiB of memory"),
}


@pytest.mark.parametrize("limit", RECYCLED)
def test_a_worker_that_has_done_enough_is_exchanged(serve: Serve, app: Path, limit: str) -> None:
    options, reason = RECYCLED[limit]
    served = serve("app:service", *options, cwd=app)
    (old,) = served.worker_pids
    if limit == "rss":
        with carom.connect("app") as client:
            client.call("eat", str(200 << 20).encode())
    caller = Caller("pid")
    until(lambda: caller.replies - {str(old).encode()}, "another worker")
    assert caller.stop() == []
    until(lambda: not is_alive(old))
    assert re.search(rf"worker {old} {reason} \(--max-.*\); starting another", served.errors)
    assert served.description()["restarts"] == 0


# ---- more and fewer


def test_one_more_and_one_fewer_by_signal(serve: Serve, app: Path) -> None:
    served = serve("app:service", workers=2, cwd=app)
    served.process.send_signal(signal.SIGTTIN)
    until(lambda: len(served.workers()) == 3)
    for count in (2, 1):
        served.process.send_signal(signal.SIGTTOU)
        until(lambda: len(served.workers()) == count)  # noqa: B023  # called before it changes
    served.process.send_signal(signal.SIGTTOU)
    log = served.wait_log("SIGTTOU: 1 is the smallest number of workers that there can be")
    assert "from 2 to 3 workers: SIGTTIN" in log
    assert served.description()["wanted"] == 1
    assert served.description()["state"] == "ready"
    until(lambda: len(served.children()) == 1)


def test_more_workers_while_calls_wait_and_fewer_afterwards(serve: Serve, app: Path) -> None:
    options = ("--min-workers", "1", "--max-workers", "4", "--idle-time", "1")
    served = serve("app:service", *options, "--target-wait", "10ms", cwd=app)
    callers = [Caller("sleep", b"0.05") for _ in range(8)]
    until(lambda: len(served.workers()) == 4)
    assert [error for caller in callers for error in caller.stop()] == []
    until(lambda: len(served.workers()) == 1)
    assert "workers: calls wait" in served.errors
    assert "one fewer would have done for 1 s" in served.errors
    assert served.description()["restarts"] == 0


# ---- memory


def test_out_of_memory_is_told_by_the_counter(tmp_path: Path) -> None:
    file = tmp_path / "memory.events"
    file.write_text("low 0\noom 4\noom_kill 3\n")
    memory = OutOfMemory([tmp_path / "missing", file])
    assert not memory.struck()
    file.write_text("low 0\noom 5\noom_kill 4\n")
    assert memory.struck()
    assert not memory.struck()
    file.unlink()
    assert not memory.struck()


def test_events_of_the_host_in_words() -> None:
    assert in_words("refused", ["12", "1000", "not allowed"]) == (
        "process 12 of uid 1000 was refused: not allowed"
    )
    assert in_words("poisoned", ["3", "12"]) == (
        "client 3 (pid 12) wrote nonsense into its memory and was disconnected"
    )
    assert in_words("quarantined", ["m", "", "disk full"]) == (
        "a request of 'm' has killed two workers; it could not be kept: disk full"
    )
    assert in_words("died", ["0", "12", "1", "was killed by SIGSEGV"]) is None
