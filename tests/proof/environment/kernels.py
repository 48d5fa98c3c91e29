# SPDX-License-Identifier: Apache-2.0
"""Environments and roles, each with each: what a kernel lacks, containers, a user namespace.

The library has no options that switch a feature of the kernel off: seccomp is the switch. Each lack
is tried with ENOSYS, as an old kernel answers, and with EPERM, as the filters of containers do. A
role is played in the environment while the others play outside it, then all of them inside.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stage import (
    ROOT,
    Broken,
    Observer,
    Peer,
    Stage,
    all_pids,
    carom_mappings,
    inner_pid,
    namespace_of,
    open_fds,
    require,
    until,
)

ALL = (
    "memfd",
    "pidfd",
    "io_uring",
    "membarrier",
    "populate",
    "advice",
    "getrandom",
    "renameat2",
    "affinity",
    "close_range",
    "timerslack",
)
"""What may be missing at the same time."""


@dataclass(frozen=True)
class Environment:
    name: str
    box: tuple[str, ...]


def denied(*names: str, error: int) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--deny", f"{name}={error}"))


def container(stage: Stage, *more: str) -> tuple[str, ...]:
    keep = ("--keep", str(ROOT)) if str(ROOT).startswith("/tmp/") else ()
    return ("--container", str(stage.sockets), *keep, *more)


def kernels() -> list[Environment]:
    found = [Environment("memfd-without-noexec", denied("noexec_seal", error=errno.EINVAL))]
    for word, error in (("enosys", errno.ENOSYS), ("eperm", errno.EPERM)):
        for name in ("memfd", "pidfd", "io_uring", "membarrier", "getrandom", "affinity"):
            found.append(Environment(f"{name}-{word}", denied(name, error=error)))
        found.append(Environment(f"everything-{word}", denied(*ALL, error=error)))
    for name in ("populate", "advice", "renameat2", "close_range", "clone3", "timerslack"):
        found.append(Environment(f"{name}-missing", denied(name, error=errno.ENOSYS)))
    return found


def why_not(stage: Stage, box: Sequence[str], *command: str) -> str:
    """Why an environment cannot be made here; the empty string: it can."""
    done = subprocess.run(
        [stage.program("box"), *box, "--", *(command or ["/bin/true"])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return "" if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"


def contained(stage: Stage, *more: str) -> tuple[str, ...]:
    """A container: for who is not root, in a user namespace, which may be allowed."""
    user = ("--user",) if why_not(stage, container(stage)) else ()
    return container(stage, *user, *more)


def containers(stage: Stage) -> list[Environment]:
    """Those that this machine allows; the others are said to be skipped."""
    wanted = [
        Environment("container", contained(stage)),
        Environment("container-proc-outer", contained(stage, "--proc", "outer")),
        Environment(
            "container-everything-eperm",
            contained(stage, *denied(*ALL, error=errno.EPERM)),
        ),
        Environment("user-namespace", ("--user",)),
        Environment("container-user", container(stage, "--user")),
    ]
    found = []
    for environment in wanted:
        why = why_not(stage, environment.box)
        if why:
            stage.skip(environment.name, why)
        else:
            found.append(environment)
    return found


# ---- what holds in each cell


@dataclass
class Outside:
    """A service without any environment, for the roles that need only one side."""

    stage: Stage
    name: str
    host: Peer
    observer: Observer
    peers: int
    """How many peers the stage has with it."""
    fds: int
    mappings: int


def outside(stage: Stage, name: str) -> Outside:
    host = stage.host(name)
    observer = stage.observer(name)
    return Outside(
        stage,
        name,
        host,
        observer,
        stage.peer_count(),
        open_fds(host.pid),
        carom_mappings(host.pid),
    )


def is_clean(service: Outside) -> None:
    """The host has what it had before anybody came."""
    pid = service.host.pid
    service.observer.wait_clients(0)
    service.observer.wait_workers(0)
    before = (service.fds, service.mappings)
    until(
        lambda: (open_fds(pid), carom_mappings(pid)) == before,
        f"the host to have {before} descriptors and mappings",
        service.host,
    )


def say_died(answer: str) -> None:
    require(
        answer.startswith("UNAVAILABLE carom.WorkerDied: worker "),
        f"the caller of the killed worker is told: {answer}",
    )


def exercise(
    observer: Observer,
    start_worker: Callable[[], Peer],
    start_client: Callable[[], Peer],
    calls: int,
    large: bool,
) -> None:
    """Calls, a client killed, a worker killed in a call, calls by another worker."""
    worker, client = start_worker(), start_client()
    client.calls(calls)
    if large:
        require(client.ask("large") == "large", "a large call, after which memory is given back")
    require(client.ask("slots") == "slots add up", "slots are missing")
    doomed = start_client()
    doomed.calls(1)
    doomed.kill()
    observer.wait_clients(1)
    client.say("hold")
    observer.wait_running()
    worker.kill()
    say_died(client.line())
    observer.wait_workers(0)
    other = start_worker()
    client.calls(calls)
    client.leave()
    other.kill()
    observer.wait_workers(0)
    observer.wait_clients(0)


def play_worker(plain: Outside, box: Sequence[str], calls: int, large: bool) -> None:
    stage = plain.stage
    exercise(
        plain.observer,
        lambda: stage.worker(plain.name, box),
        lambda: stage.client(plain.name),
        calls,
        large,
    )
    is_clean(plain)


def play_client(plain: Outside, box: Sequence[str], calls: int, large: bool) -> None:
    stage = plain.stage
    exercise(
        plain.observer,
        lambda: stage.worker(plain.name),
        lambda: stage.client(plain.name, box),
        calls,
        large,
    )
    is_clean(plain)


def play_host(stage: Stage, name: str, box: Sequence[str], inside: bool, calls: int) -> None:
    """The host, or everybody, in the environment; then hosts without and with it follow."""
    others = box if inside else ()
    host = stage.host(name, box=box)
    observer = stage.observer(name, others)
    exercise(
        observer,
        lambda: stage.worker(name, others),
        lambda: stage.client(name, others),
        calls,
        inside,
    )
    client = stage.client(name, others)
    for next_box in ((), box, None):
        worker = stage.worker(name, others)
        client.calls(1)
        client.say("hold")
        observer.wait_running()
        host.kill()
        answer = client.line()
        require(answer.startswith(f"failed {errno.EHOSTDOWN} "), f"without a host: {answer}")
        line = worker.line()
        require(line.startswith(f"failed {errno.EHOSTDOWN} "), f"without a host: {line}")
        if next_box is None or inside:
            return
        host = stage.host(name, box=next_box)  # the client connects again to another kind of host
        observer = stage.observer(name, others)


def play_observer(plain: Outside, box: Sequence[str]) -> None:
    observer = plain.stage.observer(plain.name, box)
    require(observer.look() == {"workers": [], "clients": []}, "an observer sees peers")
    observer.peer.kill()
    is_clean(plain)


def play_caller(plain: Outside, box: Sequence[str], calls: int) -> None:
    """A client in Python, left behind by a kill."""
    worker = plain.stage.worker(plain.name)
    client = plain.stage.caller(plain.name, box)
    client.calls(calls)
    client.kill()
    plain.observer.wait_clients(0)
    worker.kill()
    is_clean(plain)


def play_pool(stage: Stage, name: str, box: Sequence[str], calls: int) -> None:
    """Host and workers in Python, with clients outside and inside; a killed worker is replaced."""
    pool = stage.pool(name, box=box)
    client = stage.client(name)
    client.calls(calls)
    observer = stage.observer(name)
    client.say("hold")
    (running,) = observer.wait_running()
    os.kill(outer_pid(pool, running["pid"]), signal.SIGKILL)
    say_died(client.line())
    client.calls(calls)
    client.leave()
    inside = stage.caller(name, box)
    inside.calls(calls)
    inside.leave()
    os.kill(pool.pid, signal.SIGTERM)
    require(pool.ended() == 0, "the pool does not end well")


def outer_pid(pool: Peer, pid: int) -> int:
    if namespace_of(pool.pid) == namespace_of("self"):
        return pid
    for candidate in all_pids():
        if namespace_of(candidate) == namespace_of(pool.pid) and inner_pid(candidate) == pid:
            return candidate
    raise Broken(f"no process {pid} in the container")


# ---- the matrix

PYTHON_IN_QUICK = ("memfd-e", "pidfd-e", "everything", "container", "user")
"""Where Python plays in the quick run, too: what Python does of its own is in these."""


def run_cells(stage: Stage, environment: Environment, plain: Outside) -> None:
    report = stage.report
    calls = report.amount(4, 400, 2)
    box = environment.box
    large = report.scale == "long" or environment.name.startswith(("advice", "everything"))
    cells: dict[str, Callable[[], None]] = {
        "client": lambda: play_client(plain, box, calls, large),
        "worker": lambda: play_worker(plain, box, calls, large),
        "host": lambda: play_host(stage, f"h{stage.count()}", box, False, calls),
        "observer": lambda: play_observer(plain, box),
        "all": lambda: play_host(stage, f"a{stage.count()}", box, True, calls),
    }
    if report.scale == "long" or (
        report.scale == "quick" and environment.name.startswith(PYTHON_IN_QUICK)
    ):
        cells["python-client"] = lambda: play_caller(plain, box, calls)
        cells["python-pool"] = lambda: play_pool(stage, f"p{stage.count()}", box, calls)
    for role, play in cells.items():
        name = f"kernels.{environment.name}.{role}"
        if report.wants(name):
            with stage.check(name, f"calls are exact and deaths are found, environment of: {role}"):
                play()


PROBES = """
import os
for probe in (
    lambda: os.memfd_create("probe"),
    lambda: os.pidfd_open(os.getpid()),
    lambda: os.getrandom(1),
    lambda: os.sched_getaffinity(0),
):
    try:
        probe()
        print(0)
    except OSError as error:
        print(error.errno)
"""


def switches_work(stage: Stage) -> None:
    """What is denied fails as it must: without that the cells would prove nothing."""
    for error in (errno.ENOSYS, errno.EPERM):
        probe = stage.start(sys.executable, "-c", PROBES, box=denied(*ALL, error=error))
        found = [probe.line() for _ in range(4)]
        require(found == [str(error)] * 4, f"with {error} denied: {found}")


def run_matrix(stage: Stage) -> None:
    plain: Outside | None = None
    why = why_not(stage, denied(*ALL, error=errno.EPERM))
    if why:
        stage.skip("kernels", why)
    elif stage.report.wants("kernels.switches"):
        with stage.check("kernels.switches", "what a kernel is to lack is lacking"):
            switches_work(stage)
    for environment in ([] if why else kernels()) + containers(stage):
        if plain is None or stage.report.failures:
            stage.clear()
            plain = outside(stage, f"plain{stage.count()}")
        run_cells(stage, environment, plain)
    stage.clear()
