# SPDX-License-Identifier: Apache-2.0
"""Processes of a caller in Python: one, or many that begin at the same time; see crowd.c."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from driver.arguments import Config
from driver.figures import Result

PATIENCE_S = 20
START_NS = 5_000_000
PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29

clock = time.perf_counter_ns  # CLOCK_MONOTONIC on Linux

RunClient = Callable[[Config, int, Callable[[], int]], Result]
"""Is one client from its connection to its end: which one, and a function that waits for the time
to begin, and returns it."""


def run(run_client: RunClient, config: Config) -> list[Result]:
    """Does the work; a result for each client."""
    if config.clients == 1:
        return [run_client(config, 0, clock)]
    return Crowd(run_client, config).run()


class Crowd:
    """Clients in processes of their own; all begin at the same time. See crowd.c.

    Each has two pipes: one over which it says that it is ready and later what it measured, one over
    which it is told when to begin.
    """

    def __init__(self, run_client: RunClient, config: Config) -> None:
        self.clients = [Client(run_client, config, index) for index in range(config.clients)]

    def run(self) -> list[Result]:
        for client in self.clients:
            client.expect_line()
        begin_ns = clock() + START_NS
        for client in self.clients:
            client.tell(begin_ns)
        return [Result(**json.loads(client.expect_line())) for client in self.clients]


class Client:
    """One of the crowd, as its parent sees it."""

    def __init__(self, run_client: RunClient, config: Config, index: int) -> None:
        incoming, said = os.pipe()
        told, outgoing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            be_client(run_client, config, index, os.fdopen(told), os.fdopen(said, "w"))
        os.close(told)
        os.close(said)
        self.said = os.fdopen(incoming)
        self.told = os.fdopen(outgoing, "w")

    def expect_line(self) -> str:
        """What the client says next. If it says nothing more it has told the user why."""
        line = self.said.readline()
        if not line:
            os._exit(1)
        return line

    def tell(self, begin_ns: int) -> None:
        print(begin_ns, file=self.told, flush=True)


def be_client(
    run_client: RunClient, config: Config, index: int, told: Iterable[str], said: Any
) -> NoReturn:
    """A client's process."""

    def await_begin() -> int:
        print("ready", file=said, flush=True)
        begin_ns = int(next(iter(told)))
        while clock() < begin_ns:
            select.select([], [], [], 0.001)
        return begin_ns

    def do() -> None:
        bind_to_parent(config)
        result = run_client(config, index, await_begin)
        print(json.dumps(vars(result)), file=said, flush=True)

    os._exit(saying_why(do))


def saying_why(do: Callable[[], None]) -> int:
    """Exit status: 0, or 1 after one line on stderr."""
    try:
        do()
    except Exception as error:  # whatever a peer raises
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"caller: {text}", file=sys.stderr, flush=True)
        return 1
    return 0


def bind_to_parent(config: Config) -> None:
    """The kernel ends this process with its parent, and when it takes much longer than asked."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def on_alarm(*_: object) -> NoReturn:
        raise TimeoutError("took much longer than asked: a call is not answered")

    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm((config.warm_ms + 2 * config.ms) // 1000 + PATIENCE_S)


def prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def precise_timers() -> None:
    """Has the kernel wake this process when it asked for it, not up to 50 us later."""
    prctl(PR_SET_TIMERSLACK, 1)
