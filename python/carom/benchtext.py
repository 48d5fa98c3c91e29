# SPDX-License-Identifier: Apache-2.0
"""What `carom bench` shows: the live line, the text and the JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, TextIO

from carom.binding import bucket_lasts, version
from carom.generator import Generator
from carom.load import Failures, Histogram, Result, Work

SCHEMA = 1
PERCENTILES = (50, 75, 90, 99, 99.9, 99.99)
SPECTRUM = (1, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97.5, 98)
SPECTRUM_TAIL = (99, 99.5, 99.75, 99.9, 99.95, 99.975, 99.99)
DIGITS = 3


# ---- text


def as_text(result: Result, service: str, method: str, *, detailed: bool) -> str:
    """For a person."""
    paragraphs = [
        "\n".join(headline(result.work, service, method)),
        "\n".join(figures(result)),
        *latencies(result, detailed=detailed),
        *([failures(result.errors)] if result.errors else []),
        *remarks(result),
    ]
    return "\n\n".join(paragraphs)


def headline(work: Work, service: str, method: str) -> list[str]:
    """What was asked for."""
    length = f"for {work.duration_s:g} s" if work.calls is None else f"{work.calls:,} calls"
    warm_up = f" after {work.warm_up_s:g} s of warm-up" if work.warm_up_s else ""
    loop = "closed loop" if work.rate is None else f"open loop, {number(work.rate)} calls/s"
    since = (
        "a latency counts from when the call was sent"
        if work.rate is None
        else "a latency counts from when the call was due"
    )
    return [
        f"{service} {method}: {plural(work.connections, 'connection')}, "
        f"{plural(work.depth, 'call')} in flight on each at most, "
        f"requests of {plural(len(work.data), 'byte')}",
        f"{loop}, {length}{warm_up}; {since}",
    ]


def figures(result: Result) -> list[str]:
    """What was reached."""
    asked = "" if result.work.rate is None else f" of {number(result.work.rate)} asked"
    rows = [
        ("calls", f"{result.calls:,} in {result.seconds:.3g} s, {result.failed.count:,} failed"),
        ("rate", f"{number(result.rate)} calls/s{asked}"),
        ("requests", per_second(result.sent_bytes, result.seconds)),
        ("replies", per_second(result.received_bytes, result.seconds)),
    ]
    if result.work.rate is not None:
        late = f"at most {time(result.late_max_ns)} after a call was due, in its latency"
        rows.append(("sent late", late))
    return [f"  {name:<10}{text}" for name, text in rows]


def latencies(result: Result, *, detailed: bool) -> list[str]:
    """Percentiles of the calls with OK, and briefly of the others."""
    paragraphs = []
    if result.ok.count:
        spread = f"mean {time(result.ok.mean_ns)}, stdev {time(result.ok.stdev_ns)}"
        rows = spectrum(result.ok) if detailed else brief(result.ok)
        paragraphs.append("\n".join([f"  latency   {spread}", *rows]))
    if result.failed.count:
        median, most = result.failed.percentile(50), result.failed.max_ns
        text = f"p50 {time(median)}, max {time(most)}: not in the latencies above"
        paragraphs.append(f"  failed    {text}")
    return paragraphs


def brief(histogram: Histogram) -> list[str]:
    """A line for each percentile."""
    rows = [(f"p{percent:g}", histogram.percentile(percent)) for percent in PERCENTILES]
    return [f"  {name:<8}{time(value):>10}" for name, value in [*rows, ("max", histogram.max_ns)]]


def spectrum(histogram: Histogram) -> list[str]:
    """More of them, with the number of calls that took longer."""
    rows = ["   percentile   latency    calls above"]
    for percent in (*SPECTRUM, *SPECTRUM_TAIL):
        value = histogram.percentile(percent)
        above = sum(count for _, last, count in histogram.buckets() if last > value)
        rows.append(f"   {f'p{percent:g}':<8}{time(value):>12}{above:>15,}")
    return [*rows, f"   {'max':<8}{time(histogram.max_ns):>12}{0:>15,}"]


def failures(errors: Mapping[str, Failures]) -> str:
    """How many calls ended with which status, and what the first one said."""
    width = max(len(name) for name in errors)
    return "\n".join(
        f"  {name:<{width}}  {error.count:>9,}  first: {' '.join(error.first.split())}"
        for name, error in errors.items()
    )


def remarks(result: Result) -> list[str]:
    """What has to be known to read the figures."""
    found = [f"A connection was lost: {text}." for text in result.lost]
    if result.interrupted:
        found.append(
            f"Interrupted: {plural(result.unfinished, 'call')} in flight given up, not counted."
        )
    if result.saturated:
        found.append(saturation(result))
    elif result.queueing > 1 and not result.interrupted:
        found.append(
            f"{missed(result)}: {plural(result.queueing, 'call')} were still in flight when the "
            "time was over. A longer run, or a smaller --depth, shows whether that goes on."
        )
    if not result.calls:
        found.append("Nothing was measured: no call was due, or none was done in time.")
    return found


def saturation(result: Result) -> str:
    """Why the asked rate was not reached."""
    work = result.work
    unsent = f" {plural(result.unsent, 'call')} that were due were never sent."
    ending = unsent if result.unsent else ""
    if result.generator_limited:
        return (
            f"{missed(result)}: this generator did not send faster (calls were late although they "
            "could have been sent); try other -c, or leave it more CPU. Latencies include the "
            f"delay.{ending}"
        )
    most = plural(work.connections * work.depth, "call")
    return (
        f"{missed(result)}: the service is saturated; latencies include queueing. The {most} that "
        f"may be in flight (-c times --depth) were.{ending}"
    )


def missed(result: Result) -> str:
    """The rate that was asked and the one that was reached."""
    return f"asked {number(result.work.rate or 0)}/s, got {number(result.rate)}/s"


# ---- numbers for people


def plural(count: int, noun: str) -> str:
    """Like "1 call", "2 calls"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number(value: float) -> str:
    """With the digits that mean something: 0.25, 99.8, 19,999."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def time(ns: float) -> str:
    """Three digits and a unit: 850 ns, 12.3 us, 1.05 s."""
    for unit, size in (("ns", 1.0), ("us", 1e3), ("ms", 1e6)):
        if round_to(ns / size) < 1000:
            return f"{fixed(ns / size)} {unit}"
    return f"{fixed(ns / 1e9)} s"


def per_second(total: int, seconds: float) -> str:
    """Bytes per second."""
    rate = total / seconds if seconds > 0 else 0.0
    for unit, size in (("B", 1.0), ("kB", 1e3), ("MB", 1e6)):
        if round_to(rate / size) < 1000:
            return f"{fixed(rate / size)} {unit}/s"
    return f"{fixed(rate / 1e9)} GB/s"


def round_to(value: float) -> float:
    """Rounded to the digits that are shown."""
    return float(f"{value:.{DIGITS}g}")


def fixed(value: float) -> str:
    """Three digits without an exponent; whole numbers as such."""
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, DIGITS - 1 - math.floor(math.log10(value)))}f}"


# ---- while it runs


def live_line(generator: Generator, stream: TextIO) -> Callable[[], None]:
    """A function that shows what happened since it was last called."""
    before_s, before = 0.0, generator.counts(failed=False)
    overwrite = stream.isatty()

    def show() -> None:
        nonlocal before_s, before
        now_s, now = generator.measured_s, generator.counts(failed=False)
        failed = sum(generator.counts(failed=True))
        line = f"{now_s:.1f} s  {failed:,} failed"
        if now_s < 0:
            line = "warming up"
        elif now_s > before_s:
            new = [a - b for a, b in zip(now, before, strict=True)]
            line = f"{now_s:.1f} s  {news(new, now_s - before_s)}  {failed:,} failed"
        stream.write(f"\r{line}\x1b[K" if overwrite else f"{line}\n")
        stream.flush()
        before_s, before = max(now_s, 0.0), now

    return show


def news(counts: list[int], seconds: float) -> str:
    """Rate and latencies of one interval."""
    histogram = Histogram(counts, bucket_lasts())
    p50, p99 = (time(histogram.percentile(percent)) for percent in (50, 99))
    return f"{number(histogram.count / seconds)} calls/s  p50 {p50}  p99 {p99}"


# ---- JSON


def as_json(result: Result, service: str, method: str, file: TextIO) -> None:
    """For programs: one object; its keys are explained in the README."""
    json.dump(document(result, service, method), file)
    file.write("\n")


def document(result: Result, service: str, method: str) -> dict[str, Any]:
    """The object."""
    work = result.work
    return {
        "schema": SCHEMA,
        "carom": version(),
        "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "service": service,
        "method": method,
        "request_bytes": len(work.data),
        "connections": work.connections,
        "depth": work.depth,
        "timeout_s": work.timeout_s,
        "warm_up_s": work.warm_up_s,
        "duration_asked_s": work.duration_s,
        "calls_asked": work.calls,
        "rate_asked": work.rate,
        "latency_from": "sent" if work.rate is None else "due",
        "interrupted": result.interrupted,
        "seconds": result.seconds,
        "calls": result.calls,
        "ok": result.ok.count,
        "failed": result.failed.count,
        "unfinished": result.unfinished,
        "calls_per_s": result.rate,
        "request_bytes_per_s": result.sent_bytes / result.seconds if result.seconds else 0.0,
        "reply_bytes_per_s": result.received_bytes / result.seconds if result.seconds else 0.0,
        "saturated": result.saturated,
        "generator_limited": result.generator_limited,
        "unsent": result.unsent,
        "delayed": result.delayed,
        "late_max_ns": result.late_max_ns,
        "latency": distribution(result.ok),
        "failed_latency": distribution(result.failed),
        "errors": {
            name: {"count": error.count, "first": error.first}
            for name, error in result.errors.items()
        },
        "lost": result.lost,
    }


def distribution(histogram: Histogram) -> dict[str, Any] | None:
    """Percentiles in nanoseconds and the histogram; None for no calls."""
    if not histogram.count:
        return None
    percentiles = {
        f"p{percent:g}_ns".replace(".", ""): histogram.percentile(percent)
        for percent in PERCENTILES
    }
    return {
        "count": histogram.count,
        "mean_ns": histogram.mean_ns,
        "stdev_ns": histogram.stdev_ns,
        **percentiles,
        "max_ns": histogram.max_ns,
        "histogram": [[last, count] for _, last, count in histogram.buckets()],
    }
