# SPDX-License-Identifier: Apache-2.0
"""A service with a handler for everything the end-to-end tests ask of one."""

from __future__ import annotations

import array
import ctypes
import gc
import hashlib
import json
import os
import resource
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import carom

service = carom.Service("lab")
kept: dict[str, Any] = {}


# ---- what a handler may return


@service.method
def echo(request: memoryview) -> memoryview:
    return request


@service.method(name="a name with spaces, é")
def spaced(request: memoryview) -> bytes:
    return b"spaced"


service.method(bytes, name="builtin")


@service.method
def returns(request: memoryview) -> Any:
    import numpy  # noqa: PLC0415  # only here, to start fast

    data = bytes(request[1:])
    return {
        b"b": lambda: data,
        b"a": lambda: bytearray(data),
        b"m": lambda: memoryview(data),
        b"s": lambda: memoryview(b"xx" + data + b"yy")[2:-2],
        b"r": lambda: array.array("B", data),
        b"n": lambda: numpy.frombuffer(data, numpy.uint8).copy(),
        b"2": lambda: numpy.frombuffer(data, numpy.uint8).reshape(2, -1),
        b"0": lambda: None,
        b"t": lambda: data.decode(),
        b"i": lambda: len(data),
        b"l": lambda: [data],
        b"x": lambda: memoryview(data)[::2],
        b"f": lambda: numpy.frombuffer(data, numpy.uint8).reshape(2, -1).T,
        b"d": lambda: released(data),
    }[bytes(request[:1])]()


def released(data: bytes) -> memoryview:
    view = memoryview(data)
    view.release()
    return view


@service.method
def zeros(request: memoryview) -> bytes:
    return bytes(int(bytes(request)))


@service.method
def describe(request: memoryview) -> bytes:
    return json.dumps(
        {
            "type": type(request).__name__,
            "readonly": request.readonly,
            "format": request.format,
            "shape": request.shape,
            "contiguous": request.c_contiguous,
            "digest": hashlib.sha256(request).hexdigest(),
        }
    ).encode()


@service.method
def write(request: memoryview) -> None:
    request[0] = 1


@service.method
def pid(request: memoryview) -> bytes:
    return str(os.getpid()).encode()


@service.method
def maps(request: memoryview) -> bytes:
    gc.collect()
    return str(len(Path("/proc/self/maps").read_text().splitlines())).encode()


# ---- views that outlive their call


@service.method
def keep(request: memoryview) -> None:
    kept["view"] = request


@service.method
def keep_slice(request: memoryview) -> None:
    kept["view"] = request[1:]


@service.method
def keep_cast(request: memoryview) -> None:
    kept["view"] = request.cast("H")


@service.method
def keep_exporter(request: memoryview) -> None:
    kept["view"] = request.obj


@service.method
def keep_numpy(request: memoryview) -> None:
    import numpy  # noqa: PLC0415

    kept["view"] = numpy.frombuffer(request, numpy.uint8)


@service.method
def keep_two(request: memoryview) -> None:
    kept["view"] = request[:2]
    kept["other"] = request[2:]


@service.method
def keep_address(request: memoryview) -> None:
    """As torch.frombuffer does it: a reference to the memoryview, an address, no export."""
    import numpy  # noqa: PLC0415

    kept["view"] = request
    kept["address"] = numpy.frombuffer(request, numpy.uint8).ctypes.data


@service.method
def read_address(request: memoryview) -> bytes:
    return ctypes.string_at(kept["address"], int(bytes(request)))


@service.method
def keep_weak(request: memoryview) -> None:
    kept["view"] = weakref.ref(request)


@service.method
def read_weak(request: memoryview) -> bytes:
    return repr(kept["view"]()).encode()


@service.method
def hash_of(request: memoryview) -> bytes:
    return str(hash(request) == hash(bytes(request))).encode()


@service.method
def release(request: memoryview) -> bytes:
    data = bytes(request)
    request.release()
    return data


@service.method
def find_views(request: memoryview) -> None:
    """Between two calls, takes every memoryview that the garbage collector knows."""

    def find() -> None:
        kept["found"] = [thing for thing in gc.get_objects() if type(thing) is memoryview]

    threading.Timer(0.05, find).start()


@service.method
def found_bytes(request: memoryview) -> bytes:
    return b"".join(bytes(view) for view in kept["found"])


@service.method
def keep_without_memory(request: memoryview) -> None:
    kept["view"] = request
    resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))


