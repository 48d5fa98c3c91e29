# SPDX-License-Identifier: Apache-2.0
"""The command `carom bench`: command line, run, live line. See carom/benchtext.py for its output.

carom bench photo thumbnail --data photo.jpg -c 4 -d 30s -R 20000 --latency
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TextIO

from carom.benchtext import as_json, as_text, live_line
from carom.client import CONNECT_TIMEOUT_S
from carom.generator import DEPTH_MOST, Generator
from carom.load import Work
from carom.text import one_line

CALL_TIMEOUT_S = 10.0
DURATION_S = 10.0
WARM_UP_S = 1.0
OPEN_LOOP_DEPTH = 64
LIVE_S = 0.5
CONNECTIONS_MOST = 1024
SECONDS_MOST = 1e6
CALLS_MOST = 10**15
RATE_LEAST, RATE_MOST = 1e-3, 1e9
UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
FACTORS = {"k": 10**3, "M": 10**6}

DESCRIPTION = """\
Calls a method of a service from several connections and measures: calls per second, latencies,
errors.

With --rate the loop is open: calls are due at fixed times, whatever the service does, and a latency
counts from when a call was due, not from when it could be sent at last. A service that stalls shows
as what its users would see (no coordinated omission). Without --rate the loop is closed: every
connection sends its next call when one is done, and a latency is the service's answer to that call.
"""

EPILOG = """\
Times are like 500ms, 30s, 2m; numbers like 20000, 20k, 1.5M. Replies are counted, not read.
Ctrl-C ends the run early and shows what was measured.

Exit status: 0 all calls ended with OK (also when the asked rate was not reached: see the output or
"saturated" in the JSON), 1 a call failed, a connection was lost or nothing was measured, 2 it did
not begin: a wrong command line, no such file, service or method.
"""


def add_bench(command: argparse.ArgumentParser) -> None:
    """Options of `carom bench`."""
    command.set_defaults(command=bench)
    command.description = DESCRIPTION
    command.epilog = EPILOG
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument("service", metavar="SERVICE")
    command.add_argument("method", metavar="METHOD")
    request = command.add_mutually_exclusive_group()
    request.add_argument("--data", metavar="FILE", help="the request of every call; - is stdin")
    request.add_argument("--text", metavar="STRING", help="the same as text (empty)")
    command.add_argument(
        "-c",
        "--connections",
        type=whole(CONNECTIONS_MOST),
        default=1,
        metavar="N",
        help="each with a thread of its own (1)",
    )
    length = command.add_mutually_exclusive_group()
    length.add_argument(
        "-d", "--duration", type=span, metavar="TIME", help="how long to measure (10s)"
    )
    length.add_argument(
        "-n", "--calls", type=whole(CALLS_MOST), metavar="N", help="how many calls, instead"
    )
    command.add_argument(
        "-R",
        "--rate",
        type=rate,
        metavar="N",
        help="calls per second of all connections together, sent on schedule (closed loop)",
    )
    command.add_argument(
        "--depth",
        type=whole(DEPTH_MOST),
        metavar="N",
        help="most calls in flight on each connection (1; with --rate 64)",
    )
    command.add_argument(
        "--timeout",
        type=span,
        metavar="TIME",
        help="of each call (10s), and to wait for the service (5s)",
    )
    command.add_argument(
        "--warm-up",
        type=span_or_none,
        metavar="TIME",
        help="calls made before measuring and not counted (1s; with --calls none)",
    )
    command.add_argument(
        "--latency", action="store_true", help="show more percentiles, with counts"
    )
    command.add_argument(
        "--json",
        metavar="FILE",
        nargs="?",
        const="-",
        help="everything measured, with the histogram; without FILE to stdout, instead of the text",
    )
    command.add_argument(
        "--live",
        action=argparse.BooleanOptionalAction,
        help="figures twice a second on stderr (if that is a terminal)",
    )


def bench(options: argparse.Namespace) -> int:
    """Sends calls to a method and measures rates and latencies."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to show
    wait_s = CONNECT_TIMEOUT_S if options.timeout is None else options.timeout
    try:
        work = work_of(options)
        output = open_output(options.json)
        generator = Generator(options.service, options.method, work, wait_s)
    except (OSError, ValueError, LookupError, MemoryError) as error:
        print(f"carom: {one_line(error)}", file=sys.stderr)
        return 2
    live = sys.stderr.isatty() if options.live is None else options.live
    with generator, output as file:
        run(generator, sys.stderr if live else None)
        result = generator.result()
        if file is not None:
            as_json(result, options.service, options.method, file)
    if file is not sys.stdout:
        print(as_text(result, options.service, options.method, detailed=options.latency))
    return 1 if result.failed.count or result.lost or not result.calls else 0


