# SPDX-License-Identifier: Apache-2.0
"""What every Python server of `make bench` does before and around its work, and nothing else.

A server is a script that begins and ends like this:

    import sys
    from pathlib import Path

    sys.path.append(str(Path(__file__).resolve().parents[2]))  # bench/
    from peers import serving

    def main() -> None:
        options = serving.begin(__doc__)  # reads the arguments, pins; tied to the parent's life
        listener = ...                    # bind to options.at
        serving.prefork(options)          # only with --workers; returns in every worker
        handle = serving.handler(options)  # view of the request -> view of the answer
        serving.ready()                   # or ready("127.0.0.1:4711")
        while True:
            ...

    if __name__ == "__main__":
        main()

Flags of its own are named in `begin(__doc__, "--spin")`, and asked for by `"--spin" in options`.
SIGTERM keeps its default action, which ends the process at once, in whatever call it is; a server
with something to tidy up calls `exit_on_sigterm()` and does it in a `finally`.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from peers import work

PR_SET_PDEATHSIG = 1

Handler = Callable[[memoryview], memoryview]


@dataclass
class Options:
    """What the runner asked a server for."""

    at: str
    cpu: int | None
    compute: int
    workers: int
    flags: frozenset[str]
    worker: int = 0
    """Which worker this process is; `prefork` sets it."""

    def __contains__(self, flag: str) -> bool:
        return flag in self.flags


def begin(description: str | None, *flags: str) -> Options:
    """Reads the command line, ties this process to its parent's life and pins it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--at", required=True, help="where server and client meet")
    parser.add_argument("--cpu", type=int, default=-1, help="run on this CPU only")
    parser.add_argument("--compute", type=int, default=0, help="rounds of work.compute per call")
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    for flag in flags:
        parser.add_argument(flag, action="append_const", const=flag, dest="flags")
    parsed = parser.parse_args()
    die_with_parent()
    cpu = parsed.cpu if parsed.cpu >= 0 else None
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    given = getattr(parsed, "flags", None) or ()
    return Options(parsed.at, cpu, parsed.compute, parsed.workers, frozenset(given))


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def exit_on_sigterm() -> None:
    """Turns SIGTERM into SystemExit, so that `finally` clauses run. Only where a blocking call is
    interrupted by signals."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)


def prefork(options: Options) -> None:
    """Makes `options.workers` processes of this one and returns in each of them.

    This process is worker 0; the others end with it. Whatever was opened before is shared.
    """
    for number in range(1, options.workers):
        if os.fork() == 0:
            die_with_parent()
            options.worker = number
            return


def handler(options: Options) -> Handler:
    """The work of one call: `work.answer`, after `work.compute` if that was asked for."""
    iterations = options.compute
    if not iterations:
        return work.answer

    def handle(view: memoryview) -> memoryview:
        work.compute(iterations)
        return work.answer(view)

    return handle


def make_buffer(size_bytes: int) -> memoryview:
    """Zeroed memory that costs nothing until it is used, as a large bytearray would."""
    return memoryview(mmap.mmap(-1, size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def ready(address: str = "", worker: int = 0) -> None:
    """Tells the runner that clients may come, and where to, unless the path that it gave will do.

    Of several workers only the first speaks: call it in one, or in all with their number.
    """
    if worker == 0:
        print(f"ready {address}".rstrip(), flush=True)