@service.method
def cycle_without_memory(request: memoryview) -> None:
    keep_cycle(request)
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
    kept["limit"] = old


@service.method
def restore_memory(request: memoryview) -> None:
    resource.setrlimit(resource.RLIMIT_AS, kept["limit"])


@service.method
def keep_cycle(request: memoryview) -> None:
    cycle: list[Any] = [request]
    cycle.append(cycle)


@service.method
def keep_exception(request: memoryview) -> None:
    secret = request[:]
    try:
        raise ValueError(f"holds {len(secret)} bytes in its frame")
    except ValueError as error:
        kept["exception"] = error
        raise


@service.method
def read_exception(request: memoryview) -> bytes:
    frame = kept["exception"].__traceback__.tb_frame
    return bytes(frame.f_locals["secret"]) + b"|" + bytes(frame.f_locals["request"])


@service.method
def keep_in_thread(request: memoryview) -> None:
    """A thread that goes on reading the request while other calls come and go."""
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add(hashlib.sha256(request).hexdigest())  # without the GIL if it is large

    thread = threading.Thread(target=look)
    kept["thread"] = (thread, stop, seen)
    thread.start()


@service.method
def end_thread(request: memoryview) -> bytes:
    thread, stop, seen = kept.pop("thread")
    stop.set()
    thread.join()
    return json.dumps(sorted(seen)).encode()


@service.method
def keep_reply(request: memoryview, context: carom.Context) -> memoryview:
    view = context.reply(len(request))
    view[:] = request
    kept["view"] = view
    return view


@service.method
def keep_unused_reply(request: memoryview, context: carom.Context) -> bytes:
    kept["view"] = context.reply(len(request))
    kept["view"][:] = b"u" * len(request)
    return bytes(request)


@service.method
def scribble(request: memoryview) -> None:
    kept["view"][:] = request


@service.method
def read(request: memoryview) -> bytes:
    return bytes(kept["view"])


@service.method
def forget(request: memoryview) -> None:
    kept.clear()
    gc.collect()


# ---- the context


@service.method
def context(request: memoryview, context: carom.Context) -> bytes:
    return json.dumps(
        {
            "type": type(context).__name__,
            "deadline": context.deadline,
            "remaining": context.remaining(),
            "now": time.monotonic_ns(),
            "cancelled": context.cancelled(),
            "client": list(context.client),
            "pid": context.client.pid,
            "uid": context.client.uid,
        }
    ).encode()


@service.method
def build(request: memoryview, context: carom.Context) -> memoryview:
    view = context.reply(len(request))
    view[:] = request
    return view


@service.method
def build_part(request: memoryview, context: carom.Context) -> memoryview:
    view = context.reply(2 * len(request))
    view[: len(request)] = b"." * len(request)
    view[len(request) :] = request
    return view[len(request) :]


@service.method
def build_twice(request: memoryview, context: carom.Context) -> memoryview:
    first = context.reply(4)
    second = context.reply(len(request))
    second[:] = request
    first[:] = b"1234"
    return second


@service.method
def build_size(request: memoryview, context: carom.Context) -> memoryview:
    return context.reply(int(bytes(request)))


@service.method
def build_caught(request: memoryview, context: carom.Context) -> bytes:
    try:
        context.reply(int(bytes(request)))
    except carom.Error as error:
        return f"{error.status.name} {error}".encode()
    return b"fits"


@service.method
def keep_context(request: memoryview, context: carom.Context) -> None:
    kept["context"] = context


@service.method
def use_kept_context(request: memoryview, mine: carom.Context) -> bytes:
    assert kept["context"] is not mine
    texts = []
    uses = [
        lambda context: context.deadline,
        lambda context: context.client,
        lambda context: context.remaining(),
        lambda context: context.cancelled(),
        lambda context: context.check(),
        lambda context: context.reply(1),
    ]
    for use in uses:
        try:
            use(kept["context"])
        except RuntimeError as error:
            texts.append(str(error))
    return json.dumps(texts).encode()


@service.method
def until_cancelled(request: memoryview, context: carom.Context) -> None:
    kept.pop("cancelled", None)
    give_up = time.monotonic() + 10.0
    while not context.cancelled():
        if time.monotonic() > give_up:
            raise TimeoutError("nobody cancelled")
        time.sleep(0.001)
    kept["cancelled"] = context.remaining()
    time.sleep(0.2)  # so that the caller's deadline comes before the reply


