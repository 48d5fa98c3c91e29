# SPDX-License-Identifier: Apache-2.0
"""A worker process of `carom serve`: `python -m carom.worker module:service --channel FD ...`.

It talks to its supervisor (carom/supervisor.py) over a socket pair, one JSON object per line:

    worker -> supervisor   {"loaded": "photo"}    the application is imported; its service's name
    supervisor -> worker   {"join": "photo"}      the host listens
    worker -> supervisor   {"ready": 3}           joined; the worker's id within the service

An end of the channel instead of "join" means: leave. SIGINT from the terminal is the supervisor's
business; SIGTERM lets the call in progress end. The kernel kills the worker with its supervisor.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
from typing import Any

from carom import application
from carom.binding import die_with
from carom.dispatch import Worker
from carom.errors import ApplicationError
from carom.service import Service


class Channel:
    """Lines of JSON over a stream socket."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._lines = socket.socket(fileno=fd).makefile("rw", encoding="utf-8", newline="\n")

    def send(self, message: dict[str, Any]) -> None:
        """Raises BrokenPipeError when the supervisor has gone."""
        self._lines.write(json.dumps(message) + "\n")
        self._lines.flush()

    def receive(self) -> dict[str, Any]:
        """The next message; {} at the end of the channel."""
        line = self._lines.readline()
        message: dict[str, Any] = json.loads(line) if line else {}
        return message


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 told to leave, 1 the application or the service cannot be used."""
    options = parse(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if not die_with(options.parent):
        return 0
    application.search_here()
    try:
        service = application.load(options.target)
    except ApplicationError as error:
        print(f"{error.traceback}carom serve: {error}", file=sys.stderr, flush=True)
        return 1
    channel = Channel(options.channel)
    channel.send({"loaded": service.name})
    name = channel.receive().get("join")
    return serve(service, name, channel, spin=options.spin) if name else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line the supervisor made."""
    parser = argparse.ArgumentParser(prog="python -m carom.worker")
    parser.add_argument("target")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--no-spin", action="store_false", dest="spin", default=True)
    parser.add_argument("--spin", type=float)
    return parser.parse_args(arguments)


def serve(service: Service, name: str, channel: Channel, *, spin: bool | float) -> int:
    """Joins, and runs calls until told to stop."""
    try:
        with Worker(service, name=name, spin=spin) as worker:
            worker.stop_on_sigterm()
            channel.send({"ready": worker.id})
            worker.run()
    except ConnectionAbortedError:  # the service stopped while we joined
        return 0
    except (OSError, ValueError, MemoryError) as error:
        print(f"carom serve: a worker cannot serve: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:  # raised by a handler
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