def work_of(options: argparse.Namespace) -> Work:
    """What the command line asks for."""
    warm_up_s = 0.0 if options.calls is not None else WARM_UP_S
    duration_s = DURATION_S if options.duration is None else options.duration
    return Work(
        data=request_of(options),
        connections=options.connections,
        depth=options.depth or (1 if options.rate is None else OPEN_LOOP_DEPTH),
        timeout_s=CALL_TIMEOUT_S if options.timeout is None else options.timeout,
        warm_up_s=warm_up_s if options.warm_up is None else options.warm_up,
        duration_s=duration_s if options.calls is None else None,
        calls=options.calls,
        rate=options.rate,
    )


def request_of(options: argparse.Namespace) -> bytes:
    """The bytes of every request."""
    if options.text is not None:
        return str(options.text).encode()
    if options.data is None:
        return b""
    if options.data in ("-", "@-"):
        return sys.stdin.buffer.read()
    return Path(options.data).read_bytes()


def open_output(
    file: str | None,
) -> nullcontext[TextIO] | nullcontext[None] | TextIO:
    """Where the JSON goes, opened before anything is measured."""
    if file is None:
        return nullcontext(None)
    return nullcontext(sys.stdout) if file == "-" else Path(file).open("w")


def run(generator: Generator, live: TextIO | None) -> None:
    """From the first call to the last, or to a signal."""
    with stopped_by_signals(generator):
        generator.start()
        show = live_line(generator, live) if live is not None else None
        while not generator.wait(LIVE_S):
            if show is not None:
                show()
        if live is not None and live.isatty():
            live.write("\r\x1b[K")


@contextmanager
def stopped_by_signals(generator: Generator) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        generator.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- values on the command line


def whole(most: int) -> Callable[[str], int]:
    """A whole number from 1 to `most`."""

    def parse(text: str) -> int:
        value = number(text)
        if not 1 <= value <= most or value != int(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most:,}")
        return int(value)

    return parse


def rate(text: str) -> float:
    """Calls per second."""
    value = number(text)
    if not RATE_LEAST <= value <= RATE_MOST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a rate: use {RATE_LEAST:g} to {RATE_MOST:,.0f} calls per second"
        )
    return value


def number(text: str) -> float:
    """Like 20000, 20k, 1.5M; NaN for what is none."""
    factor = FACTORS.get(text[-1:], 1)
    digits = text if factor == 1 else text[:-1]
    return decimal(digits) * factor


def span(text: str) -> float:
    """A time longer than 0, in seconds."""
    value = span_or_none(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time at all")
    return value


def span_or_none(text: str) -> float:
    """A time like 500ms, 30s, 2m; seconds without a unit."""
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit_s = UNITS_S.get(text[len(digits) :] or "s", math.nan)
    value = decimal(digits) * unit_s
    if not 0 <= value <= SECONDS_MOST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: use something like 500ms, 30s or 2m"
        )
    return value


def decimal(text: str) -> float:
    """A number in digits; NaN for what is none."""
    plain = text.replace(".", "", 1).isdecimal() and text.isascii()
    return float(text) if plain else math.nan
