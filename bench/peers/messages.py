# SPDX-License-Identifier: Apache-2.0
"""Requests and answers on sockets that keep the borders of messages (seqpacket, datagram).

One `recv_into` into a buffer made once and one `send` per call, and no framing to read.
"""

from __future__ import annotations

import select
import socket

from peers import connections, serving, work


def make_step(connection: socket.socket, handle: serving.Handler) -> connections.Step:
    """Reads one request and answers it."""
    buffer = serving.make_buffer(work.REQUEST_BYTES_MAX)
    receive, send = connection.recv_into, connection.send

    def step() -> bool:
        count = receive(buffer)
        if count == 0 and has_left(connection):
            return False
        send(handle(buffer[:count]))
        return True

    return step


def has_left(connection: socket.socket) -> bool:
    """Whether no bytes mean the end, and not an empty request."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))
