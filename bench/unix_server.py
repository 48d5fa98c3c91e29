# SPDX-License-Identifier: Apache-2.0
"""A Python server on a Unix stream socket that sends back what it gets: the peer of unix_rtt.c.

The fastest loop that plain Python offers: one buffer made once, bound methods, `recv_into` and
`sendall`, no allocation, no framing, no selector, no thread, no asyncio, blocking sockets (which
skip the `poll` that a socket with a timeout makes before every call). Any real server does more.

With `--spin` it asks the socket again and again instead of sleeping in it, while a client is
connected. It measures nothing itself; it runs until it is killed.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket

PR_SET_PDEATHSIG = 1


def echo_blocking(connection: socket.socket, size_bytes: int) -> None:
    """Answers messages of a fixed size until the client leaves; sleeps for each."""
    view = memoryview(bytearray(size_bytes))
    receive, send = connection.recv_into, connection.sendall
    while count := receive(view):
        while count < size_bytes:
            part = receive(view[count:])
            if not part:
                return
            count += part
        send(view)


def echo_spinning(connection: socket.socket, size_bytes: int) -> None:
    """The same without sleeping. A whole small message always arrives at once."""
    view = memoryview(bytearray(size_bytes))
    receive, send = connection.recv_into, connection.sendall
    dont_wait = socket.MSG_DONTWAIT
    while True:
        try:
            count = receive(view, size_bytes, dont_wait)
        except BlockingIOError:
            continue
        if count != size_bytes:
            return
        send(view)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", help="of the socket")
    parser.add_argument("--bytes", type=int, default=64, help="size of every message")
    parser.add_argument("--cpu", type=int, help="run on this CPU only")
    parser.add_argument("--spin", action="store_true", help="never sleep while connected")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    echo = echo_spinning if options.spin else echo_blocking
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(options.path)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                echo(connection, options.bytes)


if __name__ == "__main__":
    main()
