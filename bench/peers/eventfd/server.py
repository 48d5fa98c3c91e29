# SPDX-License-Identifier: Apache-2.0
"""A server on memory that it shares with each client, and two eventfds by which they wake another.

The client hands them over through a Unix socket; transport.c says what is in the memory.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import connections, serving

REQUEST_OFFSET = 4096
ANSWER_OFFSET = 16
LEAVING = 2**64 - 1


class Shared:
    """The memory of a client and its eventfds."""

    def __init__(self, memory: int, requested: int, answered: int) -> None:
        self.view = memoryview(mmap.mmap(memory, 0))
        os.close(memory)
        self.requested = requested
        self.answered = answered

    def fileno(self) -> int:
        return self.requested

    def close(self) -> None:
        os.close(self.requested)
        os.close(self.answered)


class Listener:
    """Takes over what clients hand over."""

    def __init__(self, at: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(at)
        self.socket.listen(64)

    def accept(self) -> tuple[Shared, object]:
        connection, client = self.socket.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
        return Shared(*descriptors), client

    def close(self) -> None:
        self.socket.close()


def main() -> None:
    options = serving.begin(__doc__)
    handle = serving.handler(options)

    def make_step(shared: Shared) -> connections.Step:
        requested, answered = shared.requested, shared.answered
        lengths = shared.view[:ANSWER_OFFSET].cast("Q")
        place = shared.view[ANSWER_OFFSET:REQUEST_OFFSET]
        request = shared.view[REQUEST_OFFSET:]
        wait, wake = os.eventfd_read, os.eventfd_write

        def step() -> bool:
            wait(requested)
            length = lengths[0]
            if length == LEAVING:
                return False
            answer = handle(request[:length])
            lengths[1] = count = len(answer)
            place[:count] = answer
            wake(answered, 1)
            return True

        return step

    connections.serve(Listener(options.at), make_step)


if __name__ == "__main__":
    main()
