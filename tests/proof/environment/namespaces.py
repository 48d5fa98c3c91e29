# SPDX-License-Identifier: Apache-2.0
"""Containers that share nothing but the folder of sockets: PID, mount, network, IPC namespaces.

In each of them a shell is process 1, a worker process 2 and a client process 3: nobody can be told
from another by a number. The host is process 1 of its own. Descriptors of processes (pidfd) are
what crosses the border.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from kernels import contained, say_died, why_not
from stage import (
    Observer,
    Peer,
    Stage,
    children_of,
    inner_pid,
    is_alive,
    namespace_of,
    open_fds,
    require,
    status_fields,
    until,
)

CREW = 'exec 3<&0; "$0" worker "$1" & "$0" client "$1" "$2" <&3 & wait; sleep 600'


@dataclass
class Crew:
    """A container with a worker and a client. What is said to it, the client hears."""

    peer: Peer
    worker_id: int
    init: int
    worker: int
    client: int

    def numbers(self) -> list[int]:
        return [inner_pid(pid) for pid in (self.init, self.worker, self.client)]


def crew(stage: Stage, service: str, box: Sequence[str]) -> Crew:
    seed = str(stage.report.seed + stage.count())
    words = ["/bin/sh", "-c", CREW, stage.program("peer"), service, seed]
    peer = stage.start(*words, box=box)
    lines = [peer.line(), peer.line()]
    stage.report.executions += 2
    require(all(line.startswith("ready") for line in lines), " | ".join(lines))
    (number,) = [int(line.split()[1]) for line in lines if line != "ready"]
    init = peer.pid
    worker, client = children_of(init)
    return Crew(peer, number, init, worker, client)


@dataclass
class Scene:
    host: Peer
    inside: Observer
    """An observer in the host's container."""
    outside: Observer
    here: Crew
    there: Crew

    def with_worker(self, number: int) -> Crew:
        return self.here if self.here.worker_id == number else self.there


def play(stage: Stage, box: Sequence[str]) -> Scene:
    host = stage.host("ns", box=box)
    return Scene(
        host,
        stage.observer("ns", box),
        stage.observer("ns"),
        crew(stage, "ns", box),
        crew(stage, "ns", box),
    )


def all_are_equal(stage: Stage, box: Sequence[str], calls: int) -> None:
    scene = play(stage, box)
    require(scene.here.numbers() == scene.there.numbers() == [1, 2, 3], "process ids differ")
    pids = (scene.host.pid, scene.here.init, scene.there.init, os.getpid())
    require(len({namespace_of(pid) for pid in pids}) == 4, "they share a PID namespace")
    for one in (scene.here, scene.there):
        one.peer.calls(calls)
        answer = one.peer.ask("who").split()
        require(answer[0] == "OK" and answer[2] == "0", f"a foreign process is called {answer}")
    seen = scene.inside.look()
    require(len(seen["workers"]) == len(seen["clients"]) == 2, f"somebody is missing: {seen}")
    for peer in seen["workers"] + seen["clients"]:
        require(peer["pid"] == 0, f"a foreign process has the number {peer['pid']}")


def worker_is_killed(stage: Stage, box: Sequence[str], calls: int) -> None:
    """And one that is only stopped is not taken for dead."""
    scene = play(stage, box)
    scene.here.peer.say("hold")
    (running,) = scene.inside.wait_running()
    killed = scene.with_worker(running["id"])
    os.kill(killed.worker, signal.SIGSTOP)
    until(lambda: status_fields(killed.worker)[:1] == ["T"], "the worker to stop")
    scene.there.peer.calls(calls)
    require(len(scene.inside.look()["workers"]) == 2, "a stopped worker was taken for dead")
    os.kill(killed.worker, signal.SIGKILL)
    answer = scene.here.peer.line()
    say_died(answer)
    require("(pid" not in answer, f"a number that means nothing: {answer}")
    scene.inside.wait_workers(1)
    for one in (scene.here, scene.there):
        one.peer.calls(calls)
        require(is_alive(one.init) and is_alive(one.client), "more than the worker died")


