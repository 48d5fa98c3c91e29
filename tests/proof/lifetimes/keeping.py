# SPDX-License-Identifier: Apache-2.0
"""Ways in which a handler's view outlives its call, and how each is read afterwards.

A way gets a view and the bytes that are in it, and returns what reads the view later and which
bytes that has to give. Reading may raise, but give other bytes never.

What holds a buffer and is known to the garbage collector (PickleBuffer, struct.iter_unpack) gets
the block itself, not the view: Python 3.10 to 3.12 crash when they collect a memoryview of whatever
memory together with a buffer of that view (memory_clear forgets what memory_dealloc needs).
"""

from __future__ import annotations

import array
import ctypes
import gc
import hashlib
import io
import itertools
import pickle
import re
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy
from patterns import difference

Read = Callable[[], Any]
Way = Callable[[memoryview, bytes], tuple[Read, bytes]]

MAY_RAISE = (ValueError, RuntimeError, BufferError, ReferenceError, TypeError, StopIteration)
THREADS_MOST = 6


@dataclass
class Kept:
    """Something that leads to memory of a call."""

    how: str
    read: Read
    expected: bytes
    view: memoryview | None = None
    """To be written through later, for views of a reply."""


class Foreign(Exception):
    """A view showed bytes that are not those of its call."""


