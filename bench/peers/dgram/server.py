# SPDX-License-Identifier: Apache-2.0
"""A server on Unix datagram sockets: a socket for every client, connected to the client's.

A client says hello by an empty datagram to the address that all know. It is answered by one from a
new socket, to which the client connects. A client that leaves disconnects its socket, which the
kernel reports here as ECONNRESET.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import connections, messages, serving


class Listener:
    """Makes connections of hellos."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)

    def accept(self) -> tuple[socket.socket, object]:
        _, client = self.socket.recvfrom(1)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        connection.bind("")  # the kernel chooses an abstract name
        connection.connect(client)
        connection.send(b"")
        return connection, client

    def close(self) -> None:
        self.socket.close()


def main() -> None:
    options = serving.begin(__doc__)
    handle = serving.handler(options)
    listener = Listener(options.at)
    connections.serve_by_workers(
        listener, options, lambda client: messages.make_step(client, handle)
    )


if __name__ == "__main__":
    main()
