# SPDX-License-Identifier: Apache-2.0
"""The driver's side of tally.h: what clients write down, in a file that outlives them."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PAGE_BYTES = 4096
THREADS = 4
NOTICES = 64
TALLY_BYTES = 2048
COUNTERS = struct.Struct("<14Q")
NOTICE = struct.Struct("<3Q")
TEXT = (COUNTERS.size + NOTICES * NOTICE.size, 256)
RUN, PAUSE, STOP = range(3)
SUMS = ("begun", "replies", "statuses", "locals", "abandoned", "wrong", "died", "lost")


class Notice(NamedTuple):
    """A caller was told of the death of the worker that ran its call."""

    pid: int
    heard_ns: int
    next_ns: int
    """When its next call was answered; 0 where nobody measured that."""


@dataclass
class Tally:
    """Of one thread of a client, or of several together."""

    begun: int = 0
    replies: int = 0
    statuses: int = 0
    locals: int = 0
    abandoned: int = 0
    wrong: int = 0
    once_begun: int = 0
    once_replies: int = 0
    parked: int = 0
    doing: int = 0
    since_ns: int = 0
    died: int = 0
    lost: int = 0
    notices: int = 0

    @property
    def ended(self) -> int:
        return self.replies + self.statuses + self.locals + self.abandoned + self.wrong

    @property
    def operation(self) -> str:
        """What it does now, "" nothing."""
        return self.doing.to_bytes(8, "little").rstrip(b"\0").decode()

    def add(self, other: Tally) -> None:
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Tallies:
    """The file of `clients` clients."""

    def __init__(self, path: Path, clients: int) -> None:
        self.path = path
        size = PAGE_BYTES + clients * THREADS * TALLY_BYTES
        path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)

    def command(self, value: int) -> None:
        """RUN, PAUSE or STOP, for all clients."""
        self._map[0] = value

    def read(self, client: int, thread: int) -> Tally:
        """A tally as it is now."""
        return Tally(*COUNTERS.unpack_from(self._map, self._offset(client, thread)))

    def text(self, client: int) -> str:
        """What the client's threads found wrong first."""
        texts = []
        for thread in range(THREADS):
            start = self._offset(client, thread) + TEXT[0]
            text = self._map[start : start + TEXT[1]].split(b"\0", maxsplit=1)[0]
            texts.append(text.decode("utf-8", "replace"))
        return "; ".join(text for text in texts if text)

    def notices(self, client: int, thread: int, since: int) -> list[Notice]:
        """Those after the first `since`, as far as they are still there."""
        start = self._offset(client, thread) + COUNTERS.size
        count = self.read(client, thread).notices
        return [
            Notice(*NOTICE.unpack_from(self._map, start + NOTICE.size * (i % NOTICES)))
            for i in range(max(since, count - NOTICES), count)
        ]

    def clear(self, client: int) -> None:
        """For the next client of this number. Nobody may be writing."""
        start = self._offset(client, 0)
        self._map[start : start + THREADS * TALLY_BYTES] = bytes(THREADS * TALLY_BYTES)

    def close(self) -> None:
        self._map.close()

    @staticmethod
    def _offset(client: int, thread: int) -> int:
        return PAGE_BYTES + (client * THREADS + thread) * TALLY_BYTES
