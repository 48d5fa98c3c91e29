# SPDX-License-Identifier: Apache-2.0
"""How soon a caller knows that the worker which ran its call was killed, and goes on.

Four workers, two of which run a call that only their death ends; other clients make calls
meanwhile. One of the two is killed: its caller has to get the status, naming that worker, and its
next call has to be answered. The time from the SIGKILL to the caller's having the status is what
has to stay below 10 ms in 99 of 100 cases: what a caller waits for beyond its call because of a
death. The long run checks that; a slice only says it, because tests never time anything. How much
of it the kernel needs to end the process (recovery_death) is measured from outside as well.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from figures import quantile_ms, report_delays
from fleet import Fleet, Service
from report import Report
from tally import Notice
from tree import Broken, Tree

HOLDERS = 2
LIMIT_MS = 10.0


class Recovery:
    def __init__(self, tree: Tree, program: Path, folder: Path, seed: int) -> None:
        self.tree = tree
        self.random = random.Random(f"recovery {seed}")
        self.service = Service(tree, folder, "--workers=4")
        modes = [(1, "hold")] * HOLDERS + [(1, "paced"), (2, "paced")]
        self.fleet = Fleet(tree, program, folder, modes)
        self.dead_ns: list[int] = []
        self.heard_ns: list[int] = []
        self.next_ns: list[int] = []
        self._read = [0] * HOLDERS

    def start(self) -> None:
        self.tree.until(self.service.is_idle, "ready", self.service.last_words)
        self.fleet.start()

    def kill_one(self) -> None:
        held = self.tree.until(self._held, "notice", "two workers to run a call that is held")
        pid = self.random.choice(held)
        target = self.service.aim(pid)
        if target is None:
            raise Broken("notice", f"worker {pid} has ended by itself")
        killed_ns = time.monotonic_ns()
        target.send(signal.SIGKILL)
        target.await_end(self.tree.patience_s)
        self.dead_ns.append(time.monotonic_ns() - killed_ns)
        target.close()
        notice = self.tree.until(
            lambda: self._notice(pid), "notice", f"the caller of worker {pid}, which was killed"
        )[0]
        self.heard_ns.append(notice.heard_ns - killed_ns)
        self.next_ns.append(notice.next_ns - killed_ns)

    def _held(self) -> list[int]:
        self.fleet.tend()
        running = self.service.running("hold")
        return running if len(running) == HOLDERS else []

    def _notice(self, pid: int) -> list[Notice]:
        for number, client in enumerate(self.fleet.clients[:HOLDERS]):
            notices = self.fleet.heard(client, 0, self._read[number])
            self._read[number] += len(notices)
            found = [notice for notice in notices if notice.pid == pid]
            if found:
                return found
        return []

    def end(self) -> None:
        """Holders never end by themselves; the others have to."""
        for client in self.fleet.clients[:HOLDERS]:
            self.tree.signal(client.pid, signal.SIGKILL)
            self.tree.wait(client.pid, "notice", "a client that was killed")
            self.fleet.bury(client)
        del self.fleet.clients[:HOLDERS]
        self.fleet.pause()
        self.fleet.stop()
        for pid in self.service.running("hold"):
            target = self.service.aim(pid)
            if target is not None:
                target.send(signal.SIGKILL)
                target.close()
        self.tree.until(self.service.is_idle, "ready", self.service.last_words)
        self.fleet.count_runs()
        self.service.stop()

    def close(self) -> None:
        self.service.close()
        self.fleet.close()


def recover(report: Report, tree: Tree, program: Path, folder: Path) -> None:
    kills = report.amount(30, 1000, 3)
    recovery = Recovery(tree, program, folder, report.seed)
    try:
        recovery.start()
        for done in range(kills):
            recovery.kill_one()
            report.progress(f"recovery: {done} of {kills} kills")
        recovery.end()
    finally:
        recovery.close()
    report.executions += kills
    text = f"{kills} callers of killed workers got the status that says so, then a reply"
    report.check(True, "recovery.notice", text)
    report_delays(report, "recovery_death", recovery.dead_ns)
    report_delays(report, "recovery_notice", recovery.heard_ns)
    report_delays(report, "recovery_next_reply", recovery.next_ns)
    if report.scale == "long":
        p99_ms = quantile_ms(recovery.heard_ns, 0.99)
        text = f"from SIGKILL to the caller's status p99 {p99_ms:.2f} ms, limit {LIMIT_MS:g} ms"
        report.check(p99_ms < LIMIT_MS, "recovery.p99", text)
