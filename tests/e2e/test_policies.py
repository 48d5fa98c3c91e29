# SPDX-License-Identifier: Apache-2.0
"""The decisions of the pool, without a process: how many workers, which to exchange, what to do
about a stuck call, when to restart, which files changed. All times are made up."""

from __future__ import annotations

import heapq
import itertools
import math
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from carom.pool.autoscale import Autoscaler, Decision, Sample
from carom.pool.crashes import Crashes
from carom.pool.recycle import Recycler, Usage
from carom.pool.settings import Settings
from carom.pool.stuck import Running, StuckWatch
from carom.pool.watch import FileWatch

LOOK_S = 0.05
FORK_S = 0.01
TARGET_S = 0.01


@dataclass
class Simulation:
    """A service with one queue and workers that come after FORK_S, looked at every LOOK_S."""

    scaler: Autoscaler
    service_s: float
    workers: int = 1
    random: Random = field(default_factory=lambda: Random(1))
    spread: bool = False
    """Whether calls last differently long (exponentially)."""
    now_s: float = 0.0
    finished: int = 0
    busy: int = 0
    callers: int = 0
    """Closed loop: each makes its next call when it has the answer."""
    waiting: deque[float] = field(default_factory=deque)
    waits: list[tuple[float, float]] = field(default_factory=list)
    decisions: list[tuple[float, Decision]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wanted = self.workers
        self.ready = self.workers
        self._number = itertools.count()
        self._events: list[tuple[float, int, str]] = []
        self.later(LOOK_S, "look")

    def later(self, delay_s: float, what: str) -> None:
        heapq.heappush(self._events, (self.now_s + delay_s, next(self._number), what))

    def run(self, seconds: float, calls_per_s: float = 0.0) -> None:
        """Goes on for a time under an open load with random arrivals (0: none)."""
        end_s = self.now_s + seconds
        self._events = [event for event in self._events if event[2] != "arrive"]
        heapq.heapify(self._events)
        self._rate = calls_per_s
        if calls_per_s:
            self.later(0.0, "arrive")
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, what = heapq.heappop(self._events)
            getattr(self, f"on_{what}")()
        self.now_s = end_s

    def close_loop(self, callers: int) -> None:
        """So many callers from now on, each with one call at a time."""
        for _ in range(callers - self.callers):
            self.later(0.0, "call")
        self.callers = callers

    def on_arrive(self) -> None:
        self.on_call()
        self.later(self.random.expovariate(self._rate), "arrive")

    def on_call(self) -> None:
        self.waiting.append(self.now_s)
        self.claim()

    def on_worker(self) -> None:
        self.ready += self.ready < self.wanted
        self.claim()

    def on_done(self) -> None:
        self.busy -= 1
        self.finished += 1
        if self.callers:
            self.on_call()
        self.claim()

    def claim(self) -> None:
        while self.waiting and self.busy < self.ready:
            came_s = self.waiting.popleft()
            self.waits.append((came_s, self.now_s - came_s))
            self.busy += 1
            mean = self.service_s
            self.later(self.random.expovariate(1 / mean) if self.spread else mean, "done")

    def on_look(self) -> None:
        # The age of the first call in a ring is seen only by looking twice at the same call.
        oldest_s = self.now_s - self.waiting[0] if self.waiting else 0.0
        seen_s = oldest_s if oldest_s >= LOOK_S else 0.0
        sample = Sample(
            self.now_s,
            len(self.waiting),
            seen_s,
            self.finished,
            self.busy,
            self.ready,
            self.wanted,
        )
        if decision := self.scaler.decide(sample):
            self.decisions.append((self.now_s, decision))
            for _ in range(decision.wanted - self.wanted):
                self.later(FORK_S, "worker")
            self.wanted = decision.wanted
            self.ready = min(self.ready, self.wanted)
        self.later(LOOK_S, "look")

    def sizes(self) -> list[int]:
        return [decision.wanted for _, decision in self.decisions]

    def mean_wait_s(self, since_s: float) -> float:
        waits = [wait_s for came_s, wait_s in self.waits if came_s >= since_s]
        return sum(waits) / len(waits)


def turns(sizes: list[int]) -> int:
    """How often growth follows shrinking or the other way round."""
    steps = [b > a for a, b in itertools.pairwise(sizes)]
    return sum(a != b for a, b in itertools.pairwise(steps))


def samples(
    *, waiting: int, ready: int, finished: float = 100.0, count: int = 10, **more: int
) -> Iterator[Sample]:
    """Looks at a steady state: so many calls waiting, so many finished per second."""
    for number in range(count):
        now_s = number * LOOK_S
        wanted = more.get("wanted", ready)
        busy = more.get("busy", ready)
        yield Sample(now_s, waiting, 0.0, int(finished * now_s), busy, ready, wanted)


# ---- autoscale


@pytest.mark.parametrize("seed", range(40))
def test_a_step_of_random_size_meets_enough_workers_within_a_second(seed: int) -> None:
    random = Random(seed)
    load = random.uniform(1.2, 24.0)
    service_s = random.choice([0.001, 0.005, 0.01, 0.03, 0.1])
    simulation = Simulation(
        Autoscaler(1, 64, TARGET_S, 30.0), service_s, random=random, spread=random.random() < 0.5
    )
    simulation.run(1.0, 0.05 / service_s)
    assert simulation.wanted <= 2
    simulation.run(1.0, load / service_s)
    assert simulation.ready >= math.ceil(load)
    simulation.run(4.0, load / service_s)
    assert simulation.mean_wait_s(since_s=4.0) < max(TARGET_S, service_s)
    assert simulation.wanted <= 5 * math.ceil(load)


@pytest.mark.parametrize("callers", [2, 3, 4, 8, 16, 40])
def test_callers_that_wait_for_their_answers_get_enough_workers(callers: int) -> None:
    simulation = Simulation(Autoscaler(1, 64, TARGET_S, 30.0), 0.01)
    simulation.close_loop(callers)
    simulation.run(1.0)
    assert math.ceil(callers / 2) <= simulation.ready <= callers
    assert simulation.mean_wait_s(since_s=0.9) <= TARGET_S * 1.05


@pytest.mark.parametrize("seed", range(12))
def test_a_steady_load_does_not_flap(seed: int) -> None:
    random = Random(seed)
    load, service_s = random.uniform(0.3, 10.0), random.choice([0.005, 0.01])
    simulation = Simulation(Autoscaler(1, 32, TARGET_S, 5.0), service_s, random=random)
    simulation.run(60.0, load / service_s)
    assert turns([1, *simulation.sizes()]) <= 1
    changes = [0.0, *(at_s for at_s, _ in simulation.decisions)]
    sizes = [1, *simulation.sizes()]
    for (before, after), (then_s, now_s) in zip(
        itertools.pairwise(sizes), itertools.pairwise(changes), strict=True
    ):
        assert after > before or now_s - then_s >= 5.0


@pytest.mark.parametrize("seed", range(10))
def test_after_the_load_only_the_fewest_remain(seed: int) -> None:
    random = Random(seed)
    fewest = random.randint(1, 4)
    simulation = Simulation(Autoscaler(fewest, 16, TARGET_S, 0.5), 0.01, fewest, random=random)
    simulation.run(3.0, random.uniform(600.0, 1500.0))
    most = simulation.wanted
    assert most > fewest
    simulation.run((most - fewest + 1) * 0.6, 1.0)
    assert simulation.wanted == fewest
    simulation.run(5.0, 1.0)
    assert simulation.wanted == fewest


def test_never_beyond_the_limits() -> None:
    simulation = Simulation(Autoscaler(2, 5, TARGET_S, 0.3), 0.05, 2)
    for _ in range(5):
        simulation.run(2.0, 2000.0)
        simulation.waiting.clear()
        simulation.run(4.0)
    assert set(simulation.sizes()) == {2, 3, 4, 5}


def test_a_step_doubles_at_most_and_waits_for_the_workers_to_come() -> None:
    scaler = Autoscaler(1, 64, TARGET_S, 30.0)
    decisions = [scaler.decide(look) for look in samples(waiting=500, ready=3)]
    assert decisions[0] is None
    assert {decision.wanted for decision in decisions if decision} == {6}
    waiting_for_them = samples(waiting=500, ready=3, wanted=6, count=19)
    assert not any(scaler.decide(look) for look in waiting_for_them)


def test_a_worker_that_never_comes_does_not_hold_up_the_others_for_ever() -> None:
    scaler = Autoscaler(1, 64, TARGET_S, 30.0)
    looks = samples(waiting=500, ready=3, wanted=6, count=40)
    first = next((look.now_s, decision) for look in looks if (decision := scaler.decide(look)))
    assert first[1].wanted == 12
    assert first[0] >= 1.0


def test_one_look_is_not_enough() -> None:
    scaler = Autoscaler(1, 4, TARGET_S, 30.0)
    for number in range(100):
        waiting = 50 if number % 2 else 0
        assert not scaler.decide(Sample(number * LOOK_S, waiting, 0.0, number, 1, 1, 1))


def test_calls_that_nobody_finishes_are_seen_by_their_age() -> None:
    scaler = Autoscaler(1, 8, TARGET_S, 30.0)
    assert not scaler.decide(Sample(0.0, 2, 0.0, 7, 1, 1, 1))
    assert not scaler.decide(Sample(0.05, 2, 0.05, 7, 1, 1, 1))
    decision = scaler.decide(Sample(0.10, 2, 0.10, 7, 1, 1, 1))
    assert decision == Decision(2, "calls wait 100 ms (target 10 ms), 2 waiting, 1 worker busy")


def test_no_more_workers_than_calls() -> None:
    scaler = Autoscaler(1, 64, TARGET_S, 30.0)
    looks = samples(waiting=1, ready=8, finished=1.0)
    decisions = [decision for look in looks if (decision := scaler.decide(look))]
    assert not decisions or {decision.wanted for decision in decisions} == {9}


def test_many_calls_that_are_answered_quickly_need_no_worker() -> None:
    scaler = Autoscaler(1, 64, TARGET_S, 30.0)
    looks = samples(waiting=256, ready=1, finished=1e6, count=100)
    assert not any(scaler.decide(look) for look in looks)


def test_a_queue_that_shrinks_needs_no_worker() -> None:
    scaler = Autoscaler(1, 64, TARGET_S, 30.0)
    for number in range(10):
        look = Sample(number * LOOK_S, 200 - 20 * number, 0.0, 25 * number, 2, 2, 2)
        assert not scaler.decide(look)


def test_the_reasons_can_be_read() -> None:
    simulation = Simulation(Autoscaler(1, 4, TARGET_S, 1.0), 0.01)
    simulation.close_loop(8)
    simulation.run(0.2)
    assert simulation.decisions[0][1].reason == (
        "calls wait 60 ms (target 10 ms), 7 waiting, 1 worker busy"
    )
    looks = samples(waiting=0, ready=3, busy=1, count=30)
    scaler = Autoscaler(1, 4, TARGET_S, 1.0)
    decision = next(decision for look in looks if (decision := scaler.decide(look)))
    assert decision == Decision(
        2, "one fewer would have done for 1 s: 1.0 of 3 workers busy on average"
    )


def test_busy_workers_all_stay() -> None:
    scaler = Autoscaler(1, 4, TARGET_S, 0.5)
    assert not any(scaler.decide(look) for look in samples(waiting=0, ready=3, count=200))


def test_a_worker_more_by_signal_stays_for_an_idle_time() -> None:
    scaler = Autoscaler(1, 4, TARGET_S, 1.0)
    for number in range(39):
        wanted = 2 if number < 19 else 3
        assert not scaler.decide(Sample(number * LOOK_S, 0, 0.0, 0, 0, wanted, wanted))
    assert scaler.decide(Sample(39 * LOOK_S, 0, 0.0, 0, 0, 3, 3)) is not None


# ---- recycle


def settings(**limits: float) -> Settings:
    return Settings("app:service", **limits)


@pytest.mark.parametrize(
    ("limits", "usage", "reason"),
    [
        ({}, Usage(1, 1e9, 1 << 60, 1 << 60), None),
        ({"max_requests": 100}, Usage(1, 0.0, 99, 0), None),
        ({"max_requests": 100}, Usage(1, 0.0, 104, 0), "ran 104 calls (--max-requests 100)"),
        ({"max_rss": 1 << 30}, Usage(1, 0.0, 0, (1 << 30) - 1), None),
        (
            {"max_rss": 1 << 30},
            Usage(1, 0.0, 0, 3 << 29),
            "uses 1536.0 MiB of memory (--max-rss 1024.0 MiB)",
        ),
        ({"max_age": 60.0}, Usage(1, 59.9, 0, 0), None),
        ({"max_age": 60.0}, Usage(1, 61.0, 0, 0), "is 61.0 s old (--max-age 60 s)"),
    ],
)
def test_a_worker_goes_at_its_limit(
    limits: dict[str, float], usage: Usage, reason: str | None
) -> None:
    assert Recycler(settings(**limits)).reason(usage) == reason


def test_the_jitter_is_drawn_once_for_each_worker() -> None:
    recycler = Recycler(settings(max_requests=1000, max_requests_jitter=500), Random(3))
    limits = {}
    for pid in range(200):
        limits[pid] = next(
            calls for calls in range(1000, 1501) if recycler.reason(Usage(pid, 0.0, calls, 0))
        )
        assert not recycler.reason(Usage(pid, 0.0, limits[pid] - 1, 0))
        assert recycler.reason(Usage(pid, 0.0, limits[pid], 0))
    assert len(set(limits.values())) > 100
    extra = limits[7] - 1000
    reason = recycler.reason(Usage(7, 0.0, 1500, 0))
    assert reason == f"ran 1500 calls (--max-requests 1000 + {extra})"


def test_a_worker_with_a_pid_that_was_used_before_draws_anew() -> None:
    recycler = Recycler(settings(max_requests=1000, max_requests_jitter=500), Random(3))
    drawn = set()
    for _ in range(50):
        usages = (Usage(7, 0.0, calls, 0) for calls in range(1000, 1501))
        drawn.add(next(usage.calls for usage in usages if recycler.reason(usage)))
        recycler.forget(7)
    recycler.forget(8)
    assert len(drawn) > 30


# ---- stuck


def steps(
    watch: StuckWatch, running: list[Running], until_s: float, every_s: float
) -> list[tuple[str, int, float]]:
    """What is done to whom when, if nothing of it helps."""
    looks = [number * every_s for number in range(int(until_s / every_s) + 1)]
    return [
        (action.kind, action.worker, round(now_s, 3))
        for now_s in looks
        for action in watch.actions(now_s, running)
    ]


def call(worker: int = 1, timeout_s: float | None = None, since_s: float = 0.0) -> Running:
    return Running(100 + worker, worker, "hang", timeout_s, since_s)


def test_stack_then_exception_then_the_end() -> None:
    watch = StuckWatch(5.0, 2.0)
    found = steps(watch, [call()], 100.0, 0.02)
    assert found == [("dump", 1, 2.0), ("interrupt", 1, 2.06), ("kill", 1, 7.0)]


def test_without_a_limit_nobody_is_touched() -> None:
    assert not steps(StuckWatch(5.0), [call(), call(2)], 1e6, 1e3)


def test_a_method_has_its_own_limit() -> None:
    running = [call(1), call(2, timeout_s=10.0), call(3, timeout_s=0.5)]
    found = steps(StuckWatch(1.0, 2.0), running, 60.0, 0.1)
    assert [when_s for kind, worker, when_s in found if worker == 1] == [2.0, 2.1, 3.0]
    assert [when_s for kind, worker, when_s in found if worker == 2] == [10.0, 10.1, 11.0]
    assert [when_s for kind, worker, when_s in found if worker == 3] == [0.5, 0.6, 1.5]
    own = steps(StuckWatch(1.0), running, 60.0, 0.1)
    assert {worker for _, worker, _ in own} == {2, 3}


def test_every_step_has_a_look_of_its_own() -> None:
    assert steps(StuckWatch(0.0, 1.0), [call()], 9.0, 0.25) == [
        ("dump", 1, 1.0),
        ("interrupt", 1, 1.25),
        ("kill", 1, 1.5),
    ]


def test_a_supervisor_that_was_stopped_still_gives_the_grace_time() -> None:
    watch = StuckWatch(5.0, 2.0)
    assert [a.kind for a in watch.actions(60.0, [call()])] == ["dump"]
    assert not watch.actions(60.04, [call()])
    assert [a.kind for a in watch.actions(60.06, [call()])] == ["interrupt"]
    assert not watch.actions(64.9, [call()])
    assert [a.kind for a in watch.actions(65.1, [call()])] == ["kill"]
    assert not watch.actions(99.0, [call()])


def test_the_next_call_of_a_worker_is_another_one() -> None:
    watch = StuckWatch(1.0, 1.0)
    assert [a.kind for a in watch.actions(1.0, [call(since_s=0.0)])] == ["dump"]
    assert not watch.actions(1.1, [call(since_s=1.05)])
    assert [a.kind for a in watch.actions(2.1, [call(since_s=1.05)])] == ["dump"]
    assert not watch.actions(2.2, [])
    assert [a.kind for a in watch.actions(2.3, [call(since_s=1.05)])] == ["dump"]


def test_an_action_says_what_the_log_needs() -> None:
    (action,) = StuckWatch(1.0, 30.0).actions(31.5, [call(4, timeout_s=1.5, since_s=1.0)])
    assert (action.pid, action.worker, action.method) == (104, 4, "hang")
    assert (action.ran_s, action.limit_s) == (30.5, 1.5)


# ---- crashes


def test_accidents_are_replaced_at_once() -> None:
    crashes = Crashes(0, 60.0)
    assert [crashes.died(float(at), 1.0, "killed") for at in range(50)] == [0.0] * 50
    assert crashes.died(100.0, 0.0, "killed") == 0.0


def test_those_that_keep_dying_are_replaced_more_and_more_slowly() -> None:
    crashes = Crashes(0, 60.0)
    delays = [crashes.died(float(at), 0.2, "killed") for at in range(10)]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert crashes.died(11.0, 1.0, "killed") == 0.0
    assert [crashes.died(12.0 + at, 0.0, "killed") for at in range(3)] == [0.0, 0.1, 0.2]


def test_a_quiet_window_ends_the_doubling() -> None:
    crashes = Crashes(0, 60.0)
    assert [crashes.died(float(at), 0.0, "killed") for at in range(3)] == [0.0, 0.1, 0.2]
    assert crashes.died(62.0, 0.0, "killed") == 0.4
    assert crashes.died(122.1, 0.0, "killed") == 0.0


def test_the_delay_stays_finite_for_ever() -> None:
    crashes = Crashes(0, 60.0)
    assert {crashes.died(float(at), 0.0, "killed") for at in range(5000)} >= {5.0}


def test_too_many_in_a_window() -> None:
    crashes = Crashes(3, 10.0)
    assert crashes.last_reason == ""
    assert not crashes.too_many(0.0)
    crashes.died(0.0, 50.0, "first")
    crashes.died(1.0, 50.0, "second")
    assert not crashes.too_many(1.0)
    crashes.died(2.0, 50.0, "third")
    assert crashes.too_many(2.0)
    assert crashes.too_many(10.0)
    assert crashes.last_reason == "third"
    assert [crashes.count(at) for at in (10.0, 10.5, 11.5, 12.5)] == [3, 2, 1, 0]
    assert not crashes.too_many(10.5)


def test_without_a_limit_there_are_never_too_many() -> None:
    crashes = Crashes(0, 10.0)
    for _ in range(1000):
        crashes.died(1.0, 0.0, "killed")
    assert crashes.count(1.0) == 1000
    assert not crashes.too_many(1.0)


# ---- watch


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    files = [tmp_path / name for name in ("app.py", "model.py")]
    for file in files:
        file.write_text("answer = 1\n")
        os.utime(file, (1e9, 1e9))
    return files


def test_a_change_is_told_once(sources: list[Path]) -> None:
    watch = FileWatch(sources)
    assert watch.changed() == []
    os.utime(sources[1], (2e9, 2e9))
    assert watch.changed() == [str(sources[1])]
    assert watch.changed() == []


def test_another_size_is_a_change(sources: list[Path]) -> None:
    watch = FileWatch(sources)
    sources[0].write_text("answer = 12\n")
    os.utime(sources[0], (1e9, 1e9))
    assert watch.changed() == [str(sources[0])]


def test_a_file_put_in_the_place_of_the_old_one_is_a_change(sources: list[Path]) -> None:
    watch = FileWatch(sources)
    new = sources[0].with_suffix(".new")
    new.write_text("answer = 2\n")
    os.utime(new, (1e9, 1e9))
    new.rename(sources[0])
    assert watch.changed() == [str(sources[0])]


def test_a_file_that_is_gone_is_a_change_when_it_is_back(sources: list[Path]) -> None:
    watch = FileWatch(sources)
    away = sources[0].with_suffix(".away")
    sources[0].rename(away)
    assert watch.changed() == []
    away.rename(sources[0])
    assert watch.changed() == [str(sources[0])]
    assert watch.changed() == []


def test_after_a_reload_the_new_files_are_watched(sources: list[Path], tmp_path: Path) -> None:
    watch = FileWatch([sources[0]])
    later = tmp_path / "later.py"
    watch.update([str(sources[1]), later])
    sources[0].write_text("not watched any more")
    assert watch.changed() == []
    later.write_text("here it is")
    sources[1].write_text("changed")
    assert sorted(watch.changed()) == sorted([str(sources[1]), str(later)])


def test_a_change_during_the_reload_is_told(sources: list[Path]) -> None:
    watch = FileWatch(sources)
    os.utime(sources[0], (2e9, 2e9))
    assert watch.changed() == [str(sources[0])]
    os.utime(sources[0], (3e9, 3e9))
    watch.update(sources)
    assert watch.changed() == [str(sources[0])]


def test_a_path_that_cannot_be_is_no_file() -> None:
    watch = FileWatch(["no\0file", "/nonexistent/app.py"])
    assert watch.changed() == []
