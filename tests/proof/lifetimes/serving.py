# SPDX-License-Identifier: Apache-2.0
"""Endings of processes that serve: a worker's, a host's, and those of all in one. See ending.py."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import carom
import ending
from ending import broken, kept, service


def joined() -> carom.Worker:
    """A worker of the service that ends.py hosts."""
    worker = carom.Worker(service, name=ending.path)
    ending.workers.append(worker)
    print("ready", flush=True)
    return worker


def in_thread(worker: carom.Worker) -> threading.Thread:
    def run() -> None:
        with contextlib.suppress(SystemExit, ConnectionError):
            worker.run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def serve_in_daemon() -> None:
    in_thread(joined())
    time.sleep(ending.delay_s)


def serve_and_stop_at_exit() -> None:
    worker = joined()
    atexit.register(worker.stop)
    in_thread(worker)
    time.sleep(ending.delay_s)


def serve_and_close_at_exit() -> None:
    worker = joined()
    atexit.register(worker.close)
    in_thread(worker)
    time.sleep(ending.delay_s)


def serve_and_close_elsewhere() -> None:
    worker = joined()

    def close() -> None:
        time.sleep(ending.delay_s)
        worker.close()

    closer = threading.Thread(target=close)
    closer.start()
    worker.run()
    closer.join()
    worker.close()


def stop_storm() -> None:
    """Others stop and interrupt a worker while it is closed."""
    for _ in range(4):
        worker = carom.Worker(service, name=ending.path)
        over = threading.Event()

        def bother(worker: carom.Worker = worker, over: threading.Event = over) -> None:
            while not over.is_set():
                try:
                    worker.interrupt(0.0)
                    worker.stop()
                except ValueError:
                    continue

        sys.setswitchinterval(1e-5)
        threads = [threading.Thread(target=bother) for _ in range(3)]
        for thread in threads:
            thread.start()
        with contextlib.suppress(TimeoutError):
            worker.run()
        worker.close()
        time.sleep(ending.delay_s / 10)
        over.set()
        for thread in threads:
            thread.join()
    print("ready", flush=True)


def serve_until_sigterm() -> None:
    with carom.Worker(service, name=ending.path) as worker:
        worker.stop_on_sigterm()
        print("ready", flush=True)
        worker.run()


def serve_without_sigterm() -> None:
    joined().run()


def come_and_go_under_sigterm() -> None:
    print("ready", flush=True)
    for _ in range(10):
        with carom.Worker(service, name=ending.path) as worker:
            worker.stop_on_sigterm()
            in_thread(worker).join()


def drop_before_sigterm() -> None:
    worker: Any = carom.Worker(service, name=ending.path)
    worker.stop_on_sigterm()
    if int(ending.delay_s * 1e6) % 2:
        worker.itself = worker
    del worker
    gc.collect()
    kept.extend(bytearray(size) for size in range(0, 4096, 8))  # where it was
    print("ready", flush=True)
    time.sleep(60.0)


def keep_frames(frame: Any, event: str, argument: object) -> None:
    kept[:] = [*kept[-400:], frame]


def serve_profiled() -> None:
    """A profiler keeps every frame, those of the rehearsal too."""
    threading.setprofile(keep_frames)
    sys.setprofile(keep_frames)
    worker = carom.Worker(service, name=ending.path)
    thread = in_thread(worker)
    print("ready", flush=True)
    time.sleep(ending.delay_s)
    sys.setprofile(None)
    worker.stop()
    thread.join()


def serve_among_collectors() -> None:
    """Another thread takes everything the garbage collector knows into its hands."""
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            views = [o for o in gc.get_objects() if type(o).__name__ in ("memoryview", "Block")]
            kept[:] = [views, *kept[:20]]

    looker = threading.Thread(target=look)
    looker.start()
    sys.setswitchinterval(1e-6)
    for _ in range(3):
        worker = carom.Worker(service, name=ending.path)
        thread = in_thread(worker)
        time.sleep(ending.delay_s)
        worker.close()
        thread.join()
    over.set()
    looker.join()
    print("ready", flush=True)


WORKERS: dict[Callable[[], None], tuple[str, tuple[str, ...], tuple[int, ...]]] = {
    serve_in_daemon: ("", ("echo", "busy", "keep"), (0,)),
    serve_and_stop_at_exit: ("", ("slow", "hashing", "read_on"), (0,)),
    serve_and_close_at_exit: ("", ("busy", "hashing", "keep"), (0,)),
    serve_and_close_elsewhere: ("", ("echo", "slow", "keep"), (0,)),
    stop_storm: ("", ("echo",), (0,)),
    serve_until_sigterm: ("term", ("busy", "hashing", "read_on"), (0,)),
    serve_without_sigterm: ("term", ("echo", "keep"), (-signal.SIGTERM,)),
    come_and_go_under_sigterm: ("storm", ("echo",), (0, -signal.SIGTERM)),
    drop_before_sigterm: ("term", (), (-signal.SIGTERM,)),
    serve_profiled: ("", ("echo", "busy"), (0,)),
    serve_among_collectors: ("", ("echo", "busy"), (0,)),
}
"""Which signals ends.py sends, which methods it calls, and the statuses they may end with."""


def serve_until_handler(method: str) -> Callable[[], None]:
    def serve() -> None:
        joined().run()

    serve.__name__ = f"serve_until_{method}"
    return serve


WORKERS[serve_until_handler("leave")] = ("", ("echo", "keep", "read_on", "leave"), (7,))
WORKERS[serve_until_handler("leave_at_once")] = ("", ("echo", "keep", "leave_at_once"), (8,))
WORKERS[serve_until_handler("leave_after_child")] = ("", ("leave_after_child", "keep"), (7,))


# ---- host, worker and client in one process


def all_in_one() -> None:
    host = carom.Host(ending.path)
    in_thread(carom.Worker(service, name=ending.path))
    ending.callers(carom.connect(ending.path))
    kept.append(host)


def host_dropped() -> None:
    carom.Host(ending.path)
    worker = carom.Worker(service, name=ending.path)
    in_thread(worker)
    gc.collect()
    ending.callers(carom.connect(ending.path))


def host_left_at_once() -> None:
    all_in_one()
    os._exit(6)


def host_closed_first() -> None:
    with carom.Host(ending.path):
        thread = in_thread(carom.Worker(service, name=ending.path))
        threads = ending.callers(carom.connect(ending.path, reconnect_timeout=0.0))
    for ended in (thread, *threads):
        ended.join(60.0)
        if ended.is_alive():
            broken("a thread goes on after its service has ended")


def host_closed_while_asked() -> None:
    sys.setswitchinterval(1e-5)
    for _ in range(5):
        host = carom.Host(ending.path)
        over = threading.Event()

        def ask(host: carom.Host = host, over: threading.Event = over, question: int = 0) -> None:
            while not over.is_set():
                try:
                    if question == 0:
                        host.wait_ready(1, timeout=0.001)
                    elif question == 1:
                        host.waiting()
                    else:
                        host.stop() if host._thread is None else host.dismiss(1)
                except (TimeoutError, ValueError, ConnectionError):
                    continue

        threads = [threading.Thread(target=ask, kwargs={"question": n % 3}) for n in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(ending.delay_s / 5)
        host.close()
        over.set()
        for thread in threads:
            thread.join()


def host_forked() -> None:
    """A child that ends as programs do takes nothing from its parent."""
    with carom.Host(ending.path):
        in_thread(carom.Worker(service, name=ending.path))
        client = carom.connect(ending.path)
        ending.callers(client)
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        if wrong := ending.ended(pid):
            broken(wrong)
        with carom.connect(ending.path) as another:
            if another.call("echo", b"still there", timeout=50.0) != b"still there":
                os._exit(ending.FOREIGN)


def in_subinterpreter() -> None:
    """Another interpreter of this process gets an ImportError, or works."""
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    interpreters = importlib.import_module(name)
    all_in_one()
    script = f"""
try:
    import carom
    client = carom.connect({ending.path!r})
    assert client.call("echo", b"from inside", timeout=50.0) == b"from inside"
    service = carom.Service("inside")
    service.method(lambda request: request[:], name="echo")
    worker = carom.Worker(service, name={ending.path!r})
    import threading
    threading.Timer(0.02, worker.stop).start()
    worker.run()
except ImportError:
    pass
"""
    number = interpreters.create()
    for _ in range(2):
        try:
            interpreters.run_string(number, script)
        except Exception as error:
            print(f"in a subinterpreter: {error}", file=sys.stderr)
    interpreters.destroy(number)


ALONE: dict[Callable[[], None], tuple[int, ...]] = {
    all_in_one: (0,),
    host_dropped: (0,),
    host_left_at_once: (6,),
    host_closed_first: (0,),
    host_closed_while_asked: (0,),
    host_forked: (0,),
    in_subinterpreter: (0,),
}
"""With the statuses they may end with."""
