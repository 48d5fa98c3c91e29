# SPDX-License-Identifier: Apache-2.0
"""A server on TCP over loopback, with TCP_NODELAY, on a port that the kernel chooses."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving, streams


def prepare(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def main() -> None:
    options = serving.begin(__doc__)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        host, port = listener.getsockname()
        streams.serve(listener, options, prepare, address=f"{host}:{port}")


if __name__ == "__main__":
    main()
