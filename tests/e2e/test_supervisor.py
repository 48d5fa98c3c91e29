# SPDX-License-Identifier: Apache-2.0
"""`carom serve`: starts whole or not at all, replaces dead workers, stops cleanly."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import carom
import pytest
from conftest import Serve
from processes import is_alive, session_members, until

Application = Callable[..., Path]

GOOD = """
import carom
service = carom.Service("good")

@service.method
def echo(request):
    return request
"""


def test_one_line_when_ready_names_socket_workers_and_pids(serve: Serve, folder: Path) -> None:
    served = serve(workers=2)
    pids = ", ".join(map(str, served.children()))
    assert served.line == (
        f"carom: serving lab at {folder / 'lab.sock'} with 2 workers (pids {pids})\n"
    )
    assert served.errors == ""
    assert served.stop() == 0
    assert served.errors == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(serve: Serve, folder: Path, number: int) -> None:
    served = serve(workers=2)
    with carom.connect("lab") as client:
        client.call("echo")
        assert served.stop(number) == 0
        with pytest.raises(ConnectionError):
            client.call("echo")
    assert served.errors == ""
    assert not (folder / "lab.sock").exists()
    assert session_members(served.pid) == []


@pytest.mark.parametrize("waiting", [("--no-spin",), ("--spin", "0.001")])
def test_workers_serve_however_they_wait(serve: Serve, waiting: tuple[str, ...]) -> None:
    served = serve("lab:service", *waiting)
    for spin in (True, False, 0.001):
        with carom.connect("lab", spin=spin) as client:
            assert client.call("echo", b"there") == b"there"
    assert served.stop() == 0


@pytest.mark.parametrize("spin", [0, -1.0, 4000.0, float("nan")])
def test_a_time_to_spin_that_is_none_is_refused(serve: Serve, spin: float) -> None:
    serve()
    with pytest.raises(ValueError, match="spin must be True, False or seconds"):
        carom.connect("lab", spin=spin)


def test_ctrl_c_in_a_terminal_stops_it_cleanly(serve: Serve) -> None:
    served = serve(workers=2)
    os.killpg(served.pid, signal.SIGINT)
    assert served.wait() == 0
    assert served.errors == ""


def test_calls_in_progress_end_before_it_stops(serve: Serve) -> None:
    served = serve(workers=2)
    with carom.connect("lab") as client, ThreadPoolExecutor(2) as threads:
        running = [threads.submit(client.call, "sleep", b"0.4") for _ in range(2)]
        time.sleep(0.1)
        assert served.stop() == 0
        assert {int(call.result()) for call in running} <= set(served.worker_pids)


def test_after_the_grace_period_workers_are_killed(serve: Serve) -> None:
    served = serve("lab:service", "--graceful-timeout", "0.2")
    with carom.connect("lab") as client, ThreadPoolExecutor(1) as threads:
        calling = threads.submit(client.call, "sleep", b"60")
        time.sleep(0.1)
        assert served.stop() == 0
        error = calling.exception()
    assert isinstance(error, carom.RemoteError)
    assert error.status is carom.Status.UNAVAILABLE
    assert "did not finish within the graceful timeout of 0.2 s" in error.message
    assert (
        f"worker {served.worker_pids[0]} did not finish within the graceful timeout of 0.2 s; "
        "killing it"
    ) in served.errors


def test_a_killed_worker_is_replaced(serve: Serve) -> None:
    served = serve(workers=2)
    os.kill(served.worker_pids[0], signal.SIGKILL)
    until(lambda: len(set(served.children()) - set(served.worker_pids)) == 1)
    with carom.connect("lab") as client:
        new = until(lambda: {int(client.call("pid"))} - set(served.worker_pids))
    assert new < set(served.children())


def test_sigterm_to_a_worker_lets_its_call_end_and_replaces_it(serve: Serve) -> None:
    served = serve()
    (old,) = served.worker_pids
    with carom.connect("lab") as client, ThreadPoolExecutor(1) as threads:
        running = threads.submit(client.call, "sleep", b"0.3")
        time.sleep(0.1)
        os.kill(old, signal.SIGTERM)
        assert int(running.result()) == old
        assert int(client.call("pid", timeout=20.0)) != old
    served.wait_log(f"worker {old} exited with status 0; starting another")


def test_a_worker_that_sends_itself_sigterm_still_answers(serve: Serve) -> None:
    served = serve()
    with carom.connect("lab") as client:
        assert client.call("leave") == b"still answered"
        assert int(client.call("pid", timeout=20.0)) != served.worker_pids[0]


def test_sigterm_to_a_sleeping_worker_ends_it(serve: Serve) -> None:
    served = serve()
    time.sleep(0.1)
    os.kill(served.worker_pids[0], signal.SIGTERM)
    until(lambda: not is_alive(served.worker_pids[0]))


def test_signal_handlers_of_the_application_run_in_an_idle_worker(serve: Serve) -> None:
    serve()
    with carom.connect("lab") as client:
        pid = int(client.call("signals"))
        time.sleep(0.05)
        os.kill(pid, signal.SIGUSR1)
        until(lambda: client.call("saw_signal") == b"seen")


DIES_YOUNG = """
import os, threading, carom
service = carom.Service("young")
service.method(bytes)

