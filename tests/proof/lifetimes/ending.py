# SPDX-License-Identifier: Apache-2.0
"""A process that ends, in one of many ways, while it calls or is called.

    ending.py NAME SERVICE DELAY_US

ends.py starts it, calls its handlers and sends it signals; DELAY_US is how long what is to be ended
has been running then. A reply with foreign bytes ends the process with FOREIGN.
"""

from __future__ import annotations

import atexit
import faulthandler
import gc
import hashlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

import carom
from patterns import request_of

FOREIGN = 90
BROKEN = 91
SIZES = [0, 100, 5000, 1 << 20]

service = carom.Service("ending")
kept: list[Any] = []
workers: list[carom.Worker] = []
path = ""
delay_s = 0.0


def ended(pid: int) -> str:
    """How a child ended, which must not take long; "" well."""
    give_up = time.monotonic() + 30.0
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return f"a child ended with {os.waitstatus_to_exitcode(status)}" if status else ""
        if time.monotonic() > give_up:
            os.kill(pid, signal.SIGABRT)  # faulthandler says where it hangs
            os.waitpid(pid, 0)
            return "a child did not end"
        time.sleep(0.0002)


def broken(text: str) -> NoReturn:
    os.write(2, f"{text}\n".encode())
    os._exit(BROKEN)


class Last:
    """Does something when it is deleted, which may be when the interpreter ends."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __del__(self) -> None:
        self.act()


# ---- handlers


@service.method
def echo(request: memoryview) -> memoryview:
    return request


@service.method
def slow(request: memoryview) -> memoryview:
    time.sleep(0.003)
    return request


@service.method
def busy(request: memoryview) -> memoryview:
    for _ in range(20_000):
        len(request)
    return request


@service.method
def hashing(request: memoryview) -> bytes:
    hashlib.sha256(request).digest()
    return bytes(request)


@service.method
def keep(request: memoryview) -> memoryview:
    kept.append([request[1:], Last(lambda: bytes(request))])
    kept[-1].append(kept[-1])
    return request


@service.method
def read_on(request: memoryview) -> memoryview:
    content = bytes(request)

    def read() -> None:
        while True:
            if request != content or hashlib.sha256(request).digest() is None:
                os._exit(FOREIGN)

    if len(kept) < 3:
        kept.append(request)
        threading.Thread(target=read, daemon=True).start()
    return request


@service.method
def leave(request: memoryview) -> None:
    kept.append(request)
    sys.exit(7)


@service.method
def leave_at_once(request: memoryview) -> None:
    os._exit(8)


@service.method
def leave_after_child(request: memoryview) -> None:
    """A thread of the handler's forks; the child closes what it has and ends as programs do."""
    wrong: list[str] = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            for worker in workers:
                worker.stop()
                worker.close()
            sys.exit(0)  # this thread, the only one: so the process
        wrong.append(ended(pid))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    if wrong != [""]:
        broken(f"after a thread's fork: {wrong}")
    sys.exit(7)


# ---- callers


def call_for_ever(client: carom.Client, number: int, methods: list[str]) -> None:
    """Until the client is closed or the service ends."""
    while True:
        for size in SIZES:
            for method in methods:
                content = request_of(number, size)
                try:
                    reply = client.call(method, content, timeout=50.0)
                except (ValueError, OSError, TimeoutError):
                    return
                if reply != content:
                    os._exit(FOREIGN)


