# SPDX-License-Identifier: Apache-2.0
"""The same functions over a Unix stream socket, for the comparison that demo.c prints.

    python unix_server.py SOCKET

A request is {uint32 method, uint32 length} and its bytes, an answer {uint32 length} and its bytes,
little-endian. One connection after the other, one buffer that lives as long as the server: no less
than a careful person would write.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable

import histogram as tones
import thumbnail as pictures

REQUEST = struct.Struct("<II")
ANSWER = struct.Struct("<I")
LARGEST_REQUEST = 1 << 24


def histogram(request: memoryview) -> bytearray:
    answer = bytearray(tones.COUNTS_BYTES)
    tones.count_into(request, tones.counts_of(answer))
    return answer


def draw_histogram(request: memoryview) -> bytes:
    return tones.draw(tones.counts_of(request))


def echo(request: memoryview) -> memoryview:
    return request


Method = Callable[[memoryview], bytes | bytearray | memoryview]

# In the order in which demo.c numbers them.
METHODS: list[Method] = [pictures.thumbnail, histogram, draw_histogram, echo]


def receive_into(connection: socket.socket, view: memoryview) -> bool:
    """Fills the view; False when the peer has closed."""
    while view:
        received = connection.recv_into(view)
        if not received:
            return False
        view = view[received:]
    return True


def serve(connection: socket.socket) -> None:
    head = memoryview(bytearray(REQUEST.size))
    buffer = memoryview(bytearray(LARGEST_REQUEST))
    while receive_into(connection, head):
        number, length = REQUEST.unpack(head)
        request = buffer[:length]
        if len(request) < length or not receive_into(connection, request):
            return
        answer = METHODS[number](request)
        if len(answer) < 4096:  # one system call for a small answer, no copy for a large one
            connection.sendall(ANSWER.pack(len(answer)) + answer)
        else:
            connection.sendall(ANSWER.pack(len(answer)))
            connection.sendall(answer)


def main(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                serve(connection)


if __name__ == "__main__":
    main(sys.argv[1])
