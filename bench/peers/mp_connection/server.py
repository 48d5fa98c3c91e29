# SPDX-License-Identifier: Apache-2.0
"""A server on multiprocessing.connection, over a Unix socket."""

from __future__ import annotations

import multiprocessing.connection as mp
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import connections, serving


class Listener:
    """mp.Listener, with clients as connections.py takes them."""

    def __init__(self, at: str) -> None:
        self.listener = mp.Listener(at, "AF_UNIX", backlog=64)

    def accept(self) -> tuple[mp.Connection, object]:
        return self.listener.accept(), None

    def close(self) -> None:
        self.listener.close()


def main() -> None:
    options = serving.begin(__doc__)
    handle = serving.handler(options)

    def make_step(connection: mp.Connection) -> connections.Step:
        receive, send = connection.recv_bytes, connection.send_bytes

        def step() -> bool:
            try:
                request = receive()
            except EOFError:
                return False
            send(handle(memoryview(request)))
            return True

        return step

    connections.serve(Listener(options.at), make_step)


if __name__ == "__main__":
    main()