def callers(client: carom.Client, *, daemon: bool = True) -> list[threading.Thread]:
    """Three threads that call."""
    threads = [
        threading.Thread(
            target=call_for_ever, args=(client, number, ["echo", "slow"]), daemon=daemon
        )
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    time.sleep(delay_s)
    return threads


def call_and_return() -> None:
    callers(carom.connect(path))


def call_and_exit() -> None:
    callers(carom.connect(path))
    sys.exit(5)


def call_and_exit_at_once() -> None:
    callers(carom.connect(path))
    os._exit(6)


def call_and_raise() -> None:
    callers(carom.connect(path))
    raise ValueError("nobody catches it")


def call_and_close_at_exit() -> None:
    client = carom.connect(path)
    atexit.register(client.close)
    callers(client)


def call_at_exit() -> None:
    client = carom.connect(path)
    atexit.register(lambda: client.call("echo", b"at exit", timeout=50.0))
    callers(client)


def call_from_destructor() -> None:
    client = carom.connect(path)
    kept.append(Last(lambda: client.call("echo", b"in the end", timeout=50.0)))
    callers(client)


def call_from_finalizer() -> None:
    client = carom.connect(path)
    weakref.finalize(client, client.call, "echo", b"never", 50.0)
    callers(client)


def drop_in_cycle() -> None:
    client: Any = carom.connect(path)
    client.last = Last(client.close)
    client.itself = client
    callers(client)


def drop_many() -> None:
    def open_and_drop() -> None:
        for _ in range(5):
            client = carom.connect(path, slots=2)
            client.call("echo", b"once", timeout=50.0)

    threads = [threading.Thread(target=open_and_drop) for _ in range(3)]
    for thread in threads:
        thread.start()
    call_and_return()
    gc.collect()


def close_elsewhere() -> None:
    client = carom.connect(path)
    threads = callers(client, daemon=False)
    threading.Thread(target=client.close).start()
    client.close()
    for thread in threads:
        thread.join(60.0)
        if thread.is_alive():
            broken("a caller goes on after its client was closed")


def call_after_main() -> None:
    client = carom.connect(path)

    def call() -> None:
        time.sleep(delay_s)
        if client.call("echo", b"late", timeout=50.0) != b"late":
            os._exit(FOREIGN)

    threading.Thread(target=call).start()


def fork_while_calling() -> None:
    client = carom.connect(path)
    callers(client)
    sys.setswitchinterval(1e-6)
    for use in range(24):
        pid = os.fork()
        if pid == 0:
            if use % 3:
                try:
                    client.call("echo", b"", timeout=5.0)
                except ChildProcessError:
                    client.close()
                    sys.exit(0)
                os._exit(BROKEN)
            sys.exit(0)
        if wrong := ended(pid):
            broken(wrong)
    if client.call("echo", b"after", timeout=50.0) != b"after":
        os._exit(FOREIGN)


class Tick(Exception):
    """Raised by a signal handler."""


def interrupt_calls() -> None:
    client = carom.connect(path)
    ticking: list[bool] = []

    def tick(number: int, frame: object) -> None:
        if ticking:
            ticking.clear()  # not once more, where nobody catches it
            raise Tick

    signal.signal(signal.SIGALRM, tick)
    seen = 0
    signal.setitimer(signal.ITIMER_REAL, 0.0005 + delay_s / 10, 0.0007)
    while seen < 20:
        try:
            ticking.append(True)
            client.call("slow", b"ticking", timeout=50.0)
            ticking.clear()
        except Tick:
            seen += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    for number in range(300):  # more than there are slots
        content = request_of(number, 50)
        if client.call("echo", content, timeout=50.0) != content:
            os._exit(FOREIGN)


def interrupt_main() -> None:
    client = carom.connect(path)
    callers(client)
    threading.Timer(delay_s, signal.raise_signal, [signal.SIGINT]).start()
    threading.Timer(delay_s + 0.01, os.kill, [os.getpid(), signal.SIGINT]).start()
    while True:
        client.call("slow", b"", timeout=50.0)


CALLERS: dict[Callable[[], None], tuple[int, ...]] = {
    call_and_return: (0,),
    call_and_exit: (5,),
    call_and_exit_at_once: (6,),
    call_and_raise: (1,),
    call_and_close_at_exit: (0,),
    call_at_exit: (0,),
    call_from_destructor: (0,),
    call_from_finalizer: (0,),
    drop_in_cycle: (0,),
    drop_many: (0,),
    close_elsewhere: (0,),
    call_after_main: (0,),
    fork_while_calling: (0,),
    interrupt_calls: (0,),
    interrupt_main: (-signal.SIGINT, 1),
}
"""With the statuses they may end with: 1 for Python's own, when an exception is not caught."""


def main(endings: dict[str, Callable[[], None]]) -> None:
    global path, delay_s  # noqa: PLW0603
    faulthandler.enable()
    path = sys.argv[2]
    delay_s = int(sys.argv[3]) / 1e6
    endings[sys.argv[1]]()


if __name__ == "__main__":
    sys.modules["ending"] = sys.modules["__main__"]
    import serving

    main({ending.__name__: ending for ending in (*CALLERS, *serving.WORKERS, *serving.ALONE)})