@service.method
def was_cancelled(request: memoryview) -> bytes:
    return repr(kept.get("cancelled", "no")).encode()


@service.method
def check(request: memoryview, context: carom.Context) -> bytes:
    return repr(context.check()).encode()


@service.method
def until_check_raises(request: memoryview, context: carom.Context) -> None:
    kept.pop("checked", None)
    give_up = time.monotonic() + 10.0
    try:
        while time.monotonic() < give_up:
            context.check()
            time.sleep(0.001)
    except BaseException as error:
        kept["checked"] = f"{type(error).__module__}.{type(error).__qualname__}: {error}"
        raise


@service.method
def checked(request: memoryview) -> bytes:
    return str(kept.get("checked", "")).encode()


@service.method
def optional(request: memoryview, scale: int = 3) -> bytes:
    return str(scale).encode()


# ---- failures


class LabError(Exception):
    pass


@service.method
def fail(request: memoryview) -> None:
    step(bytes(request).decode())


def step(what: str) -> None:
    if what == "cause":
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise LabError("outer") from error
    chains: dict[str, Callable[[], None]] = {
        "context": during,
        "suppressed": suppressed,
        "long chain": long_chain,
        "cycle": cycle,
        "mute cause": mute_cause,
        "recursion": recurse,
        "recursion of two": recurse_and_back,
    }
    if what in chains:
        chains[what]()
    if what.startswith("status "):
        raise carom.Error(int(what.removeprefix("status ")), "as asked")
    failures: dict[str, BaseException] = {
        "value": ValueError("a bad value, é"),
        "lab": LabError("of its own type"),
        "chosen": carom.Error(carom.Status.NOT_FOUND, "no such photograph"),
        "memory": MemoryError(),
        "unimplemented": NotImplementedError("later"),
        "nul": ValueError("a\0b \udcff"),
        "long": ValueError("x" * 1_000_000),
        "mute": Mute(),
        "interrupt": KeyboardInterrupt(),
        "exit": SystemExit(3),
        "remote": carom.RemoteError(carom.Status.INTERNAL, "Far", "away"),
        "remote timeout": carom.RemoteTimeoutError(carom.Status.DEADLINE_EXCEEDED, "Far", "late"),
        "timeout": TimeoutError("too slow"),
        "cancelled": carom.Cancelled(),
    }
    raise failures[what]


def during() -> None:
    try:
        raise KeyError("inner")
    except KeyError:
        int("outer")


def suppressed() -> None:
    try:
        raise KeyError("inner")
    except KeyError:
        raise LabError("outer") from None


def long_chain() -> None:
    error: BaseException = LabError("link 0")
    for number in range(1, 30):
        link = LabError(f"link {number}")
        link.__cause__ = error
        error = link
    raise error


def cycle() -> None:
    first, second = LabError("first"), LabError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def mute_cause() -> None:
    raise LabError("outer") from Mute()


def recurse() -> None:
    recurse()


def recurse_and_back() -> None:
    back()


def back() -> None:
    recurse_and_back()


@service.method
def forked(request: memoryview) -> bytes:
    """Lets a child come out of the handler as the request says; how the child ended."""
    how = bytes(request).decode()
    child = os.fork()
    if child == 0:
        if how == "raise":
            raise LabError("in the child")
        if how == "exit":
            sys.exit(7)
        return how.encode()
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()


@service.method
def forked_context(request: memoryview, context: carom.Context) -> bytes:
    """What a child can still do with the context, and that it can be left in it."""
    kept["view"] = request
    child = os.fork()
    if child == 0:
        try:
            context.reply(10)
        except ChildProcessError:
            sys.exit(0 if context.cancelled() else 9)
        sys.exit(8)
    kept.clear()
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@service.method
def sleep(request: memoryview) -> bytes:
    time.sleep(float(bytes(request)))
    return str(os.getpid()).encode()


@service.method
def die(request: memoryview) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@service.method
def leave(request: memoryview) -> bytes:
    os.kill(os.getpid(), signal.SIGTERM)
    return b"still answered"


@service.method
def signals(request: memoryview) -> bytes:
    """Whether a signal handler of Python runs while the worker only dispatches calls."""
    signal.signal(signal.SIGUSR1, lambda *_: kept.update(signal="seen"))
    return str(os.getpid()).encode()


@service.method
def saw_signal(request: memoryview) -> bytes:
    return str(kept.get("signal", "no")).encode()
