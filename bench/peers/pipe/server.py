# SPDX-License-Identifier: Apache-2.0
"""A server on named pipes: two for each client, who makes them and tells their number by a third.

io.FileIO is the thinnest layer that Python has over a descriptor: `readinto` a buffer made once.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import connections, serving, streams

NUMBER_BYTES = 8


class Pipes:
    """The two pipes of a client."""

    def __init__(self, at: str, number: int) -> None:
        self.requests = io.FileIO(f"{at}.{number}.requests")
        self.answers = io.FileIO(f"{at}.{number}.answers", "w")

    def fileno(self) -> int:
        return self.requests.fileno()

    def close(self) -> None:
        self.requests.close()
        self.answers.close()


class Listener:
    """Opens the pipes of every client that tells of itself."""

    def __init__(self, at: str) -> None:
        os.mkfifo(at)
        self.at = at
        self.announced = io.FileIO(at, "r+")  # for writing too, so that it never ends

    def accept(self) -> tuple[Pipes, object]:
        number = int.from_bytes(self.announced.read(NUMBER_BYTES), sys.byteorder)
        return Pipes(self.at, number), number

    def close(self) -> None:
        self.announced.close()


def main() -> None:
    options = serving.begin(__doc__)
    handle = serving.handler(options)

    def make_step(pipes: Pipes) -> connections.Step:
        receive, send = pipes.requests.readinto, pipes.answers.write
        return streams.make_step(receive, receive, send, handle)

    connections.serve(Listener(options.at), make_step)


if __name__ == "__main__":
    main()