@service.on_start
def start():
    if os.path.exists("die"):
        threading.Timer(0.01, os._exit, [7]).start()
"""


def test_a_worker_that_dies_at_once_is_replaced_more_and_more_slowly(
    serve: Serve, application: Application
) -> None:
    folder = application(DIES_YOUNG)
    served = serve("app:service", "--max-crashes", "0", cwd=folder)
    (folder / "die").touch()
    os.kill(served.worker_pids[0], signal.SIGKILL)
    served.wait_log("exited with status 7", 4)
    delays = re.findall(r"status 7; starting another(?: in ([\d.]+) s)?", served.errors)
    assert [float(delay or 0) for delay in delays[:4]] in (
        [0.1, 0.2, 0.4, 0.8],
        [0.0, 0.1, 0.2, 0.4],  # the first one had been ready for a second
    )
    (folder / "die").unlink()
    with carom.connect("young", timeout=20.0) as client:
        assert client.call("bytes", b"well again", timeout=20.0) == b"well again"


def test_handlers_may_print_and_start_processes(serve: Serve, application: Application) -> None:
    source = GOOD + (
        "\nimport subprocess\n"
        "@service.method\ndef run(request):\n"
        "    return subprocess.run(['echo', 'hi'], capture_output=True).stdout\n"
    )
    serve("app:service", cwd=application(source))
    with carom.connect("good") as client:
        assert client.call("run") == b"hi\n"


BROKEN = {
    "no_such_module:service": ("", "there is no module 'no_such_module' in "),
    "app:nothing": (GOOD, "module app has no 'nothing'; its services are: service"),
    "app:echo": (GOOD, "app:echo is of type function, not a carom.Service"),
    "app:service ": (GOOD, "module app has no 'service '"),
    "app:empty": ("import carom\nempty = carom.Service('e')", "app:empty has no methods"),
    "app:raises": ("def f():\n    1 / 0\nf()", "cannot import app: ZeroDivisionError: division"),
    "app:imports": ("import not_there", "cannot import app: ModuleNotFoundError: No module named"),
    "app:syntax": ("def f(:", "cannot import app: SyntaxError: invalid syntax"),
    "app:exits": ("raise SystemExit('bye')", "cannot import app: it called sys.exit('bye')"),
    "app:dies": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "was killed by SIGKILL on its start",
    ),
    "app:async_": (
        "import carom\ns = carom.Service('a')\n@s.method\nasync def f(request): ...",
        "cannot import app: TypeError: method 'f' is async",
    ),
}


@pytest.mark.parametrize("target", BROKEN)
def test_an_application_that_cannot_be_served_ends_in_one_line_and_status_1(
    serve: Serve, application: Application, folder: Path, target: str
) -> None:
    source, text = BROKEN[target]
    served = serve(target, workers=3, ready=False, cwd=application(source))
    assert served.wait() == 1
    first, *rest = served.errors.splitlines()
    assert f"carom[{served.pid}] " in first
    assert text in first
    assert all(line.startswith("  ") for line in rest)
    assert list(folder.glob("*.sock")) == []
    assert session_members(served.pid) == []


def test_the_traceback_of_a_failed_import_is_the_applications_own(
    serve: Serve, application: Application
) -> None:
    served = serve("app:service", ready=False, cwd=application(BROKEN["app:raises"][0]))
    assert served.wait() == 1
    assert "Traceback (most recent call last):" in served.errors
    assert 'app.py", line 2, in f' in served.errors
    assert "importlib" not in served.errors
    assert "carom/" not in served.errors


def test_a_folder_that_belongs_to_somebody_else_is_one_line(
    serve: Serve, application: Application, folder: Path
) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to give a folder away")
    foreign = folder / "foreign"
    foreign.mkdir()
    os.chown(foreign, 65534, 65534)
    served = serve("lab:service", "--dir", str(foreign), ready=False)
    assert served.wait() == 1
    assert len(served.errors.splitlines()) == 1
    assert str(foreign) in served.errors


def test_modules_of_the_current_folder_are_found_and_do_not_shadow_ours(
    serve: Serve, application: Application
) -> None:
    application("raise RuntimeError('the wrong module')", "selectors")
    serve("app:service", cwd=application(GOOD))
    with carom.connect("good") as client:
        assert client.call("echo", b"x") == b"x"
