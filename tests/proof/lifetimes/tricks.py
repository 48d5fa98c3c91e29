# SPDX-License-Identifier: Apache-2.0
"""What a handler of holder.py does besides reading and replying, because it is told to."""

from __future__ import annotations

import gc
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import carom
import numpy
from memory import contexts, late, wrong

THRESHOLDS = (700, 10, 10)
own = threading.local()
"""`own.loop` is the Loop that serves in this thread."""


class Late(threading.Thread):
    """Asks a context for memory, and gets as far as to say how much before the call is over."""

    def __init__(self, context: carom.Context) -> None:
        super().__init__(daemon=True)
        self.context = context
        self.asked = threading.Event()
        self.over = threading.Event()

    def __index__(self) -> int:
        self.asked.set()
        self.over.wait(10.0)
        return 64

    def run(self) -> None:
        try:
            view = self.context.reply(self)  # type: ignore[arg-type]
        except RuntimeError:
            return
        view[:] = b"L" * 64
        wrong.append("a context gave memory of a reply after its call was over")


class Busy(threading.Thread):
    """Asks a context for memory again and again, and writes into it when the call is over."""

    def __init__(self, context: carom.Context) -> None:
        super().__init__(daemon=True)
        self.context = context
        self.over = threading.Event()

    def run(self) -> None:
        views: list[memoryview] = []
        try:
            while not self.over.is_set():
                views[:] = [*views[-2:], self.context.reply(4096)]
        except RuntimeError:
            pass
        for view in views:
            view[:] = b"B" * 4096


class Interrupter(threading.Thread):
    """Interrupts handlers. One for good, because of what PyThreadState_SetAsyncExc does in Python
    3.11 and before: while a thread is being started it is taken for the one that starts it.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.orders: queue.SimpleQueue[carom.Worker] = queue.SimpleQueue()
        self.done = threading.Event()

    def run(self) -> None:
        while True:
            self.orders.get().interrupt(0.0)
            self.done.set()


interrupter = Interrupter()


def collect(request: memoryview, context: Any, number: int) -> None:
    gc.collect()


def collect_always(request: memoryview, context: Any, number: int) -> None:
    gc.set_threshold(1, 1, 1)


def collect_with_switches(request: memoryview, context: Any, number: int) -> None:
    """Other threads run while memory is allocated."""
    gc.set_threshold(3, 1, 1)
    gc.callbacks[:] = [lambda *_: time.sleep(0)]


def collect_seldom(request: memoryview, context: Any, number: int) -> None:
    gc.callbacks.clear()
    gc.set_threshold(*THRESHOLDS)


def switch_often(request: memoryview, context: Any, number: int) -> None:
    sys.setswitchinterval(1e-6)


def hash_it(request: memoryview, context: Any, number: int) -> None:
    if hash(request) != hash(bytes(request)):
        wrong.append("a view has another request's hash")


def release(request: memoryview, context: Any, number: int) -> None:
    request.release()
    request.release()


def release_exported(request: memoryview, context: Any, number: int) -> None:
    held = numpy.frombuffer(request, numpy.uint8) if len(request) else memoryview(request)
    try:
        request.release()
    except BufferError:
        return
    finally:
        del held


def keep_context(request: memoryview, context: Any, number: int) -> None:
    if context is not None:
        contexts.append(context)


def late_reply(request: memoryview, context: Any, number: int) -> None:
    if context is None:
        return
    thread = Late(context)
    thread.start()
    late.append(thread)
    thread.asked.wait(10.0)


def busy_replies(request: memoryview, context: Any, number: int) -> None:
    if context is None:
        return
    thread = Busy(context)
    thread.start()
    late.append(thread)
    time.sleep(0)


def interrupt(request: memoryview, context: Any, number: int) -> None:
    """As the supervisor does it to a handler that takes too long."""
    interrupter.done.clear()
    interrupter.orders.put(own.loop.worker)
    while not interrupter.done.is_set():
        len(request)


def raise_signal(request: memoryview, context: Any, number: int) -> None:
    signal.raise_signal(signal.SIGUSR1)


def arm(request: memoryview, context: Any, number: int) -> None:
    """A signal in a moment, wherever Python is then."""
    signal.setitimer(signal.ITIMER_REAL, 20e-6 + number % 50 * 20e-6)


def enter_again(request: memoryview, context: Any, number: int) -> None:
    for refused in (own.loop.worker.run, own.loop.worker.close):
        try:
            refused()
        except RuntimeError:
            continue
        wrong.append(f"a handler could call {refused.__name__}")


def fork_and(end: Callable[[], None]) -> None:
    """In the child there is no request, no reply and no caller; it ends by itself."""
    pid = os.fork()
    if pid == 0:
        end()
        return
    status = os.waitpid(pid, 0)[1]
    if status != 0:
        wrong.append(f"a forked child ended with {os.waitstatus_to_exitcode(status)}")


def fork_exit(request: memoryview, context: Any, number: int) -> None:
    fork_and(lambda: os._exit(0))


def fork_return(request: memoryview, context: Any, number: int) -> None:
    fork_and(lambda: None)


def fork_raise(request: memoryview, context: Any, number: int) -> None:
    def fail() -> None:
        raise ValueError("in the child")

    fork_and(fail)


def fork_leave(request: memoryview, context: Any, number: int) -> None:
    fork_and(lambda: sys.exit(0))


def fork_use(request: memoryview, context: Any, number: int) -> None:
    """A child that uses the context all the same."""

    def use() -> None:
        if context is not None:
            try:
                context.reply(10)
            except ChildProcessError:
                return
            os._exit(3)

    fork_and(use)


TRICKS: dict[str, Callable[[memoryview, Any, int], None]] = {
    trick.__name__: trick
    for trick in (
        collect,
        collect_always,
        collect_with_switches,
        collect_seldom,
        switch_often,
        hash_it,
        release,
        release_exported,
        keep_context,
        late_reply,
        busy_replies,
        interrupt,
        raise_signal,
        arm,
        enter_again,
        fork_exit,
        fork_return,
        fork_raise,
        fork_leave,
        fork_use,
    )
}