def whole(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    return lambda: view, content


def sliced(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    part = view[1:-1]
    return lambda: part, content[1:-1]


def strided(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    part = view[::-3]
    return lambda: part, content[::-3]


def in_words(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    words = len(view) // 4 * 4
    part = view[:words].cast("I")
    return lambda: part, content[:words]


def as_characters(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    part = view.cast("c")
    return lambda: part, content


def in_two_dimensions(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    if len(view) < 2:
        return whole(view, content)
    rows = len(view) // 2
    part = view[: 2 * rows].cast("B", (rows, 2))
    return lambda: part, content[: 2 * rows]


def view_of_view(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    other = memoryview(memoryview(view))
    return lambda: other, content


def read_only(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    other = view.toreadonly()
    return lambda: other, content


def exporter(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    block: Any = view.obj
    return lambda: memoryview(block)[: len(content)], content


def as_numpy(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    if not content:
        return whole(view, content)
    made = numpy.frombuffer(view, numpy.uint8)
    return made.tobytes, content


def address(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    """As torch.frombuffer does it: an address, and a reference to the memoryview."""
    if not content:
        return whole(view, content)
    at = numpy.frombuffer(view, numpy.uint8).ctypes.data

    def read() -> bytes:
        view.nbytes  # noqa: B018  # refers to the view, and raises if it was released
        return ctypes.string_at(at, len(content))

    return read, content


def in_list(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    nest: list[Any] = [{"views": (view,)}]
    nest.append(nest)
    return lambda: nest[0]["views"][0], content


def generator(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    def give() -> Iterator[bytes]:
        held = view
        try:
            while True:
                yield bytes(held)
        finally:
            raise ValueError("raised while the generator is closed")

    running = give()
    next(running)
    return lambda: next(running), content


def coroutine(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    async def wait() -> bytes:
        class Once:
            def __await__(self) -> Generator[None, None, None]:
                yield None

        await Once()
        return bytes(view)

    waiting = wait()
    waiting.send(None)

    def read() -> bytes:
        try:
            waiting.send(None)
        except StopIteration as end:
            return bytes(end.value)
        raise Foreign("a coroutine that does not end")

    return read, content


def traceback(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    def fail(held: memoryview) -> None:
        raise LookupError(held)

    try:
        fail(view)
    except LookupError:
        kept = sys.exc_info()

    def read() -> Any:
        step = kept[2]
        assert step is not None
        while step.tb_next is not None:
            step = step.tb_next
        return step.tb_frame.f_locals["held"]

    return read, content


def frame(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    kept = sys._getframe()
    return lambda: kept.f_locals["view"], content


def iterator(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    running = iter(view)
    first = bytes(itertools.islice(running, 2))
    seen = bytearray(first)

    def read() -> bytes:
        seen.extend(running)
        return bytes(seen)

    return read, content


def structs(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    block: Any = view.obj
    if not content or len(memoryview(block)) != len(content):
        return whole(view, content)
    running = struct.iter_unpack("c", block)
    seen = bytearray(next(running)[0])

    def read() -> bytes:
        for (piece,) in running:
            seen.extend(piece)
        return bytes(seen)

    return read, content


def match(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    found = re.match(rb"(?s).{0,100}", view)
    assert found is not None
    return found.group, content[:100]


def pickled(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    buffer = pickle.PickleBuffer(view.obj)
    return lambda: memoryview(buffer)[: len(content)], content


def managed_buffer(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    """The object behind a memoryview, from which the garbage collector finds the others."""
    buffers = [o for o in gc.get_referents(view) if type(o).__name__ == "managedbuffer"]

    def read() -> bytes:
        found = [o for o in gc.get_referrers(*buffers) if type(o) is memoryview]
        found = [view for view in found if len(view) == len(content)]
        if not found:
            raise ReferenceError("nobody holds a view of all of it")
        return bytes(found[0])

    return read, content


def weak(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    reference = weakref.ref(view)

    def read() -> memoryview:
        alive = reference()
        if alive is None:
            raise ReferenceError("it has gone")
        return alive

    return read, content


class Phoenix:
    """Comes back when it is deleted, with its view."""

    def __init__(self, view: memoryview, grave: list[memoryview]) -> None:
        self.view = view
        self.grave = grave

    def __del__(self) -> None:
        self.grave.append(self.view)
        raise ValueError("raised while an object is deleted")


def resurrected(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    grave: list[memoryview] = []
    cycle: list[Any] = [Phoenix(view, grave)]
    if len(content) % 2:
        cycle.append(cycle)  # found by the collector only

    def read() -> memoryview:
        gc.collect()
        if not grave:
            raise ReferenceError("not deleted yet")
        return grave[0]

    return read, content


def ctypes_array(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    if view.readonly or not content:
        return whole(view, content)
    made = (ctypes.c_char * len(content)).from_buffer(view)
    return lambda: bytes(made), content


def exported(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    """Buffers taken and given back at once; nothing is kept."""
    copy = bytearray()
    copy.extend(view)
    copies = [bytes(copy), array.array("B", view).tobytes(), io.BytesIO(view).getvalue()]
    copies.append(b"".join([view, b""]))
    return lambda: copies[len(content) % 4], content


class Reader(threading.Thread):
    """Goes on reading a view: with the interpreter lock, or without it where that is possible."""

    running: ClassVar[list[Reader]] = []

    def __init__(self, view: memoryview, content: bytes) -> None:
        super().__init__(daemon=True)
        self.view = view
        self.content = content
        self.digest = hashlib.sha256(content).digest()
        self.foreign = b""
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.0002):
            try:
                seen = bytes(self.view)
                held = hashlib.sha256(self.view).digest() == self.digest
            except MAY_RAISE:
                return
            if seen != self.content or not held:
                self.foreign = seen or b"(bytes that were gone at once)"
                return


def thread(view: memoryview, content: bytes) -> tuple[Read, bytes]:
    if len(Reader.running) >= THREADS_MOST:
        return whole(view, content)
    reader = Reader(view, content)
    reader.start()
    Reader.running.append(reader)
    return lambda: reader.foreign or reader.view, content


def end_readers() -> None:
    readers = Reader.running[:]
    del Reader.running[: len(readers)]  # a handler whose caller has left may add one meanwhile
    for reader in readers:
        reader.over.set()
    for reader in readers:
        reader.join()


class Delayed(threading.Thread):
    """Lets go of what it got some time later, in a thread of its own."""

    def __init__(self, held: Any, delay_s: float) -> None:
        super().__init__(daemon=True)
        self.held = held
        self.delay_s = delay_s

    def run(self) -> None:
        time.sleep(self.delay_s)
        del self.held


WAYS: dict[str, Way] = {
    way.__name__: way
    for way in (
        whole,
        sliced,
        strided,
        in_words,
        as_characters,
        in_two_dimensions,
        view_of_view,
        read_only,
        exporter,
        as_numpy,
        address,
        in_list,
        generator,
        coroutine,
        traceback,
        frame,
        iterator,
        structs,
        match,
        pickled,
        managed_buffer,
        weak,
        resurrected,
        ctypes_array,
        exported,
        thread,
    )
}


def keep(how: str, view: memoryview, content: bytes) -> Kept:
    read, expected = WAYS[how](view, content)
    return Kept(how, read, expected, None if view.readonly else view)


def found_by_collector() -> list[Kept]:
    """Every memoryview of carom's that the garbage collector knows, with what it shows now."""
    found = []
    for view in gc.get_objects():
        if type(view) is not memoryview:
            continue
        try:
            if type(view.obj).__name__ == "Block":
                found.append(Kept("found_by_collector", *whole(view, bytes(view))))
        except ValueError:  # released
            continue
    return found


def complaint(kept: Kept) -> str:
    """What is wrong with it; "" nothing."""
    try:
        seen = bytes(kept.read())
    except MAY_RAISE:
        return ""
    return "" if seen == kept.expected else f"{kept.how}: {difference(kept.expected, seen)}"
