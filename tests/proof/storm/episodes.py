# SPDX-License-Identifier: Apache-2.0
"""The storm itself: episodes of some hundred kills, each followed by a quiet point.

An episode starts a service, notes what its processes own, starts clients, and then kills and stops
at random. At the quiet point everybody goes on, every call has to end, clients leave, and host,
template, workers and clients must own what they did at the beginning, in whatever process they
are by now. Then the service stops in order.
What is drawn depends on the seed and the number of the episode alone; what the processes do
between two kills does not.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from figures import report_delays
from fleet import Client, Fleet, Service
from report import Report
from tally import Tally
from tree import Broken, Target, Tree

ACTIONS = {
    "kill worker": 60,
    "kill client": 23,
    "kill template": 4,
    "kill host": 2,
    "stop worker": 5,
    "stop client": 3,
    "stop template": 1,
    "stop host": 2,
}
LONGEST_STOP_S = {"worker": 0.06, "client": 0.06, "template": 0.06, "host": 0.03}
WHILE_IT_STARTS = 0.2
"""Part of the actions that is taken while the service starts, when only clients and the host are
there to be killed.
"""
UNDISTURBED_NS = 200_000_000
"""A death is not timed if anybody was stopped, or the host killed, within this time after it."""
CLIENTS = [(1, "storm"), (2, "storm"), (1, "storm"), (3, "paced")]


@dataclass
class Stopped:
    """Somebody who is to go on, or to be killed while stopped."""

    role: str
    until_s: float
    target: Target | None = None
    child: int = 0


@dataclass
class Counts:
    """Of all episodes."""

    kills: Counter[str]
    stops: Counter[str]
    calls: Tally
    delays_ns: list[int]
    runs: int = 0
    services: int = 0
    restarts: int = 0

    @property
    def killed(self) -> int:
        return sum(self.kills.values())


class Episode:
    """One of them. number: of the episode, from 1."""

    def __init__(
        self, report: Report, tree: Tree, program: Path, folder: Path, number: int
    ) -> None:
        self.tree = tree
        self.report = report
        self.random = random.Random(f"storm {report.seed} {number}")
        self.options = self._choose_options(number)
        self.slowness = 4 if "--no-preload" in self.options else 1
        self.kills: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self.restarts = 0
        self.delays_ns: list[int] = []
        self.stopped: list[Stopped] = []
        self._last_killed = 0
        self._killed_ns: dict[int, int] = {}
        self._heard: dict[tuple[int, int], int] = {}
        self.service = Service(tree, folder, *self.options)
        self.fleet = Fleet(tree, program, folder, CLIENTS)

    def _choose_options(self, number: int) -> list[str]:
        options = [f"--workers={self.random.randint(2, 4)}"]
        options.append(f"--threads={self.random.choice((1, 1, 2))}")
        if self.random.random() < 0.5:
            options.append("--name=storm")
        if self.random.random() < 0.25:
            options.append("--no-spin")
        if self.random.random() < 0.1:
            options.append("--no-preload")
        return options

    # ---- the course of it

    def run(self, kills: int) -> None:
        self._await(self.service.is_idle)
        before = self.service.belongings()
        self.fleet.start()
        self.fleet.pause()
        of_clients = self.fleet.belongings()
        self.fleet.resume()
        while sum(self.kills.values()) < kills:
            self._tend()
            if self.service.is_announced() or self.random.random() < WHILE_IT_STARTS:
                self._act()
            text = f"{sum(self.kills.values())} of {kills} kills of this episode"
            self.report.progress(text)
            time.sleep(self._pause_s())
        self._calm(of_clients)
        self._await_owned(self.service.belongings, before)
        expected = self.service.pid
        self.tree.until(
            lambda: not self.tree.others(expected),
            "left",
            lambda: f"processes to end: {self.tree.others(expected)}",
        )
        self.service.stop()

    def close(self) -> None:
        for stopped in self.stopped:
            if stopped.target is not None:
                stopped.target.close()
        self.service.close()
        self.fleet.close()

    def _pause_s(self) -> float:
        if self.random.random() < 0.7:
            return self.random.uniform(0.0, 0.01)
        return self.random.uniform(0.01, 0.07)

    def _await(self, condition: Callable[[], bool]) -> None:
        def look() -> bool:
            self._tend_service()
            return condition()

        self.tree.until(look, "ready", lambda: f"the service: {self.service.last_words()}")

    def _await_owned(self, look: Callable[[], object], before: object) -> None:
        """Somebody has what he had at the beginning, be it by another process."""
        self.tree.until(lambda: look() == before, "owned", lambda: f"{before}; now {look()}")

    def _calm(self, of_clients: list[Counter[str]]) -> None:
        """The quiet point. of_clients: what each of them had at the beginning."""
        for stopped in self.stopped:
            self._resume(stopped, kill=False)
        self.stopped.clear()
        self._await(self.service.is_ready)
        self.fleet.pause()
        self._await_owned(self.fleet.belongings, of_clients)
        self._listen()
        self.fleet.stop()
        self._await(self.service.is_idle)
        self.fleet.count_runs()

    def _tend(self) -> None:
        """Everybody who has been killed comes back; whose time has come goes on, or is killed."""
        now_s = time.monotonic()
        for stopped in [s for s in self.stopped if s.until_s <= now_s]:
            self.stopped.remove(stopped)
            self._resume(stopped, kill=self.random.random() < 0.4)
        self._listen()
        self._tend_service()
        self.fleet.tend()

    def _tend_service(self) -> None:
        status = self.tree.ended(self.service.pid)
        if status is None:
            return
        if status != -signal.SIGKILL:
            words = self.service.last_words()
            raise Broken("end", f"the supervisor ended with status {status}: {words}")
        self.restarts += 1
        self.service.restart()

    # ---- kills and stops

    def _act(self) -> None:
        action = self.random.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        verb, role = action.split()
        if role == "host":
            self._strike_child(verb, role, self.service.pid)
        elif role == "client":
            self._strike_child(verb, role, self._choose_client().pid)
        else:
            self._strike_pool(verb, role)

    def _choose_client(self) -> Client:
        return self.random.choice(self.fleet.clients)

    def _strike_child(self, verb: str, role: str, pid: int) -> None:
        if pid == self._last_killed or any(stopped.child == pid for stopped in self.stopped):
            return
        if verb == "kill":
            self._note_disturbance(role == "host")
            self.tree.signal(pid, signal.SIGKILL)
            self.kills[role] += 1
            self._last_killed = pid  # it may not have ended when the next one is chosen
        else:
            self._note_disturbance(True)
            self.tree.signal(pid, signal.SIGSTOP)
            self._put_off(Stopped(role, 0.0, child=pid))

    def _strike_pool(self, verb: str, role: str) -> None:
        if role == "template":
            template = self.service.template()
            candidates = [template] if template is not None else []
        else:
            candidates = self.service.workers()
        target = self.service.aim(self.random.choice(candidates)) if candidates else None
        if target is None:
            return
        if verb == "kill":
            if not self.stopped:
                self._killed_ns[target.pid] = time.monotonic_ns()
            self.kills[role] += target.send(signal.SIGKILL)
            target.close()
        else:
            self._note_disturbance(True)
            target.send(signal.SIGSTOP)
            self._put_off(Stopped(role, 0.0, target=target))

    def _put_off(self, stopped: Stopped) -> None:
        stopped.until_s = time.monotonic() + self.random.uniform(0.0, LONGEST_STOP_S[stopped.role])
        self.stops[stopped.role] += 1
        self.stopped.append(stopped)

    def _resume(self, stopped: Stopped, kill: bool) -> None:
        number = signal.SIGKILL if kill else signal.SIGCONT
        if stopped.target is not None:
            self.kills[f"stopped {stopped.role}"] += stopped.target.send(number) and kill
            stopped.target.close()
        else:
            self.tree.signal(stopped.child, number)
            self.kills[f"stopped {stopped.role}"] += kill

    # ---- how soon callers know

    def _note_disturbance(self, disturbs: bool) -> None:
        if disturbs or self.stopped:
            after_ns = time.monotonic_ns() - UNDISTURBED_NS
            self._killed_ns = {pid: ns for pid, ns in self._killed_ns.items() if ns < after_ns}

    def _listen(self) -> None:
        """What clients have noted of deaths since the last time."""
        for client in self.fleet.clients:
            for thread in range(client.threads):
                key = (client.launch, thread)
                notices = self.fleet.heard(client, thread, self._heard.get(key, 0))
                self._heard[key] = self._heard.get(key, 0) + len(notices)
                for notice in notices:
                    killed_ns = self._killed_ns.get(notice.pid)
                    if killed_ns is not None and not self.stopped:
                        self.delays_ns.append(notice.heard_ns - killed_ns)


def ride_out(report: Report, tree: Tree, program: Path, folder: Path) -> None:
    total = report.amount(200, 20_000, 80)
    each = report.amount(100, 400, 80)
    counts = Counts(Counter(), Counter(), Tally(), [])
    begun_s = time.monotonic()
    number = 0
    while counts.killed < total:
        number += 1
        episode = Episode(report, tree, program, folder, number)
        try:
            episode.run(min(each // episode.slowness, total - counts.killed))
        except Broken as broken:
            options = " ".join(episode.options)
            text = f"{broken} [episode {number} of --seed {report.seed}: {options}]"
            raise Broken(broken.name, text) from None
        finally:
            episode.close()
        add(counts, episode)
        seconds = time.monotonic() - begun_s
        report.progress(f"storm: {counts.killed} of {total} kills in {seconds:.0f} s", 0.0)
    report.executions += counts.killed
    tell(report, counts, time.monotonic() - begun_s)


def add(counts: Counts, episode: Episode) -> None:
    counts.kills += episode.kills
    counts.stops += episode.stops
    counts.calls.add(episode.fleet.total)
    counts.delays_ns += episode.delays_ns
    counts.runs += episode.fleet.run_count
    counts.restarts += episode.restarts
    counts.services += 1


def tell(report: Report, counts: Counts, seconds: float) -> None:
    calls = counts.calls
    kinds = ", ".join(f"{count} {role}s" for role, count in sorted(counts.kills.items()))
    report.check(
        True,
        "storm.calls",
        f"{counts.killed} kills ({kinds}), {counts.stops.total()} stops in {seconds:.0f} s: of "
        f"{calls.begun} calls {calls.replies} ended in their exact bytes, {calls.statuses} in a "
        f"status, {calls.locals} in a local error that fits, {calls.abandoned} were abandoned, "
        f"{calls.begun - calls.ended} died with their client; none hung",
    )
    text = f"{counts.runs} runs of calls that may not run twice: none did"
    report.check(True, "storm.once", text)
    report.check(
        True,
        "storm.owned",
        f"after each of {counts.services} episodes with {counts.restarts} restarts host, template, "
        "workers and clients had the descriptors and mappings of the beginning, and no process "
        "was left",
    )
    report.figure("storm_kills", counts.killed, "kills")
    report.figure("storm_calls", calls.begun, "calls")
    report.figure("storm_kills_per_second", counts.killed / seconds, "1/s")
    report_delays(report, "storm_notice", counts.delays_ns)
