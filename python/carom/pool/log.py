# SPDX-License-Identifier: Apache-2.0
"""What `carom serve` tells its operator: one line per event, for people or for programs.

    2026-11-21T08:00:00.123Z carom[4711] worker 4713 was killed by SIGKILL; starting another
    {"time": "2026-11-21T08:00:00.123Z", "event": "died", "supervisor": 4711, "pid": 4713, ...}

As text, further lines of an event (stacks, tracebacks) are indented by two spaces; as JSON they
stay within the message.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import Any, TextIO

INDENT = "\n  "
LINES = str.maketrans({"\r": None, "\x0b": " ", "\x0c": " ", "\x85": " ", "\u2028": " "})


class Log:
    """Writes events. For one thread.

    format  "text" or "json"
    """

    def __init__(self, format: str = "text", stream: TextIO | None = None) -> None:
        self._json = format == "json"
        self._stream = sys.stderr if stream is None else stream

    def event(self, name: str, text: str, /, **fields: Any) -> None:
        """One event.

        name    a word for programs, such as "died"
        text    for people
        fields  only in JSON, such as pid=4713: the process that it is about
        """
        now_s = time.time()
        line = as_json(now_s, name, text, fields) if self._json else as_text(now_s, text)
        with contextlib.suppress(OSError, ValueError):  # nobody reads, or closed: no reason to end
            self._stream.write(line + "\n")
            self._stream.flush()

    def notice(self, name: str, text: str, /, **fields: Any) -> None:
        """An event that people learn of in another way: only written as JSON."""
        if self._json:
            self.event(name, text, **fields)


def as_text(now_s: float, text: str) -> str:
    """For people."""
    lines = text.translate(LINES).rstrip().split("\n")
    return f"{stamp(now_s)} carom[{os.getpid()}] {INDENT.join(lines)}"


def as_json(now_s: float, name: str, text: str, fields: dict[str, Any]) -> str:
    """For programs."""
    head = {"time": stamp(now_s), "event": name, "supervisor": os.getpid()}
    return json.dumps(head | {"message": text.rstrip()} | fields, default=str)


def stamp(now_s: float) -> str:
    """RFC 3339 with milliseconds, UTC."""
    milliseconds = int(now_s * 1e3)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{whole}.{milliseconds % 1000:03d}Z"
