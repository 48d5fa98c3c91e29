# SPDX-License-Identifier: Apache-2.0
"""Forking a process that becomes a child of the supervisor, and what stands in the way of forks.

template -> middle -> worker     the middle one exits at once, so that the worker becomes a
                                 child of the next subreaper above: the supervisor
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import NoReturn

PID = struct.Struct("=i")
"""Through the pipe from the middle process: the worker's process id, or a negative errno."""
THREAD_END_S = 0.1
"""A thread that has been joined is listed for a moment longer."""


def fork_for(supervisor: int) -> int:
    """In this process the id of the new one, which is a child of the supervisor by then. In the
    new one 0, or -1 when the supervisor has gone. Raises OSError.
    """
    flush_output()
    reader, writer = os.pipe()
    try:
        middle = fork()
        if middle == 0:
            middle = fork_and_exit(writer)
            return 0 if is_adopted(middle, supervisor) else -1
        with contextlib.suppress(ChildProcessError):  # the application has SIGCHLD ignored
            os.waitpid(middle, 0)
        return read_pid(reader)
    finally:
        os.close(reader)
        os.close(writer)


def fork_and_exit(writer: int) -> int:
    """The middle process. Returns in the worker only: the id of the middle process."""
    middle = os.getpid()
    try:
        pid = fork()
    except BaseException as error:  # nothing may unwind into the template's code
        tell_and_exit(writer, -(getattr(error, "errno", None) or errno.ENOMEM))
    if pid != 0:
        tell_and_exit(writer, pid)
    return middle


def tell_and_exit(writer: int, number: int) -> NoReturn:
    """The end of the middle process: nothing of Python's or the application's runs any more."""
    try:
        os.write(writer, PID.pack(number))
    finally:
        os._exit(0)


def read_pid(reader: int) -> int:
    """What the middle process has written before its end."""
    os.set_blocking(reader, False)
    try:
        (number,) = PID.unpack(os.read(reader, PID.size))
    except BlockingIOError:
        raise OSError(0, "the process in between was killed") from None
    if number < 0:
        raise OSError(-number, os.strerror(-number))
    return int(number)


def is_adopted(middle: int, supervisor: int) -> bool:
    """Waits for the end of the middle process, which is near."""
    while os.getppid() == middle:
        os.sched_yield()
    return os.getppid() == supervisor


def fork() -> int:
    """os.fork; Python's warning about threads is replaced by describe_threads()."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def flush_output() -> None:
    """So that no child writes again what is in the buffers."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def dangers() -> list[str]:
    """What this process has that will not survive a fork; a sentence each."""
    try_a_fork()
    return [text for text in (describe_threads(), describe_connections()) if text]


def try_a_fork() -> None:
    """Threads that end before a fork by themselves, such as those of OpenBLAS, are no danger."""
    flush_output()
    with contextlib.suppress(OSError):
        pid = fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def describe_threads() -> str:
    """The threads besides the main one; "" if there is none."""
    names = [thread.name for thread in threading.enumerate() if thread.native_id != os.getpid()]
    others = max(other_threads(len(names)), len(names))
    if others == 0:
        return ""
    unnamed = others - len(names)
    parts = [*names, *([f"{unnamed} not made by Python"] if unnamed else [])]
    s, verb = ("s", "are") if others > 1 else ("", "is")
    return (
        f"the application has started {others} thread{s} ({', '.join(parts)}) that {verb} not in "
        f"the workers forked from it; a lock that such a thread holds stays locked there. "
        f"Start threads in @service.on_start, or use --no-preload"
    )


def other_threads(expected: int) -> int:
    """How many threads the kernel knows besides the main one."""
    give_up = time.monotonic() + THREAD_END_S
    while True:
        count = len(os.listdir("/proc/self/task")) - 1
        if count <= expected or time.monotonic() > give_up:
            return count
        time.sleep(0.001)


def describe_connections() -> str:
    """Says that carom's shared memory is mapped; "" if it is not."""
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    if not any("carom" in line and ("/memfd:" in line or "/dev/shm/" in line) for line in lines):
        return ""
    return (
        "the application has opened a carom connection or host on import or in a load hook, "
        "which cannot be used in the workers forked from it. Open it in @service.on_start, or use "
        "--no-preload"
    )
