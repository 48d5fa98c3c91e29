# SPDX-License-Identifier: Apache-2.0
"""A worker process of `carom serve`.

Without a template it is `python -m carom.pool.worker TARGET --channel FD --stacks FD --parent PID`
and loads the application itself; otherwise it is a child of the template's (template.py). Then
both do the same: start hooks, "join" from the supervisor, warm-up, "ready", calls.

SIGTERM lets the present calls end, and ends the process at once before it has joined. The kernel
kills it with its supervisor. Two more signals of the supervisor's are explained in channel.py.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import traceback

from carom.application import run_hook
from carom.binding import die_with, forget_sigterm
from carom.errors import ApplicationError
from carom.pool import loaded
from carom.pool.channel import DUMP_SIGNAL, INTERRUPT_SIGNAL, Channel, Message
from carom.pool.loops import Loops, exit_status
from carom.pool.manners import FAILED, Held, leave_signals_to_supervisor, report_failure, say_closed
from carom.pool.warmup import warm_up
from carom.service import Service

STANDARD_ERROR = 2


def main(arguments: list[str] | None = None) -> int:
    """Exit status: see WorkerProcess.run."""
    options = parse(arguments)
    leave_signals_to_supervisor()
    if not die_with(options.parent):
        return 0
    channel = Channel.inherited(options.channel)
    os.set_inheritable(options.stacks, False)
    show_stacks(options.stacks)  # also those of an import that hangs
    try:
        service = loaded.load(options.target)
        message = loaded.message(service)
    except ApplicationError as error:
        return report_failure(channel, error)
    try:
        channel.send(message)
    except (BrokenPipeError, ConnectionResetError):
        return 0
    return WorkerProcess(service, options.target, channel, options.stacks).run()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line the supervisor made."""
    parser = argparse.ArgumentParser(prog="python -m carom.pool.worker")
    parser.add_argument("target")
    for option in ("--channel", "--stacks", "--parent"):
        parser.add_argument(option, type=int, required=True)
    return parser.parse_args(arguments)


def show_stacks(fd: int) -> None:
    """Python's stacks: all of them to `fd` when asked, and to standard error after a crash."""
    faulthandler.register(DUMP_SIGNAL, file=fd, all_threads=True, chain=False)
    try:
        faulthandler.enable(file=STANDARD_ERROR)
    except OSError:  # it is closed
        faulthandler.disable()


class WorkerProcess:
    """What this process does as a worker. Used once, in the main thread.

    target     as the user wrote it, for messages
    stacks_fd  where DUMP_SIGNAL writes Python's stacks
    """

    def __init__(self, service: Service, target: str, channel: Channel, stacks_fd: int) -> None:
        self.service = service
        self.target = target
        self.channel = channel
        self._held = (Held(channel.fileno()), Held(stacks_fd))
        self._loops: Loops | None = None

    def run(self) -> int:
        """Serves until told to leave. The exit status: 0 for an orderly leave, FAILED after it has
        said why, a handler's own if that called sys.exit."""
        leave_signals_to_supervisor()
        show_stacks(self._held[1].fd)
        signal.signal(INTERRUPT_SIGNAL, lambda *_: self._interrupt())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [DUMP_SIGNAL, INTERRUPT_SIGNAL])
        os.register_at_fork(after_in_child=self._part_from_parent)
        try:
            for hook in self.service.start_hooks:
                run_hook("start", self.target, hook)
            order = self.channel.receive()
            return self._join(order) if order is not None else 0
        except ApplicationError as error:
            return report_failure(self.channel, error)
        except (BrokenPipeError, ConnectionResetError):  # the supervisor has gone
            return 0

    def _join(self, order: Message) -> int:
        warm_up(self.service, self.target, self._held[0], spin=order["spin"])
        try:
            self._loops = loops = Loops(
                self.service,
                order["join"],
                order["threads"],
                spin=order["spin"],
                timeout=order["timeout"],
            )
        except ConnectionAbortedError:  # the service stopped while we joined
            return 0
        except (OSError, ValueError, MemoryError) as error:
            return report_failure(self.channel, f"a worker cannot join {order['join']}: {error}")
        try:
            loops.start()
        except RuntimeError as error:
            text = f"a worker cannot start {order['threads']} threads: {error}"
            return report_failure(self.channel, text)
        self.channel.send({"ready": loops.ids})
        loops.run()
        return self._leave(loops)

    def _leave(self, loops: Loops) -> int:
        for number in (INTERRUPT_SIGNAL, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # on the way out already
        self._loops = None
        if not self._held[0].is_ours():
            loops.abandon()
            say_closed(self.target)
            return FAILED
        loops.close()
        if not loops.errors:
            return 0
        error = loops.errors[0]
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            return exit_status(error)
        return report_failure(self.channel, why_it_ended(error))

    def _interrupt(self) -> None:
        if self._loops is not None:
            self._loops.interrupt()

    def _part_from_parent(self) -> None:
        """In a process that a handler forks: what belongs to the worker alone."""
        forget_sigterm()
        signal.signal(INTERRUPT_SIGNAL, signal.SIG_DFL)
        faulthandler.unregister(DUMP_SIGNAL)
        self.channel.socket.detach()
        for held in self._held:
            held.close()


def why_it_ended(error: BaseException) -> str:
    """For the supervisor's log: an exception that no handler was to blame for."""
    if isinstance(error, ConnectionResetError):
        return f"a worker lost its service: {error}"
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return f"{lines.rstrip()}\na worker ended: {type(error).__name__}"


if __name__ == "__main__":
    sys.exit(main())
