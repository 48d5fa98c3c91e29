# SPDX-License-Identifier: Apache-2.0
"""What the handlers of holder.py share: what they keep, and what they found wrong."""

from __future__ import annotations

import threading
from typing import Protocol

import carom
from keeping import MAY_RAISE, Kept, keep

KEPT_MOST = 40


class Later(Protocol):
    """A thread that goes on when the call it belongs to is over."""

    over: threading.Event

    def join(self) -> None: ...


kept: list[tuple[int, Kept]] = []
"""With the number of the memory: views of one call's request, or of its reply, share it."""
wrong: list[str] = []
contexts: list[carom.Context] = []
late: list[Later] = []


def note(number: int, how: str, view: memoryview, content: bytes) -> None:
    try:
        kept.append((number, keep(how, view, content)))
    except MAY_RAISE as error:
        wrong.append(f"{how} cannot be kept: {error!r}")
    del kept[:-KEPT_MOST]


def end_late() -> None:
    for thread in late:
        thread.over.set()
        thread.join()
    late.clear()
