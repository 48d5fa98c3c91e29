# SPDX-License-Identifier: Apache-2.0
"""The worker process of the suite: its handlers keep, raise, fork and let go as they are told.

    holder.py SERVICE THREADS

`plan` says what the next `act` is to do; sequences.py makes the plans. What is wrong is collected
and told to whoever calls `verify`. A loop that something ended is begun again, so that one process
lasts for many sequences; it ends when its service does, with everything that is still kept.
"""

from __future__ import annotations

import array
import faulthandler
import gc
import hashlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import carom
import numpy
from carom.errors import RemoteError
from keeping import MAY_RAISE, Delayed, Kept, complaint, end_readers, found_by_collector, keep
from patterns import difference, reply_of, request_of, written_of
from raising import RAISES, Alarm

KEPT_MOST = 40
THRESHOLDS = (700, 10, 10)
PID = os.getpid()

service = carom.Service("holder")
plans: list[dict[str, Any]] = []
kept: list[tuple[int, Kept]] = []
"""With the number of the memory: views of one call's request, or of its reply, share it."""
wrong: list[str] = []
contexts: list[carom.Context] = []
late: list[Late] = []
loops: list[Loop] = []
last = b""
own = threading.local()
interrupter: Interrupter


def note(number: int, how: str, view: memoryview, content: bytes) -> None:
    try:
        kept.append((number, keep(how, view, content)))
    except MAY_RAISE as error:
        wrong.append(f"{how} cannot be kept: {error!r}")
    del kept[:-KEPT_MOST]


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


def end_late() -> None:
    for thread in late:
        thread.over.set()
        thread.join()
    late.clear()


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


# ---- what a handler does besides


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
    late.append(thread)  # type: ignore[arg-type]
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


# ---- what it returns


class Hostile:
    """Looks like a buffer and is none."""

    def __len__(self) -> int:
        raise ValueError("no length")

    def __bytes__(self) -> bytes:
        raise KeyboardInterrupt

    def __buffer__(self, flags: int) -> memoryview:
        raise ValueError("no buffer")

    def __getattr__(self, name: str) -> Any:
        raise ValueError(name)


class Forking(bytearray):
    """Forks when it is deleted, which is when its bytes have become the reply."""

    def __del__(self) -> None:
        fork_and(lambda: None)


class ForkingText(Exception):
    """Forks when it is described."""

    def __str__(self) -> str:
        fork_and(lambda: None)
        return "forked"


def filled(context: carom.Context, plan: dict[str, Any], content: bytes) -> memoryview:
    """A view of the reply with what belongs there."""
    view = context.reply(len(content))
    view[:] = content
    for how in plan["keep_reply"]:
        note(2 * plan["number"] + 1, how, view, content)
    return view


def kept_view(index: int) -> Any:
    global last  # noqa: PLW0603
    if not kept:
        last = b""
        return None
    one = kept[index % len(kept)][1]
    last = one.expected
    return one.read()


def result_of(plan: dict[str, Any], request: memoryview, context: Any) -> Any:
    content = reply_of(plan["number"], plan["reply"])
    half = len(content) // 2
    kind = plan["result"]
    if context is not None and (kind.startswith("reply") or plan["keep_reply"]):
        view = filled(context, plan, content)
        if kind.startswith("reply"):
            in_place: dict[str, Callable[[], Any]] = {
                "reply": lambda: view,
                "reply_head": lambda: view[:half],
                "reply_tail": lambda: view[half:],
                "reply_exporter": lambda: view.obj,
                "reply_numpy": lambda: numpy.frombuffer(view, numpy.uint8),
                "reply_again": lambda: (context.reply(0), context.reply(len(content)))[1],
            }
            return in_place[kind]()
    made: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "bytes": lambda: content,
        "bytearray": lambda: bytearray(content),
        "view": lambda: memoryview(content),
        "slice": lambda: memoryview(b"xx" + content + b"yy")[2:-2],
        "array": lambda: array.array("B", content),
        "numpy": lambda: numpy.frombuffer(content, numpy.uint8),
        "request": lambda: request,
        "request_slice": lambda: request[1:],
        "request_exporter": lambda: request.obj,
        "kept": lambda: kept_view(plan["number"]),
        "strided": lambda: memoryview(b"strided" * 9)[::2],
        "text": lambda: "text",
        "number": lambda: 5,
        "hostile": Hostile,
        "released": lambda: released(request),
        "too_large": lambda: bytes((2 << 20) + 1),
        "forking": lambda: Forking(content),
    }
    return made[kind]()


def released(request: memoryview) -> memoryview:
    view = memoryview(request)
    view.release()
    return view


# ---- methods


@service.method
def plan(request: memoryview) -> None:
    plans[:] = [json.loads(bytes(request))]


def follow(request: memoryview, context: Any) -> Any:
    end_late()
    plan = plans.pop()
    number = plan["number"]
    content = request_of(number, plan["size"])
    if plan["look"] and request != content:
        wrong.append(f"the request of call {number}: {difference(content, bytes(request))}")
    if plan["raises"] == "forking_text":
        note(2 * number, "whole", request, content)
        raise ForkingText
    if plan["raises"] and not plan["keep"]:
        RAISES[plan["raises"]](request)
    for how in plan["keep"]:
        note(2 * number, how, request, content)
    for trick in plan["tricks"]:
        TRICKS[trick](request, context, number)
        if os.getpid() != PID:  # a child, to which the request means SIGSEGV, as is documented
            return None
    if plan["raises"]:
        if context is not None and plan["keep_reply"]:
            filled(context, plan, reply_of(number, plan["reply"]))
        RAISES[plan["raises"]](request)
    return result_of(plan, request, context)


