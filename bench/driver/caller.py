# SPDX-License-Identifier: Apache-2.0
"""The driver for callers in Python: the works, arguments (name=value) and output of driver/main.c.

A peer's caller.py makes a subclass of `Connection` that connects in its `__init__`, implements
`call`, or `send` and `receive` if it can have several calls in flight, and ends with
`caller.main(ItsConnection)`. Whatever it raises ends the program with one line and status 1.

Requests and answers are those of peers/work.py. A request is a view of the pattern, made before
anything is measured; the peer copies it to wherever it has to go, which writes every byte of it.
Every answer is compared, within the measured time, as the C driver does.

In the closed loop nothing is done per call beside reading the clock twice, noting the difference in
a list and comparing the answer. What the loop does between two calls (about 0.1 us) is in no call's
time. The garbage collector is off while it is measured, as in timeit. How work=rate counts and
waits is written in rate.c.

arguments.py reads the command line, crowd.py runs one process or many, figures.py prints.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import NoReturn, TypeAlias

sys.path.append(str(Path(__file__).resolve().parents[1]))
from driver import crowd
from driver.arguments import LARGE_BYTES, Config, read_arguments
from driver.crowd import clock
from driver.figures import Result, report
from peers import work

__all__ = ["Config", "Connection", "main"]

MIX_CYCLE = 20
IDLE_S = 0.010
IDLE_CALLS_MIN = 5
WAKE_EARLY_NS = 50_000
BLOCKS = work.PATTERN_BYTES // work.BLOCK_BYTES

Answer: TypeAlias = "bytes | bytearray | memoryview"


class Connection:
    """A peer's way to its server. Answers come in the order of the requests."""

    depth = 1
    """Calls that can be in flight."""

    @abstractmethod
    def __init__(self, config: Config) -> None:
        """Connects to a server that is ready."""

    def call(self, request: memoryview) -> Answer:
        """One whole call. To be overridden where that is quicker than both halves."""
        self.send(request)
        answer = self.receive(True)
        assert answer is not None
        return answer

    def send(self, request: memoryview) -> None:
        """Begins a call; without an implementation of its own, does all of it."""
        self._answer = self.call(request)

    def receive(self, wait: bool) -> Answer | None:
        """The answer to the oldest call in flight; None if it is not there and `wait` is false."""
        return self._answer

    def close(self) -> None:
        """Disconnects."""


class WrongAnswer(Exception):
    """An answer that is not the one to its request."""


