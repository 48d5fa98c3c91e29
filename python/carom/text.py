# SPDX-License-Identifier: Apache-2.0
"""How things are said to people: times, amounts of memory, exceptions, each in a few letters."""

from __future__ import annotations

NS_PER_S = 1e9
SPAN_UNITS = ((3600.0, "h"), (60.0, "m"), (1.0, "s"), (1e-3, "ms"))
BYTE_UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))


def one_line(error: BaseException) -> str:
    """Text of an exception for a person, without errno."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def duration(span_ns: int) -> str:
    """How long something has lasted, roughly: 41s, 12m, 5h, 3d."""
    span_s = max(0, int(span_ns / NS_PER_S))
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if span_s >= 2 * size_s:
            return f"{span_s // size_s}{unit}"
    return f"{span_s}s"


def short_duration(span_ns: int) -> str:
    """The same with one figure more for what is short: 3ms, 0.4s, 12m."""
    span_s = max(0, span_ns) / NS_PER_S
    if span_s < 0.1:
        return f"{span_s * 1e3:.0f}ms"
    return f"{span_s:.1f}s" if span_s < 10 else duration(span_ns)


def memory(amount_bytes: int) -> str:
    """An amount of memory, roughly: 512K, 61M, 1.4G."""
    for size, unit in BYTE_UNITS:
        if amount_bytes >= size:
            value = amount_bytes / size
            return f"{value:.1f}{unit}" if value < 9.95 and size > 1 << 20 else f"{value:.0f}{unit}"
    return f"{amount_bytes}B"


def exact_span(span_s: float) -> str:
    """A time as it would be written down, without loss: 10s, 500ms, 1.5s, 2m."""
    if span_s == 0:
        return "0"
    for size_s, unit in SPAN_UNITS:
        if span_s >= size_s and span_s % size_s == 0:
            return f"{span_s / size_s:g}{unit}"
    return f"{round(span_s * 1e3, 6):g}ms" if span_s < 1 else f"{span_s:g}s"


def exact_memory(amount_bytes: int) -> str:
    """An amount of memory as it would be written down, without loss: 512M."""
    for size, unit in BYTE_UNITS:
        if amount_bytes >= size and amount_bytes % size == 0:
            return f"{amount_bytes // size}{unit}"
    return str(amount_bytes)


def show_words(text: str) -> str:
    """A text that somebody else wrote, on one line, without what would steer a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
