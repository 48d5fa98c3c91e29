# SPDX-License-Identifier: Apache-2.0
"""What a run shows of itself: one line that changes on a terminal, else a line for each round."""

from __future__ import annotations

import sys
import time
from typing import TextIO

WIDTH = 20


class Progress:
    """`expect` is called by whoever knows how long the rest will take."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self.begin = time.monotonic()
        self.end_s = 0.0
        self.later_s = 0.0  # of what comes after the present step
        self.shown = ""

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.begin

    @property
    def left_s(self) -> float:
        return max(0.0, self.end_s - self.elapsed_s)

    def expect(self, seconds: float) -> None:
        """The run will take so much longer from now on."""
        self.end_s = self.elapsed_s + seconds

    def say(self, text: str) -> None:
        """A line that stays."""
        self.stream.write(f"\r\033[K{text}\n" if self.live else f"{text}\n")
        self.stream.flush()

    def step(self, text: str, detail: str = "") -> None:
        """Where the run is. Without a terminal the detail is left out and nothing said twice."""
        if self.live:
            line = f"{self.bar()}{text}  {detail}"
            self.stream.write(f"\r\033[K{line[:110]}")
        elif text != self.shown:
            self.stream.write(f"{self.left()}{text}\n")
        self.shown = text
        self.stream.flush()

    def bar(self) -> str:
        """Empty as long as nobody knows how long it will take."""
        share = self.elapsed_s / max(1e-9, self.elapsed_s + self.left_s)
        return f"[{'#' * round(WIDTH * share):.<{WIDTH}}] {self.left()}" if self.end_s else ""

    def left(self) -> str:
        return f"{minutes(self.left_s)} left  " if self.end_s else ""

    def end(self) -> None:
        """Clears the live line."""
        if self.live:
            self.stream.write("\r\033[K")
            self.stream.flush()


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