def client_is_killed(stage: Stage, box: Sequence[str], calls: int) -> None:
    scene = play(stage, box)
    before = open_fds(scene.host.pid)
    third = crew(stage, "ns", box)
    third.peer.calls(calls)
    os.kill(third.client, signal.SIGKILL)
    scene.inside.wait_clients(2)
    os.kill(third.worker, signal.SIGKILL)
    scene.inside.wait_workers(2)
    require(open_fds(scene.host.pid) == before, "the host keeps descriptors of the dead")
    for one in (scene.here, scene.there):
        one.peer.calls(calls)


def container_ends(stage: Stage, box: Sequence[str], calls: int) -> None:
    """Its first process is killed: everybody in it dies at once, in the middle of what they do."""
    scene = play(stage, box)
    caller = stage.client("ns", box)
    caller.say("hold")
    (running,) = scene.inside.wait_running()
    ended = scene.with_worker(running["id"])
    os.kill(ended.init, signal.SIGKILL)
    say_died(caller.line())
    scene.inside.wait_workers(1)
    scene.inside.wait_clients(2)
    caller.calls(calls)
    require(not is_alive(ended.client), "somebody in the container lives on")


def host_is_killed(stage: Stage, box: Sequence[str], calls: int) -> None:
    """Another one, process 1 again, takes the name over; a third one finds it taken."""
    scene = play(stage, box)
    scene.here.peer.calls(calls)
    scene.here.peer.say("hold")
    scene.inside.wait_running()
    scene.host.kill()
    answer = scene.here.peer.line()
    require(answer.startswith(f"failed {errno.EHOSTDOWN} "), f"without a host: {answer}")
    for one in (scene.here, scene.there):
        worker = one.worker
        until(lambda pid=worker: not is_alive(pid), "the worker to notice")  # type: ignore[misc]
    stage.host("ns", box=box)
    third = stage.start(stage.program("peer"), "host", "ns", box=box)
    line = third.line()
    require(line.startswith(f"failed {errno.EADDRINUSE} "), f"a second host: {line}")
    stage.worker("ns", box)
    for one in (scene.here, scene.there):
        calls_again(one, calls)
    stage.report.executions += 2 * calls


def calls_again(one: Crew, calls: int) -> None:
    """The client of a crew calls: the first call may find out that the host is gone, and its worker
    says so once when it ends."""
    down = f"failed {errno.EHOSTDOWN}"
    line = one.peer.ask(f"calls {calls}")
    if line.startswith(f"{down} "):
        line = one.peer.line()
    if line.startswith(f"failed -{errno.EHOSTDOWN} after 0 calls"):
        line = one.peer.ask(f"calls {calls}")
    if line.startswith(f"{down} "):
        line = one.peer.line()
    require(line == f"calls {calls}", f"after the host's return: {line}")


CHECKS = {
    "equal": ("peers with equal process ids are told apart", all_are_equal),
    "worker-killed": ("a killed worker is found, a stopped one left alone", worker_is_killed),
    "client-killed": ("a killed client's lane goes, the other's stays", client_is_killed),
    "ended": ("the end of a container is the end of its peers", container_ends),
    "host-killed": ("a host's end is noticed, and another takes over", host_is_killed),
}


def run_namespaces(stage: Stage) -> None:
    if not any(stage.report.wants(f"namespaces.{name}") for name in CHECKS):
        return
    box = contained(stage)
    why = why_not(stage, box)
    if why:
        stage.skip("namespaces", why)
        return
    calls = stage.report.amount(20, 20000, 4)
    for name, (text, body) in CHECKS.items():
        if stage.report.wants(f"namespaces.{name}"):
            with stage.check(f"namespaces.{name}", text):
                body(stage, box, calls)
