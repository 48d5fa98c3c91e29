# SPDX-License-Identifier: Apache-2.0
"""carom_launch: a C program with workers of its own, of which nothing stays when it has gone."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import APPLICATIONS, children_of, is_alive, session_members, until

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "build" / "tests" / "e2e" / "launcher"
WORKERS = 2
TIMEOUT_S = 60.0


class Program:
    """A running launcher.c and the pool that it has launched."""

    def __init__(
        self,
        application: str,
        *options: str,
        folder: Path = APPLICATIONS,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [str(LAUNCHER), str(folder), application, str(WORKERS), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "CAROM_PYTHON": sys.executable, **(environment or {})},
        )
        self.forked: list[int] = []
        self.supervisor = 0
        self.service = ""
        self.members: set[int] = set()
        self.started = self.read()
        if self.started.startswith("pool "):
            _, pid, self.service = self.started.split()
            self.supervisor = int(pid)
            self.members = descendants(self.supervisor)

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self, command: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.read()

    def call(self) -> int:
        """Process id of the worker that answered."""
        word, pid = self.tell("call").split()
        assert word == "called"
        return int(pid)

    def fork(self) -> int:
        self.forked.append(int(self.tell("fork").split()[1]))
        return self.forked[-1]

    def failure(self) -> tuple[int, str, str]:
        """Number, detail and standard error of a launch that failed."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out, err = self.process.stdout.read(), self.process.stderr.read()
        word, number = self.started.split()
        assert word == "failed"
        assert self.process.wait(TIMEOUT_S) == 1
        return int(number), out, err

    def end(self) -> int:
        """The end of its input: it returns from main."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(TIMEOUT_S)

    def left(self) -> bool:
        """Whether anything of the pool is still there."""
        alive = [pid for pid in self.members if is_alive(pid)]
        return bool(alive or session_members(self.supervisor) or has_socket(self.service))

    def clean(self) -> None:
        for pid in (self.process.pid, *self.forked):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def descendants(pid: int) -> set[int]:
    """A process and all below it."""
    return {pid}.union(*(descendants(child) for child in children_of(pid)))


def has_socket(service: str) -> bool:
    """Whether a process listens on, or is connected to, an abstract socket."""
    names = (line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines())
    return service in names


Launch = Callable[..., Program]


@pytest.fixture
def launch(folder: Path) -> Iterator[Launch]:
    programs: list[Program] = []

    def start(application: str = "lab:service", *options: str, **more: object) -> Program:
        programs.append(Program(application, *options, **more))
        return programs[-1]

    yield start
    for program in programs:
        program.clean()


@pytest.fixture
def program(launch: Launch) -> Program:
    """One that has launched applications/lab.py and called it."""
    program = launch()
    assert program.supervisor, program.started + program.failure()[1]
    assert program.call() in program.members
    assert len(program.members) > WORKERS
    assert session_members(program.supervisor)
    assert has_socket(program.service)
    return program


# ---- however the program ends, its pool does


def test_a_pool_that_is_closed_has_gone_when_close_returns(program: Program) -> None:
    assert program.tell("close") == "closed\n"
    assert not program.left()
    assert program.end() == 0


def test_a_pool_ends_with_a_program_that_returns_from_main(program: Program) -> None:
    assert program.end() == 0
    until(lambda: not program.left(), "the pool to end")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_pool_ends_with_a_program_that_is_killed(program: Program, number: int) -> None:
    program.process.send_signal(number)
    assert program.process.wait(TIMEOUT_S) == -number
    until(lambda: not program.left(), "the pool to end")


def test_a_pool_ends_with_a_program_that_aborts(program: Program) -> None:
    assert program.tell("abort") == ""
    assert program.process.wait(TIMEOUT_S) == -signal.SIGABRT
    until(lambda: not program.left(), "the pool to end")


def test_a_pool_does_not_live_on_with_a_forked_child_of_the_program(program: Program) -> None:
    child = program.fork()
    assert program.call() in program.members  # that the child closed its copy matters to nobody
    program.process.kill()
    program.process.wait()
    until(lambda: not program.left(), "the pool to end")
    assert is_alive(child)


def test_nothing_stays_when_the_supervisor_is_killed(program: Program) -> None:
    os.kill(program.supervisor, signal.SIGKILL)
    until(lambda: not session_members(program.supervisor), "the workers to end")
    assert program.tell("close") == "closed\n"
    assert not program.left()


def test_a_stopped_supervisor_can_be_closed(program: Program) -> None:
    os.kill(program.supervisor, signal.SIGSTOP)
    assert program.tell("close") == "closed\n"
    assert not program.left()


# ---- as long as the program lives, so does its pool


def test_a_pool_outlives_the_thread_that_launched_it(launch: Launch) -> None:
    program = launch(environment={"LAUNCH_ON_THREAD": "1"})
    assert {program.call() for _ in range(20)} <= program.members
    assert descendants(program.supervisor) == program.members
    program.process.kill()
    program.process.wait()
    until(lambda: not program.left(), "the pool to end")


def test_ctrl_c_is_for_the_program_alone(program: Program) -> None:
    os.killpg(program.process.pid, signal.SIGINT)  # which this program ignores
    assert program.call() in program.members
    assert descendants(program.supervisor) == program.members


def test_programs_have_pools_of_their_own(launch: Launch, program: Program) -> None:
    other = launch()
    assert other.service != program.service
    assert other.call() in other.members
    assert other.tell("close") == "closed\n"
    assert program.call() in program.members


def test_options_of_serve_can_be_given(launch: Launch) -> None:
    program = launch("lab:service", "--no-preload", "--graceful-timeout", "3")
    assert program.call() in program.members
    assert program.tell("close") == "closed\n"
    assert not program.left()


# ---- what cannot start says why


def test_the_traceback_of_an_application_that_raises_is_the_detail(
    launch: Launch, application: Callable[..., Path]
) -> None:
    folder = application("def load():\n    raise ValueError('no table é')\n\nload()\n")
    number, detail, _ = launch("app:service", folder=folder).failure()
    assert number == errno.ENOEXEC
    assert detail.startswith("app:service could not be served: ")
    assert "app.py" in detail
    assert "raise ValueError('no table é')" in detail
    assert "ValueError: no table é" in detail


def test_of_a_very_long_traceback_the_end_is_the_detail(
    launch: Launch, application: Callable[..., Path]
) -> None:
    folder = application("raise ValueError('\\n'.join(['line'] * 5000 + ['the last']))\n")
    number, detail, _ = launch("app:service", folder=folder).failure()
    assert number == errno.ENOEXEC
    assert "\nthe last\n" in detail
    assert len(detail.encode()) < 1 << 14


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("", "nothing:service", "nothing"),
        ("", "app:service", "service"),
        ("import os\nos._exit(7)\n", "app:service", "7"),
        ("import sys\nsys.exit('enough')\n", "app:service", "enough"),
    ],
)
def test_an_application_that_cannot_be_served_is_an_error(
    launch: Launch, application: Callable[..., Path], source: str, target: str, why: str
) -> None:
    number, detail, _ = launch(target, folder=application(source)).failure()
    assert number == errno.ENOEXEC
    assert detail.startswith(f"{target} could not be served: ")
    assert why in detail.removeprefix(f"{target} could not be served: ")


def test_an_application_that_hangs_is_given_up_in_time(
    launch: Launch, application: Callable[..., Path]
) -> None:
    folder = application(
        "import os, pathlib, time\n"
        "pathlib.Path('hangs').write_text(str(os.getsid(0)))\n"
        "time.sleep(60)\n"
    )
    program = launch(
        "app:service", folder=folder, environment={"LAUNCH_TIMEOUT_NS": str(3_000_000_000)}
    )
    number, detail, _ = program.failure()
    assert number == errno.ETIMEDOUT
    assert "3.0 s" in detail
    session = int((folder / "hangs").read_text())
    until(lambda: not session_members(session), "the pool to end")


def test_an_option_that_serve_does_not_know_is_an_error(launch: Launch) -> None:
    number, detail, errors = launch("lab:service", "--no-such-option").failure()
    assert number == errno.ENOEXEC
    assert "--no-such-option" in detail + errors


def test_a_python_without_carom_says_what_is_missing(launch: Launch, folder: Path) -> None:
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    python.chmod(0o700)
    number, detail, errors = launch(environment={"CAROM_PYTHON": str(python)}).failure()
    assert number == errno.ENOEXEC
    assert "exited with status 1" in detail
    assert f"({python} -m carom --version)" in detail
    assert "No module named carom" in errors


def test_a_python_that_is_not_there_is_named(launch: Launch) -> None:
    number, detail, _ = launch(environment={"CAROM_PYTHON": "/no/such/python"}).failure()
    assert number == errno.ENOENT
    assert "/no/such/python" in detail
