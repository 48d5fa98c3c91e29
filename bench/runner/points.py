# SPDX-License-Identifier: Apache-2.0
"""What is varied: where and how a server runs (`Place`), what is asked of it (`Point`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

TWO_CPUS = "two-cpus"
ONE_CPU = "one-cpu"
FREE = "free"

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Place:
    """A server: pinned beside the client's CPU, to the client's CPU, or not at all."""

    placement: str = TWO_CPUS
    workers: int = 1
    compute_ns: int = 0


@dataclass(frozen=True)
class Point:
    """One measurement by the driver."""

    kind: str = "latency"
    """The driver's work=."""
    bytes: int = 64
    depth: int = 1
    clients: int = 1
    rate: int = 0
    load: str = ""
    """What a rate is called: runs are compared by this, as saturation differs between them."""
    ms: int = 80
    warm_ms: int = 20


Cell = tuple[Place, Point]


def key_of(place: Place, point: Point) -> dict[str, Any]:
    """What names a row in results.json, beside work and peer."""
    return {
        "bytes": point.bytes,
        "depth": point.depth,
        "clients": point.clients,
        "load": point.load,
        "workers": place.workers,
        "compute_ns": place.compute_ns,
        "placement": place.placement,
    }


def label(place: Place, point: Point) -> str:
    """The same for people, without what is as usual."""
    parts = [size(point.bytes)]
    if point.depth > 1:
        parts.append(f"depth {point.depth}")
    if point.load:
        parts.append(f"load {point.load}")
    if point.clients > 1:
        parts.append(f"{point.clients} clients")
    if place.workers > 1:
        parts.append(f"{place.workers} workers")
    if place.compute_ns:
        parts.append(f"computing {short(duration(place.compute_ns))}")
    return ", ".join(parts)


def size(count: int) -> str:
    """64 B, 4 KiB, 1 MiB."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} B"


def duration(ns: float) -> str:
    """Three digits and a unit: 417 ns, 13.9 us, 1.20 ms, 2.5 s."""
    value = ns
    for unit in ("ns", "us", "ms"):
        if value < 999.5:
            return f"{digits(value)} {unit}"
        value /= 1000
    return f"{digits(value)} s"


def short(text: str) -> str:
    """10.0 us is 10 us where nothing was measured."""
    return re.sub(r"(\.\d*?)0+(?=\D|$)", r"\1", text).replace(". ", " ").removesuffix(".")


def digits(value: float) -> str:
    """Three digits: 0.123, 1.23, 12.3, 123, 1,234."""
    if value >= 99.95 or value == 0:
        return f"{value:,.0f}"
    if value >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.9995 else f"{value:.3g}"
