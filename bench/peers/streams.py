# SPDX-License-Identifier: Apache-2.0
"""Requests and answers on a byte stream: an 8-byte length (little endian), then that many bytes.

A small request arrives by one `recv_into` into a buffer made once, as many of them as there are,
and is answered by one `send`; those that came together are answered together. The rest of a large
one is waited for with MSG_WAITALL, so that Python is not woken for each part.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from peers import connections, serving, work

LENGTH = struct.Struct("<Q")
HEAD_BYTES = LENGTH.size
READ_BYTES = 64 << 10
"""How much is asked for when it is not yet known how much comes."""

Receive = Callable[[memoryview], int]
Send = Callable[[bytes], object]


def make_step(
    receive: Receive, receive_rest: Receive, send: Send, handle: serving.Handler
) -> connections.Step:
    """Reads what has come on a connection, at least one whole request, and answers it.

    `receive` waits for what comes first; `receive_rest` may wait for as much as it is asked for.
    """
    buffer = serving.make_buffer(HEAD_BYTES + work.REQUEST_BYTES_MAX + READ_BYTES)
    first = buffer[:READ_BYTES]
    pack, unpack = LENGTH.pack, LENGTH.unpack_from

    def step() -> bool:
        filled = receive(first)
        if filled < HEAD_BYTES:
            return filled != 0 and answer_several(filled)
        (length,) = unpack(buffer)
        if filled != HEAD_BYTES + length:
            return answer_several(filled)
        answer = handle(buffer[HEAD_BYTES:filled])  # one request, the usual case
        send(pack(len(answer)) + answer)
        return True

    def answer_several(filled: int) -> bool:
        """Answers the requests in the buffer, the last of which may not be whole yet."""
        answers: list[bytes] = []
        start = 0
        while start < filled:
            filled = read_until(start + HEAD_BYTES, filled)
            (length,) = unpack(buffer, start)
            body = start + HEAD_BYTES
            if body + length > filled and answers:
                send(b"".join(answers))  # before waiting, and the rest goes where there is room
                answers.clear()
                buffer[: filled - start] = buffer[start:filled]
                start, body, filled = 0, HEAD_BYTES, filled - start
            filled = read_until(body + length, filled)
            answer = handle(buffer[body : body + length])
            answers.append(pack(len(answer)) + answer)
            start = body + length
        send(b"".join(answers))
        return True

    def read_until(end: int, filled: int) -> int:
        while filled < end:
            count = receive_rest(buffer[filled:end])
            if count == 0:
                raise ConnectionResetError("the client left in the middle of a request")
            filled += count
        return filled

    return step


def make_receive(connection: socket.socket, spin: bool) -> tuple[Receive, Receive]:
    """How to get what comes first, and how to get the rest of it."""
    receive = connection.recv_into
    dont_wait, all_of_it = socket.MSG_DONTWAIT, socket.MSG_WAITALL

    def receive_spinning(view: memoryview) -> int:
        while True:
            try:
                return receive(view, 0, dont_wait)
            except BlockingIOError:
                pass

    def receive_rest(view: memoryview) -> int:
        return receive(view, 0, all_of_it)

    return (receive_spinning, receive_spinning) if spin else (receive, receive_rest)


def serve(
    listener: socket.socket,
    options: serving.Options,
    prepare: Callable[[socket.socket], None] = lambda connection: None,
    spin: bool = False,
    address: str = "",
) -> None:
    """Serves all clients of a listening socket; `prepare` sets the options of each connection, and
    the runner learns the address."""
    handle = serving.handler(options)

    def make(connection: socket.socket) -> connections.Step:
        prepare(connection)
        return make_step(*make_receive(connection, spin), connection.sendall, handle)

    connections.serve_by_workers(listener, options, make, address)