@service.method
def act(request: memoryview) -> Any:
    return follow(request, None)


@service.method
def act_context(request: memoryview, context: carom.Context) -> Any:
    return follow(request, context)


@service.method
def echo(request: memoryview) -> memoryview:
    return request


@service.method
def slow(request: memoryview) -> memoryview:
    time.sleep(0.004)
    return request


@service.method
def keep_slowly(request: memoryview) -> None:
    """Its caller has left when it returns."""
    number, size = json.loads(bytes(request[:32]))
    content = bytes(request)
    if content[32:] != request_of(number, size):
        wrong.append(f"a cancelled call's request: {difference(content, bytes(request))}")
    note(2 * number, "whole", request, content)
    note(2 * number, "thread", request, content)
    time.sleep(0.004)


@service.method
def verify(request: memoryview) -> bytes:
    end_late()
    found = [*wrong, *filter(None, (complaint(one) for _, one in kept))]
    return json.dumps({"wrong": found, "kept": len(kept)}).encode()


@service.method
def last_digest(request: memoryview) -> bytes:
    return hashlib.sha256(last).digest()


@service.method
def forget(request: memoryview) -> None:
    """Lets go of one thing: at once, in another thread, or as garbage in a cycle."""
    order = json.loads(bytes(request))
    if not kept:
        return
    one: Any = kept.pop(order["index"] % len(kept))
    if order["where"] == "thread":
        Delayed(one, 0.0003 * (order["index"] % 4)).start()
    elif order["where"] == "cycle":
        cycle = [one]
        cycle.append(cycle)


@service.method
def write(request: memoryview) -> None:
    """Writes through a view of a reply whose call is over."""
    order = json.loads(bytes(request))
    writable = [(number, one) for number, one in kept if one.view is not None]
    if not writable:
        return
    number, one = writable[order["index"] % len(writable)]
    end_readers()
    kept[:] = [k for k in kept if k[0] != number and k[1].how != "found_by_collector"]
    assert one.view is not None
    try:
        one.view[:] = content = written_of(order["number"], len(one.view))
    except ValueError:
        return
    note(number, "whole", one.view, content)


@service.method
def search(request: memoryview) -> None:
    end_late()  # its threads write into views of their own
    kept.extend((-1, one) for one in found_by_collector()[:10])
    del kept[:-KEPT_MOST]


@service.method
def use_contexts(request: memoryview) -> None:
    for context in contexts:
        for use in (
            lambda c=context: c.reply(10),
            lambda c=context: c.client,
            lambda c=context: c.deadline,
            context.remaining,
            context.cancelled,
            context.check,
        ):
            try:
                use()
            except RuntimeError:
                continue
            wrong.append("a context can be used after its call")


@service.method
def stop_loop(request: memoryview) -> None:
    """Ends the loop that runs it, and another with a new worker follows."""
    own.loop.parting = bytes(request).decode()
    own.loop.worker.stop()


@service.method
def reset(request: memoryview) -> bytes:
    """Lets go of everything; how much this process holds then."""
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    collect_seldom(request, None, 0)
    sys.setswitchinterval(0.005)
    end_late()
    end_readers()
    plans.clear()
    contexts.clear()
    kept.clear()
    wrong.clear()
    gc.collect()
    maps = Path("/proc/self/maps").read_text().count("\n")
    return json.dumps({"maps": maps, "fds": len(os.listdir("/proc/self/fd"))}).encode()


# ---- loops


class Loop:
    """A dispatch loop that begins again when something ends it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parting = ""
        self.serving = False
        self.worker = carom.Worker(service, name=name)

    def run(self) -> None:
        own.loop = self
        while self._serve() and self.parting:
            parting, self.parting = self.parting, ""
            worker = self.worker
            try:
                self.worker = carom.Worker(service, name=self.name)
            except OSError:  # the service has ended
                return
            if parting == "close":
                worker.close()
            if parting == "cycle":
                cycle: list[Any] = [worker]
                cycle.append(cycle)
            del worker  # "drop": the handle's destructor has to do

    def _serve(self) -> bool:
        while True:
            try:
                self.serving = True
                self.worker.run()
                return True
            except (Alarm, KeyboardInterrupt, SystemExit):
                pass
            except ChildProcessError:  # a child
                pass
            except (RemoteError, OSError):
                return False
            finally:
                self.serving = False
                if os.getpid() != PID:
                    os._exit(0)


def alarmed(number: int, frame: object) -> None:
    if loops[0].serving:  # not between two loops
        raise Alarm(f"signal {number}")


def main() -> int:
    faulthandler.enable()
    signal.signal(signal.SIGUSR1, alarmed)
    signal.signal(signal.SIGALRM, alarmed)
    sys.unraisablehook = lambda _: None  # its stack would keep nothing, its text fill the log
    sys.setrecursionlimit(600)
    global interrupter  # noqa: PLW0603
    interrupter = Interrupter()
    interrupter.start()
    loops.extend(Loop(sys.argv[1]) for _ in range(int(sys.argv[2])))
    threads = [threading.Thread(target=loop.run, daemon=True) for loop in loops[1:]]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    loops[0].run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