class Caller:
    """One connection and the requests for it."""

    def __init__(self, config: Config, index: int) -> None:
        self.config = config
        self.index = index
        self.sequence = 0
        self.requests = make_requests(config.bytes)
        self.answers = make_answers(config.bytes)

    def connect(self, peer: type[Connection], result: Result) -> None:
        """Connects and makes the first call."""
        begin = clock()
        self.connection = peer(self.config)
        connected = clock()
        self.call()
        result.connect_ns, result.first_ns = connected - begin, clock() - connected
        result.depth = self.depth = min(self.connection.depth, self.config.depth)

    def call(self) -> None:
        """One call, one after another."""
        self.sequence += 1
        at = self.sequence % BLOCKS
        if self.connection.call(self.requests[at]) != self.answers[at]:
            raise wrong(self.sequence)

    # ---- latency

    def latency(self, begin_ns: int, result: Result) -> None:
        warm_end_ns, end_ns = self.ends(begin_ns)
        self.time_calls(warm_end_ns)
        with undisturbed():
            result.begin(clock())
            result.times = self.time_calls(end_ns)
            result.end(clock())
        result.calls = len(result.times)

    def time_calls(self, until_ns: int) -> list[int]:
        """Calls until a time, at least once; how long each took."""
        times: list[int] = []
        note, call = times.append, self.connection.call
        requests, answers = self.requests, self.answers
        for sequence in count(self.sequence + 1):
            at = sequence % BLOCKS
            request, answer = requests[at], answers[at]
            begin = clock()
            right = call(request) == answer
            end = clock()
            note(end - begin)
            if not right:
                raise wrong(sequence)
            if end >= until_ns:
                self.sequence = sequence
                break
        return times

    # ---- depth

    def throughput(self, begin_ns: int, result: Result) -> None:
        """work=depth: keeps the window full."""
        warm_end_ns, end_ns = self.ends(begin_ns)
        for _ in range(self.depth):
            self.send()
        self.pump(warm_end_ns)
        with undisturbed():
            result.begin(clock())
            result.calls = self.pump(end_ns)
            result.end(clock())
        for in_flight in range(self.depth, 0, -1):
            self.receive(in_flight)

    def pump(self, until_ns: int) -> int:
        """Takes an answer and sends a request until a time; how often."""
        before = self.sequence
        while True:
            self.receive(self.depth)
            self.send()
            if clock() >= until_ns:
                return self.sequence - before

    def send(self) -> None:
        self.sequence += 1
        self.connection.send(self.requests[self.sequence % BLOCKS])

    def receive(self, in_flight: int, wait: bool = True) -> bool:
        """Takes the oldest of the calls in flight; false if it is not there yet."""
        answer = self.connection.receive(wait)
        if answer is None:
            return False
        sequence = self.sequence - in_flight + 1
        if answer != self.answers[sequence % BLOCKS]:
            raise wrong(sequence)
        return True

    # ---- mixed

    def mixed(self, begin_ns: int, result: Result) -> None:
        """One call in 20 is large; depth as asked."""
        large_requests, large_answers = make_requests(LARGE_BYTES), make_answers(LARGE_BYTES)
        window: deque[tuple[int, bool, int]] = deque()

        def fill() -> None:
            while len(window) < self.depth:
                self.sequence += 1
                large = is_large(self.sequence)
                requests = large_requests if large else self.requests
                window.append((self.sequence, large, clock()))
                self.connection.send(requests[self.sequence % BLOCKS])

        def take() -> None:
            answer = self.connection.receive(True)
            sequence, large, sent_ns = window.popleft()
            if answer != (large_answers if large else self.answers)[sequence % BLOCKS]:
                raise wrong(sequence)
            (result.large if large else result.times).append(clock() - sent_ns)

        def mix(until_ns: int) -> None:
            while clock() < until_ns:
                fill()
                take()

        warm_end_ns, end_ns = self.ends(begin_ns)
        mix(warm_end_ns)
        result.times.clear()
        result.large.clear()
        with undisturbed():
            result.begin(clock())
            mix(end_ns)
            result.end(clock())
        result.calls = len(result.times) + len(result.large)
        while window:
            take()

    # ---- first

    def first(self, begin_ns: int, result: Result) -> None:
        """Calls after 10 ms of idleness each."""
        _, end_ns = self.ends(begin_ns)
        result.begin(begin_ns)
        while result.calls < IDLE_CALLS_MIN or clock() < end_ns:
            time.sleep(IDLE_S)
            begin = clock()
            self.call()
            result.times.append(clock() - begin)
            result.calls += 1
        result.end(clock())

    # ---- rate

    def rate(self, begin_ns: int, result: Result) -> None:
        """Calls at times fixed beforehand; rate.c says how."""
        schedule = Schedule.make(self.config, self.index, begin_ns)
        crowd.precise_timers()
        with undisturbed():
            self.keep_rate(schedule, result)
        now = clock()
        result.end(now)
        waiting = range(schedule.sent, schedule.calls)
        result.unsent = len(waiting)
        result.times += [now - schedule.due_ns(call) for call in waiting]

    def keep_rate(self, schedule: Schedule, result: Result) -> None:
        in_flight = room_ns = first = 0
        measure_ns = schedule.due_ns(schedule.warm_calls)
        while True:
            now = clock()
            if not result.begin_ns and now >= measure_ns:
                result.begin(measure_ns)
                schedule.sent = schedule.warm_calls  # what the warm-up left unsent is dropped
                first = self.sequence + 1
            all_sent = schedule.sent == schedule.calls or now > schedule.give_up_ns
            due_ns = schedule.due_ns(schedule.sent)
            if not all_sent and in_flight < self.depth and due_ns <= now:
                if schedule.sent >= schedule.warm_calls:
                    result.late_max_ns = max(result.late_max_ns, now - max(due_ns, room_ns))
                schedule.sent += 1
                self.send()
                in_flight += 1
            elif in_flight:
                full = in_flight == self.depth
                if self.receive(in_flight, full or all_sent):
                    now = clock()
                    room_ns = now if full else room_ns
                    call = schedule.warm_calls + self.sequence - in_flight + 1 - first
                    in_flight -= 1
                    if first and call >= schedule.warm_calls:
                        result.times.append(now - schedule.due_ns(call))
                        result.calls += 1
            elif all_sent:
                return
            elif due_ns - now > WAKE_EARLY_NS:
                time.sleep((due_ns - now - WAKE_EARLY_NS) * 1e-9)

    def ends(self, begin_ns: int) -> tuple[int, int]:
        """When the warm-up is over, and when the measured time."""
        warm_end_ns = begin_ns + self.config.warm_ms * 1_000_000
        return warm_end_ns, warm_end_ns + self.config.ms * 1_000_000


