# SPDX-License-Identifier: Apache-2.0
"""A server of MessagePack maps on a Unix stream socket.

Requests are {"id", "method", "data"}, answers {"id", "data"}. One buffer is received into and fed
to the streaming Unpacker of the C extension; the Packer is made once. Several messages that came
together are answered together.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgpack

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import connections, serving

RECEIVE_BYTES = 1 << 18


def make_step(connection: socket.socket, methods: dict[str, serving.Handler]) -> Callable[[], bool]:
    """One step takes what has come and answers the requests that are complete with it."""
    unpacker = msgpack.Unpacker(max_buffer_size=1 << 27)
    pack = msgpack.Packer().pack
    view = memoryview(bytearray(RECEIVE_BYTES))
    receive, feed, send = connection.recv_into, unpacker.feed, connection.sendall

    def step() -> bool:
        count = receive(view)
        feed(view[:count])
        answers = [
            pack({"id": call["id"], "data": methods[call["method"]](memoryview(call["data"]))})
            for call in unpacker
        ]
        if answers:
            send(answers[0] if len(answers) == 1 else b"".join(answers))
        return count > 0

    return step


def main() -> None:
    options = serving.begin(__doc__)
    methods = {"answer": serving.handler(options)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(options.at)
        listener.listen(64)
        connections.serve_by_workers(
            listener, options, lambda connection: make_step(connection, methods)
        )


if __name__ == "__main__":
    main()
