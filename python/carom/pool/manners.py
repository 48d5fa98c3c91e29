# SPDX-License-Identifier: Apache-2.0
"""How a pool's child processes behave: signals, failures, descriptors."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from carom.application import failure_text
from carom.errors import ApplicationError
from carom.pool.channel import Channel, cut

NOT_FOR_CHILDREN = (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
"""From the terminal, to all processes in it: the supervisor decides what they mean."""

FAILED = 1
"""Exit status of a process that has said why."""


def leave_signals_to_supervisor() -> None:
    """Ignores what a terminal sends to everybody. SIGTERM ends this process, as by default."""
    for number in NOT_FOR_CHILDREN:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [*NOT_FOR_CHILDREN, signal.SIGTERM])


def report_failure(channel: Channel, error: ApplicationError | str) -> int:
    """Tells the supervisor why this process cannot serve. The exit status for that."""
    text = failure_text(error) if isinstance(error, ApplicationError) else error
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.send({"failed": cut(text)})
    return FAILED


def say_closed(target: str) -> None:
    """Why a worker ends whose descriptors are gone: to standard error, if that is still there."""
    text = f"the file descriptors of {target} were closed in this process; it ends"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"carom serve: worker {os.getpid()}: {text}", file=sys.stderr, flush=True)


class Held:
    """A descriptor of ours, told from another one that got its number after someone closed it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._identity = identity(fd)

    def is_ours(self) -> bool:
        """Whether the descriptor is still what it was."""
        try:
            return identity(self.fd) == self._identity
        except OSError:
            return False

    def close(self) -> None:
        """Closes it if it is ours."""
        if self.is_ours():
            os.close(self.fd)


def identity(fd: int) -> tuple[int, int]:
    """What distinguishes an open socket or pipe from every other."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
