# SPDX-License-Identifier: Apache-2.0
"""Command lines of a peer's server and client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.peers import Entry
from runner.points import FREE, ONE_CPU, Place, Point


@dataclass(frozen=True)
class Words:
    """What the words in a peer's command lines stand for."""

    python: Path
    builds: Path
    """The folder with a folder for each peer."""

    def replace(self, entry: Entry, command: tuple[str, ...], at: str) -> list[str]:
        names = {
            "{python}": str(self.python),
            "{peer}": str(entry.folder),
            "{build}": str(self.builds / entry.folder.name),
            "{at}": at,
        }
        return [replace_words(part, names) for part in command]


def replace_words(text: str, names: Mapping[str, str]) -> str:
    """Not str.format: a command may contain braces of its own."""
    for name, value in names.items():
        text = text.replace(name, value)
    return text


@dataclass(frozen=True)
class Cpus:
    """Where the two sides run when they are pinned."""

    client: int
    server: int

    def of_server(self, place: Place) -> int:
        return {FREE: -1, ONE_CPU: self.client}.get(place.placement, self.server)

    def of_client(self, place: Place) -> int:
        return -1 if place.placement == FREE else self.client


def server_command(
    words: Words, entry: Entry, at: str, cpu: int, workers: int, iterations: int
) -> list[str]:
    """--workers and --cpu are left out where they say nothing."""
    command = words.replace(entry, entry.peer.server, at)
    if "--at" not in command:
        command += ["--at", at]
    if cpu >= 0:
        command += ["--cpu", str(cpu)]
    if iterations:
        command += ["--compute", str(iterations)]
    if entry.peer.workers_max > 1:
        command += ["--workers", str(workers)]
    return command


def client_command(
    words: Words, entry: Entry, at: str, cpu: int, peer_cpu: int, point: Point
) -> list[str]:
    """The driver's arguments. `peer_cpu` is for a client that starts its other side itself."""
    arguments = {
        "work": point.kind,
        "at": at,
        "bytes": point.bytes,
        "depth": point.depth,
        "ms": point.ms,
        "warm_ms": point.warm_ms,
        "cpu": cpu,
        "peer_cpu": peer_cpu,
    }
    if entry.peer.option:
        arguments["option"] = entry.peer.option
    if point.rate:
        arguments["rate"] = point.rate
    if point.clients > 1:
        arguments["clients"] = point.clients
    command = words.replace(entry, entry.peer.client, at)
    return [*command, *(f"{name}={value}" for name, value in arguments.items())]