WORKS: dict[str, Callable[[Caller, int, Result], None]] = {
    "latency": Caller.latency,
    "depth": Caller.throughput,
    "mixed": Caller.mixed,
    "first": Caller.first,
    "rate": Caller.rate,
}


@dataclass
class Schedule:
    """When the calls of one client are due, and how many have been sent."""

    begin_ns: float
    interval_ns: float
    warm_calls: int
    calls: int
    give_up_ns: int
    sent: int = 0

    @classmethod
    def make(cls, config: Config, index: int, begin_ns: int) -> Schedule:
        each = config.rate / config.clients
        interval_ns = 1e9 / each
        warm_calls = int(each * config.warm_ms / 1000)
        calls = int(each * config.ms / 1000)
        if not calls:
            raise ValueError(f"rate={config.rate}: that is not one call in {config.ms} ms")
        return cls(
            begin_ns + interval_ns * index / config.clients,
            interval_ns,
            warm_calls,
            warm_calls + calls,
            begin_ns + (config.warm_ms + 2 * config.ms) * 1_000_000,
        )

    def due_ns(self, call: int) -> int:
        return int(self.begin_ns + call * self.interval_ns)


def make_requests(size: int) -> list[memoryview]:
    """The request of every sequence number, by its remainder."""
    pattern = memoryview(work.PATTERN)
    starts = range(0, work.PATTERN_BYTES, work.BLOCK_BYTES)
    return [pattern[start : start + size] for start in starts]


def make_answers(size: int) -> list[bytes]:
    """What must come back."""
    return [bytes(request[: work.ANSWER_BYTES_MAX]) for request in make_requests(size)]


def is_large(sequence: int) -> bool:
    """The same mix as in works.c."""
    cycle = sequence // MIX_CYCLE * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return sequence % MIX_CYCLE == (cycle >> 32) % MIX_CYCLE


def wrong(sequence: int) -> WrongAnswer:
    return WrongAnswer(f"the answer to call {sequence} is wrong")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without garbage collections."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run_client(
    peer: type[Connection], config: Config, index: int, await_begin: Callable[[], int]
) -> Result:
    """One client from its connection to its end; `await_begin` returns when it is to begin."""
    if config.cpu >= 0:
        os.sched_setaffinity(0, {config.cpu})
    result = Result()
    caller = Caller(config, index)
    caller.connect(peer, result)
    WORKS[config.work](caller, await_begin(), result)
    caller.connection.close()
    return result


def main(peer: type[Connection]) -> NoReturn:
    """The whole program."""

    def do() -> None:
        config = read_arguments(sys.argv[1:])
        crowd.bind_to_parent(config)
        results = crowd.run(partial(run_client, peer), config)
        print(json.dumps(report(config, results)), flush=True)

    os._exit(crowd.saying_why(do))  # a peer's threads need not end first
