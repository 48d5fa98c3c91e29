# SPDX-License-Identifier: Apache-2.0
"""Processes that fork without exec, in every role, in C and in Python.

A child may use nothing of its parent's, and nothing that it does or leaves disturbs its parent. A
child that outlives its parent holds the parent's sockets open: the host goes by the parent's pidfd.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence

from kernels import contained, denied, say_died, why_not
from stage import Peer, Stage, children_of, is_alive, require

AT_LEAST = {"client": 12, "observer": 5, "host": 5, "worker": 9}
"""Functions that a child must be refused, by role."""


def fork(stage: Stage, role: str, service: str, box: Sequence[str] = ()) -> Peer:
    return stage.start(stage.program("fork"), role, service, box=box).ready()


def require_refused(answer: str, role: str) -> None:
    match = re.fullmatch(r"(?:OK )?refused (\d+)", answer)
    require(match is not None and int(match[1]) >= AT_LEAST[role], f"{role}: {answer}")


def child_of(answer: str) -> int:
    match = re.fullmatch(r"(?:OK )?child (\d+)", answer)
    require(match is not None, f"no child: {answer}")
    assert match is not None
    return int(match[1])


# ---- children that end before their parent


def in_client(stage: Stage, box: Sequence[str], rounds: int) -> None:
    stage.host("fc")
    stage.worker("fc")
    stage.worker("fc")
    observer = stage.observer("fc")
    client = fork(stage, "client", "fc", box)
    for _ in range(rounds):
        require(client.ask("begin") == "begun", "the client cannot begin")
        require_refused(client.ask("fork"), "client")
        require(client.ask("end") == "ended", "the parent lost its call by its child's end")
        client.calls(4)
    require(len(observer.look()["clients"]) == 1, "the parent lost its lane by its child's end")
    inherited = client.ask("exec")
    require(inherited == "inherits 0", f"a program that was started {inherited}")
    if not box:
        require(client.ask("clone") != "ended 0", "a child that was cloned made a call")
    client.calls(4)


def in_worker(stage: Stage, box: Sequence[str], rounds: int) -> None:
    stage.host("fw")
    fork(stage, "worker", "fw", box)
    observer = stage.observer("fw")
    client = stage.client("fw")
    for _ in range(rounds):
        require_refused(client.ask("fork"), "worker")
        client.calls(4)
    inherited = client.ask("exec")
    require(inherited == "OK inherits 0", f"a program that was started {inherited}")
    if not box:
        require(client.ask("clone") != "OK ended 0", "a child that was cloned replied")
    client.calls(4)
    require(len(observer.look()["workers"]) == 1, "the worker was lost by its child's end")


def in_host(stage: Stage, box: Sequence[str], rounds: int) -> None:
    host = fork(stage, "host", "fh", box)
    stage.worker("fh")
    client = stage.client("fh")
    observer = fork(stage, "observer", "fh", box)
    for _ in range(rounds):
        require_refused(host.ask("fork"), "host")
        require_refused(observer.ask("fork"), "observer")
        client.calls(4)
    stage.client("fh").calls(4)
    require(host.ask("exec") == "inherits 0", "a program that a host starts inherits something")


# ---- children that outlive their parent


@contextlib.contextmanager
def outlived(pid: int) -> Iterator[None]:
    """While the body runs the child must live; then it is killed."""
    require(is_alive(pid), "the child ended before its parent")
    try:
        yield
        require(is_alive(pid), "the child ended with its parent")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def after_client(stage: Stage) -> None:
    stage.host("oc")
    stage.worker("oc")
    observer = stage.observer("oc")
    client = fork(stage, "client", "oc")
    client.calls(4)
    with outlived(child_of(client.ask("outlive"))):
        client.kill()
        observer.wait_clients(0)
        stage.client("oc").calls(4)


def after_worker(stage: Stage) -> None:
    stage.host("ow")
    worker = fork(stage, "worker", "ow")
    observer = stage.observer("ow")
    client = stage.client("ow")
    with outlived(child_of(client.ask("outlive"))):
        client.say("hold")
        observer.wait_running()
        worker.kill()
        say_died(client.line())
        observer.wait_workers(0)
        stage.worker("ow")
        client.calls(4)


def after_host(stage: Stage) -> None:
    host = fork(stage, "host", "oh")
    worker = stage.worker("oh")
    observer = stage.observer("oh")
    client = stage.client("oh")
    with outlived(child_of(host.ask("outlive"))):
        client.say("hold")
        observer.wait_running()
        host.kill()
        answer = client.line()
        require(answer.startswith(f"failed {errno.EHOSTDOWN} "), f"without a host: {answer}")
        line = worker.line()
        require(line.startswith(f"failed {errno.EHOSTDOWN} "), f"without a host: {line}")
        stage.host("oh")
        stage.worker("oh")
        client.calls(4)  # which connects again


def after_contained_client(stage: Stage) -> None:
    """The same where the host knows no process id: in a container whose first process goes on."""
    box = contained(stage)
    stage.host("oo", box=box)
    stage.worker("oo", box)
    observer = stage.observer("oo")
    script = 'exec 3<&0; "$0" client oo <&3 & wait; sleep 600'
    shell = stage.start("/bin/sh", "-c", script, stage.program("fork"), box=box)
    shell.ready()
    shell.calls(4)
    child_of(shell.ask("outlive"))  # by its number in there
    (client,) = children_of(shell.pid)
    (child,) = children_of(client)
    with outlived(child):
        os.kill(client, signal.SIGKILL)
        observer.wait_clients(0)
    shell.kill()


def after_client_without_pidfd(stage: Stage) -> None:
    """There only the socket tells: the lane stays as long as the child has it, and no longer."""
    box = denied("pidfd", error=errno.ENOSYS)
    stage.host("op", box=box)
    stage.worker("op", box)
    observer = stage.observer("op")
    client = fork(stage, "client", "op", box)
    client.calls(4)
    with outlived(child_of(client.ask("outlive"))):
        client.kill()
        stage.client("op").calls(4)
    observer.wait_clients(1)


# ---- Python


def in_python(stage: Stage, rounds: int) -> None:
    pool = stage.pool("fp", 2)
    client = stage.caller("fp")
    for _ in range(rounds):
        require(client.ask("fork_and_return") == "OK the parent's", "a child answered")
        answer = client.ask("processes")
        require(answer == "OK 285", f"multiprocessing in a handler: {answer}")
        require(client.ask("fork") == "OK 2", "a child could use the call of its parent")
        require(client.ask("forked") == "child 7", "a child could use its parent's connection")
        client.calls(4)
    observer = stage.observer("fp")
    require(len(observer.look()["workers"]) == 2, "a worker was lost by its child's end")
    os.kill(pool.pid, signal.SIGTERM)
    require(pool.ended() == 0, "the pool does not end well")


def after_python_worker(stage: Stage) -> None:
    pool = stage.pool("fo", 1)
    client = stage.client("fo")
    observer = stage.observer("fo")
    child = client.ask("outlive").removeprefix("OK ")
    require(child.isdecimal(), f"no child: {child}")
    with outlived(int(child)):
        client.say("hold")
        (running,) = observer.wait_running()
        os.kill(running["pid"], signal.SIGKILL)
        say_died(client.line())
        client.calls(4)  # by the worker that has come in its place
    os.kill(pool.pid, signal.SIGTERM)
    require(pool.ended() == 0, "the pool does not end well")


def run_forks(stage: Stage) -> None:
    report = stage.report
    rounds = report.amount(2, 100, 1)
    no_advice = denied("advice", error=errno.EINVAL)
    checks: list[tuple[str, str, Callable[[], None]]] = [
        ("client", "a client's child is refused everything", lambda: in_client(stage, (), rounds)),
        ("worker", "a handler's child is refused everything", lambda: in_worker(stage, (), rounds)),
        ("host", "a child of host and observer is refused", lambda: in_host(stage, (), rounds)),
        (
            "client-inheriting",
            "the same where children inherit the memory",
            lambda: in_client(stage, no_advice, rounds),
        ),
        (
            "worker-inheriting",
            "the same where children inherit the memory",
            lambda: in_worker(stage, no_advice, rounds),
        ),
        ("orphan-client", "a client's child does not keep its lane", lambda: after_client(stage)),
        ("orphan-worker", "a worker's child does not keep its calls", lambda: after_worker(stage)),
        ("orphan-host", "a host's child does not keep its name", lambda: after_host(stage)),
        (
            "orphan-without-pidfd",
            "without pidfds a lane ends with the last process that has its socket",
            lambda: after_client_without_pidfd(stage),
        ),
    ]
    if not why_not(stage, contained(stage)):
        checks.append(
            (
                "orphan-contained",
                "a client's child does not keep its lane, in a container",
                lambda: after_contained_client(stage),
            )
        )
    if report.scale != "planted":
        checks += [
            ("python", "Python's forks, in handler and client", lambda: in_python(stage, rounds)),
            (
                "orphan-python",
                "a Python worker's child does not keep its calls",
                lambda: after_python_worker(stage),
            ),
        ]
    for name, text, body in checks:
        if report.wants(f"forks.{name}"):
            with stage.check(f"forks.{name}", text):
                body()
