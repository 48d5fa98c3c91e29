# SPDX-License-Identifier: Apache-2.0
"""How a Python server on sockets serves one client as fast as it can, and many at all.

A lone client gets a thread that blocks in its socket: no call is faster, and it costs nothing
beside the accepting thread, which sleeps. As soon as there is a second, one thread serves all of
them by epoll, which beats a thread for each, because these would pass the GIL to and fro. The lone
client's thread hands its socket over after its next message.

With several workers the process that was started accepts and deals the connections out in turn, so
that no worker has two clients while another has none.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from peers import serving


class Connection(Protocol):
    """Something that can be read from when a client wants something, as a socket can."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


Some = TypeVar("Some", bound=Connection)
Given_co = TypeVar("Given_co", bound=Connection, covariant=True)


class Listener(Protocol[Given_co]):
    """Something that gives a connection for every client that comes, as a listening socket does."""

    def accept(self) -> tuple[Given_co, object]: ...

    def close(self) -> None: ...


Step = Callable[[], bool]
"""Waits for what one client has sent, answers it, and says whether the client is still there;
a ConnectionError says that it is not."""


class Clients:
    """The clients of one process."""

    def __init__(self) -> None:
        self.crowd = select.epoll()
        self.steps: dict[int, tuple[Connection, Step]] = {}
        self.lock = threading.Lock()
        self.count = 0
        self.crowded = False

    def add(self, connection: Connection, step: Step) -> None:
        """Serves a new client until it leaves."""
        with self.lock:
            self.count += 1
            alone = self.count == 1
            if not alone and not self.crowded:
                self.crowded = True
                threading.Thread(target=self.serve_crowd, daemon=True).start()
        if alone:
            threading.Thread(target=self.serve_alone, args=(connection, step), daemon=True).start()
        else:
            self.join(connection, step)

    def join(self, connection: Connection, step: Step) -> None:
        self.steps[connection.fileno()] = (connection, step)
        self.crowd.register(connection, select.EPOLLIN)

    def leave(self, connection: Connection) -> None:
        with self.lock:
            self.count -= 1
        connection.close()

    def serve_alone(self, connection: Connection, step: Step) -> None:
        with contextlib.suppress(ConnectionError):
            while step():
                if self.crowded:
                    self.join(connection, step)
                    return
        self.leave(connection)

    def serve_crowd(self) -> None:
        """Until the last client has left; after that the next one is alone again."""
        poll, steps = self.crowd.poll, self.steps
        while True:
            for descriptor, _ in poll():
                connection, step = steps[descriptor]
                try:
                    stays = step()
                except ConnectionError:
                    stays = False
                if not stays:
                    del steps[descriptor]
                    self.crowd.unregister(descriptor)
                    self.leave(connection)
            with self.lock:
                if self.count == 0:
                    self.crowded = False
                    return


def serve(listener: Listener[Some], make_step: Callable[[Some], Step], address: str = "") -> None:
    """Serves every client that comes. Never returns."""
    clients = Clients()
    serve_by([lambda connection: clients.add(connection, make_step(connection))], listener, address)


def serve_by_workers(
    listener: Listener[socket.socket],
    options: serving.Options,
    make_step: Callable[[socket.socket], Step],
    address: str = "",
) -> None:
    """Serves every client that comes, by as many processes as asked for. Never returns."""
    if options.workers == 1:
        serve(listener, make_step, address)
    else:
        serve_by([start_worker(make_step) for _ in range(options.workers)], listener, address)


def serve_by(takers: list[Callable[[Some], None]], listener: Listener[Some], address: str) -> None:
    """Hands each of them a connection in turn. Never returns."""
    threading.excepthook = end_process
    serving.ready(address)
    while True:
        for take in takers:
            connection, _ = listener.accept()
            take(connection)


def start_worker(make_step: Callable[[socket.socket], Step]) -> Callable[[socket.socket], None]:
    """Starts a process and returns how to hand it a connection."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        serving.die_with_parent()
        take_from(theirs, make_step)
    theirs.close()

    def give(connection: socket.socket) -> None:
        with connection:
            socket.send_fds(ours, [b"c"], [connection.fileno()])

    return give


def take_from(parent: socket.socket, make_step: Callable[[socket.socket], Step]) -> None:
    """Serves the connections that another process hands over. Never returns."""
    clients = Clients()
    threading.excepthook = end_process
    while True:
        _, descriptors, _, _ = socket.recv_fds(parent, 1, 1)
        connection = socket.socket(fileno=descriptors[0])
        clients.add(connection, make_step(connection))


def end_process(failure: threading.ExceptHookArgs) -> None:
    """A thread that fails takes the server with it, so that its client learns of it."""
    threading.__excepthook__(failure)
    os._exit(1)
