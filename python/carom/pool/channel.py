# SPDX-License-Identifier: Apache-2.0
"""What the processes of a pool say to each other: JSON objects over a SOCK_SEQPACKET socket pair.

One packet is one message; its first key names it.

    template -> supervisor  {"loaded": NAME, "methods": {NAME: {"idempotent": b, "timeout": s|null},
                             ...}, "files": [...], "warning": TEXT|null}
                            {"failed": TEXT}              why it cannot serve; it exits
                            {"forked": PID, "key": N}     the worker asked for by "fork"
                            {"unforked": TEXT, "key": N}  fork failed
    supervisor -> template  {"fork": N} with two descriptors: the worker's channel, its stack pipe
    worker -> supervisor    {"loaded": ...} as above       without a template only
                            {"ready": [ID, ...]}          joined, warmed up; ids within the service
                            {"failed": TEXT}              a hook raised; it exits
    supervisor -> worker    {"join": NAME, "threads": n, "spin": true|false|seconds,
                             "timeout": s|null}

The end of the channel means: the other one is gone, or wants this one to leave before it joined.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Sequence
from typing import Any

MESSAGE_BYTES = 1 << 17
TEXT_BYTES = 48 << 10
"""Longest text in a message; senders cut from the front, where tracebacks are dull."""
DUMP_SIGNAL = signal.SIGRTMIN + 8
"""To a worker: write the Python stack of every thread to the stack pipe (faulthandler)."""
INTERRUPT_SIGNAL = signal.SIGRTMIN + 9
"""To a worker: raise TimeoutError in handlers that have run longer than they may."""

Message = dict[str, Any]


class Channel:
    """One end of the socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """Our end, and theirs to hand over."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    @classmethod
    def inherited(cls, fd: int) -> Channel:
        """The end whose descriptor the parent has passed on."""
        end = socket.socket(fileno=fd)
        end.set_inheritable(False)
        return cls(end)

    def fileno(self) -> int:
        """For a selector: readable when there is a message, or the end."""
        return self.socket.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Raises BrokenPipeError or ConnectionResetError when the other one has gone."""
        packet = json.dumps(message).encode()
        if fds:
            socket.send_fds(self.socket, [packet], list(fds))
        else:
            self.socket.send(packet)

    def receive(self) -> Message | None:
        """The next message, None at the end. BlockingIOError if not blocking and nothing there."""
        return self.receive_fds()[0]

    def receive_fds(self) -> tuple[Message | None, list[int]]:
        """The next message and the descriptors with it, which are close-on-exec."""
        try:
            packet, fds, _, _ = socket.recv_fds(self.socket, MESSAGE_BYTES, 2)
        except ConnectionResetError:
            return None, []
        message: Message | None = json.loads(packet) if packet else None
        return message, fds

    def close(self) -> None:
        """The other end reads the end."""
        self.socket.close()


def cut(text: str) -> str:
    """A text that fits a message: its last TEXT_BYTES bytes."""
    encoded = text.encode("utf-8", "backslashreplace")
    return encoded[-TEXT_BYTES:].decode("utf-8", "ignore")
