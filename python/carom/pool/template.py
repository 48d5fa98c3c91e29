# SPDX-License-Identifier: Apache-2.0
"""The template: `python -m carom.pool.template TARGET --channel FD --parent PID`.

It imports the application once, runs its load hooks, and then forks a worker whenever the
supervisor asks for one (fork.py). Workers share its memory until they write to it. The template
itself never joins a service: a forked child cannot use its parent's connections.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys

from carom.binding import die_with, native_types
from carom.errors import ApplicationError
from carom.pool import loaded
from carom.pool.channel import Channel
from carom.pool.fork import dangers, fork_for
from carom.pool.manners import leave_signals_to_supervisor, report_failure
from carom.pool.worker import WorkerProcess
from carom.service import Service


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 told to leave, 1 the application cannot be used. A worker returns its own."""
    options = parse(arguments)
    leave_signals_to_supervisor()
    if not die_with(options.parent):
        return 0
    channel = Channel.inherited(options.channel)
    try:
        service = loaded.load(options.target)
        leave_signals_to_supervisor()  # whatever the application has done with them
        message = loaded.message(service, dangers())
    except ApplicationError as error:
        return report_failure(channel, error)
    native_types()
    gc.collect()
    gc.freeze()  # collections in workers do not touch, and so not copy, what is there now
    try:
        channel.send(message)
        worker = fork_workers(service, options.target, channel, options.parent)
    except (BrokenPipeError, ConnectionResetError):
        return 0
    return worker.run() if worker is not None else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line the supervisor made."""
    parser = argparse.ArgumentParser(prog="python -m carom.pool.template")
    parser.add_argument("target")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    return parser.parse_args(arguments)


def fork_workers(
    service: Service, target: str, channel: Channel, supervisor: int
) -> WorkerProcess | None:
    """Until the end of the channel. Returns None in the template, and what to run in a worker."""
    while True:
        message, fds = channel.receive_fds()
        if message is None:
            return None
        key = message["fork"]
        try:
            if len(fds) != 2:
                raise OSError(0, "its descriptors did not arrive: too many open files")
            pid = fork_for(supervisor)
        except OSError as error:
            channel.send({"unforked": f"cannot fork a worker: {error.strerror}", "key": key})
        else:
            if pid <= 0:
                channel.close()
                return become_worker(service, target, fds) if begins(pid, supervisor) else None
            channel.send({"forked": pid, "key": key})
        for fd in fds:
            os.close(fd)


def begins(pid: int, supervisor: int) -> bool:
    """In the new process: whether its supervisor is there, with which it is to end."""
    return pid == 0 and die_with(supervisor)


def become_worker(service: Service, target: str, fds: list[int]) -> WorkerProcess:
    """In the new process: the template's memory, a life of its own."""
    seed_numpy()
    return WorkerProcess(service, target, Channel.inherited(fds[0]), fds[1])


def seed_numpy() -> None:
    """Seeds numpy's global generator anew, as Python does with its own after a fork."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


if __name__ == "__main__":
    sys.exit(main())
