# SPDX-License-Identifier: Apache-2.0
"""Who is stopped is not dead: SIGSTOP for a minute, for a worker with a running call, a client and
the host. Others work meanwhile, nobody is replaced or disconnected, no call ends in anything but
its reply, and after SIGCONT the worker finishes its call and the client its own.
"""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from pathlib import Path

import carom
from fleet import Client, Fleet, Service
from processes import status_fields
from report import Report
from tally import Tally
from tree import Broken, Target, Tree

NAP_S = 0.5
CLIENTS = [(1, "paced"), (2, "paced")]


class Nap(threading.Thread):
    """A call that sleeps in its handler; which worker ran it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.pid = 0
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with carom.connect("storm") as client:
                self.pid = int(client.call("nap", b"%g" % NAP_S))
        except Exception as error:
            self.error = error


class Scene:
    """A service that works for two clients."""

    def __init__(self, report: Report, tree: Tree, program: Path, folder: Path) -> None:
        self.report = report
        self.tree = tree
        self.stop_s = {"quick": 1.5, "long": 60.0, "planted": 1.5}[report.scale]
        self.service = Service(tree, folder, "--workers=2")
        self.fleet = Fleet(tree, program, folder, CLIENTS)
        tree.until(self.service.is_idle, "ready", self.service.last_words)
        self.workers = sorted(self.service.workers())
        self.fleet.start()
        for client in self.fleet.clients:
            self.await_progress(client)

    def await_progress(self, client: Client) -> None:
        """It has had some replies more."""
        before = self.fleet.now(client).replies
        self.tree.until(
            lambda: self.fleet.now(client).replies > before + 20,
            "others",
            f"replies for client {client.number}",
        )

    def watch_others(self, role: str, pid: int, others: list[Client]) -> None:
        """For as long as somebody is stopped: the others have replies all the time."""
        until_s = time.monotonic() + self.stop_s
        while time.monotonic() < until_s:
            for client in others:
                self.await_progress(client)
            time.sleep(min(0.2, max(0.0, until_s - time.monotonic())))
            self.report.progress(f"stopped: {role}, {until_s - time.monotonic():.0f} s more")
            if not is_stopped(pid):
                raise Broken(role, f"process {pid} of the {role} is not stopped any more")

    def expect_nothing_has_happened(self, role: str) -> None:
        """Nobody was replaced, no call ended but in its reply."""
        described = self.service.describe()
        workers = sorted(self.service.workers())
        if described is None or described["restarts"] or workers != self.workers:
            words = self.service.last_words()
            raise Broken(role, f"workers {self.workers} became {workers}: {words}")
        for client in self.fleet.clients:
            self.fleet.check(client, 6)
            if strange := strange_ends(self.fleet.now(client)):
                raise Broken(role, f"client {client.number} got {strange}")

    def report_held(self, role: str, text: str) -> None:
        self.report.executions += 1
        self.report.check(True, f"stopped.{role}", f"stopped for {self.stop_s:g} s, {text}")

    # ---- three of them

    def aim_at_napper(self) -> Target:
        pids = self.tree.until(lambda: self.service.running("nap"), "worker", "a worker to nap")
        target = self.service.aim(pids[0])
        if target is None:
            raise Broken("worker", f"worker {pids[0]} has ended")
        return target

    def stop_napper(self) -> tuple[Nap, Target]:
        """A worker that is stopped in a call, however slow this machine is."""
        for _ in range(20):
            nap = Nap()
            target = self.aim_at_napper()
            target.send(signal.SIGSTOP)
            self.tree.until(partial(is_stopped, target.pid), "worker", "a worker to stop")
            if self.service.running("nap") == [target.pid] and nap.is_alive():
                return nap, target
            target.send(signal.SIGCONT)
            target.close()
            nap.join(self.tree.patience_s)
        raise Broken("worker", f"naps of {NAP_S} s were over before their worker was stopped")

    def stop_worker(self) -> None:
        nap, target = self.stop_napper()
        pid = target.pid
        self.watch_others("worker", pid, self.fleet.clients)
        if not nap.is_alive():
            raise Broken("worker", f"its call ended while it was stopped: {nap.error!r}")
        self.expect_nothing_has_happened("worker")
        target.send(signal.SIGCONT)
        target.close()
        self.tree.until(lambda: not nap.is_alive(), "worker", "the end of its call")
        if nap.pid != pid:
            raise Broken("worker", f"its call was answered by {nap.pid}: {nap.error!r}")
        self.report_held("worker", "it finished its call, and others were served meanwhile")

    def stop_client(self) -> None:
        client, *others = self.fleet.clients
        self.tree.signal(client.pid, signal.SIGSTOP)
        self.watch_others("client", client.pid, others)
        self.tree.signal(client.pid, signal.SIGCONT)
        self.await_progress(client)
        self.expect_nothing_has_happened("client")
        self.report_held("client", "it went on with its calls on the same connection")

    def stop_host(self) -> None:
        self.tree.signal(self.service.pid, signal.SIGSTOP)
        self.watch_others("host", self.service.pid, self.fleet.clients)
        self.tree.signal(self.service.pid, signal.SIGCONT)
        for client in self.fleet.clients:
            self.await_progress(client)
        self.expect_nothing_has_happened("host")
        self.report_held("host", "calls went on without it, and nobody left")

    def end(self) -> None:
        self.fleet.pause()
        self.fleet.stop()
        self.tree.until(self.service.is_idle, "ready", self.service.last_words)
        self.fleet.count_runs()
        self.service.stop()


def is_stopped(pid: int) -> bool:
    return status_fields(pid)[:1] == ["T"]


def strange_ends(tally: Tally) -> str:
    """Of calls. Deadlines that pass and calls that are cancelled end as they should."""
    ends = {"deaths of workers": tally.died, "losses of the connection": tally.lost}
    return ", ".join(f"{count} {what}" for what, count in ends.items() if count)


def stop_everybody(report: Report, tree: Tree, program: Path, folder: Path) -> None:
    scene = Scene(report, tree, program, folder)
    try:
        scene.stop_worker()
        scene.stop_client()
        scene.stop_host()
        scene.end()
    finally:
        scene.service.close()
        scene.fleet.close()
