# SPDX-License-Identifier: Apache-2.0
"""Finds the peers: every folder peers/NAME with a peer.py, every row of its `PEERS`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import BenchmarkFailed
from runner.peer import Peer

GROUPS = ("floor", "carom", "embedded", "kernel", "library")


@dataclass(frozen=True)
class Entry:
    """A row of the report with the folder that it came from."""

    peer: Peer
    folder: Path

    @property
    def name(self) -> str:
        return self.peer.name


def find(folder: Path) -> list[Entry]:
    """All rows, group by group."""
    entries: list[Entry] = []
    for path in sorted(folder.glob("*/peer.py")):
        entries += [Entry(peer, path.parent) for peer in load(path)]
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise BenchmarkFailed(f"two peers are called {name}: give each row its own name")
    return sorted(entries, key=lambda entry: GROUPS.index(entry.peer.group))


def load(path: Path) -> tuple[Peer, ...]:
    """The `PEERS` of one peer.py."""
    name = f"peers_{path.parent.name.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    peers: tuple[Peer, ...] = module.PEERS
    for peer in peers:
        if peer.group not in GROUPS:
            raise BenchmarkFailed(f"{path}: group {peer.group!r} is none of {', '.join(GROUPS)}")
    return peers


def select(entries: Sequence[Entry], asked: Iterable[str]) -> list[Entry]:
    """Those that were asked for, by row, by folder or by group; all without a wish."""
    wishes = [wish for wish in asked if wish]
    known = {word for entry in entries for word in words(entry)}
    for wish in wishes:
        if wish not in known:
            raise BenchmarkFailed(f"PEERS={wish}: no such peer; `make bench-list` names them")
    return [entry for entry in entries if not wishes or words(entry) & set(wishes)]


def words(entry: Entry) -> set[str]:
    """What a row can be asked for by."""
    return {entry.name, entry.folder.name, entry.peer.group}
