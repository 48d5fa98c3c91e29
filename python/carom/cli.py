# SPDX-License-Identifier: Apache-2.0
"""The command `carom`: serve an application, call a method, measure it, look at services.

Each command imports what it needs when it is chosen.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import carom
from carom.text import one_line

if TYPE_CHECKING:
    from carom.pool.settings import Settings

SERVE_USAGE = "carom serve [OPTION...] [MODULE:SERVICE]"
SERVE_EPILOG = """\
Times are like 500ms, 30s, 2m, 1h, seconds without a unit; amounts of memory like 512M, 2G.

What is not said here is taken from [tool.carom] in pyproject.toml, in the current folder or the
nearest one above that has this table (max-requests = 1000), else from the environment
(CAROM_MAX_REQUESTS=1000).

Signals: HUP reloads the code, TERM and INT finish running calls and end, TTIN and TTOU start and
end a worker.

Exit status: 0 it was told to end, 1 it could not serve and said why, 2 a setting is wrong.
"""
STATUS_EPILOG = """\
Exit status: 0 the service answers calls (ready, degraded), 1 it does not (starting, failing,
draining, stopping, no worker ready, or nobody is there), with the reason on standard error.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed and said why, 2 wrong command line."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser(words[0] if words else "").parse_args(words)
    if options.dir is not None:
        os.environ["CAROM_DIR"] = options.dir
    try:
        status: int = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except carom.RemoteError as error:
        sys.stderr.write(error.traceback)
        print(f"carom: {error.status.name}: {error.type}: {error.message}", file=sys.stderr)
        return 1
    except (OSError, ValueError, LookupError, MemoryError) as error:
        print(f"carom: {one_line(error)}", file=sys.stderr)
        return 1
    return status


# ---- what the commands do


def serve(options: argparse.Namespace) -> int:
    """Serves an application: starts its host and workers, keeps them alive, ends on a signal."""
    from carom.pool.options import BY_NAME
    from carom.pool.sources import SettingsError, effective

    said = {name: value for name, value in vars(options).items() if name in BY_NAME}
    try:
        found = effective(said, Path.cwd(), os.environ)
    except SettingsError as error:
        if "report_fd" in said:
            return report(said["report_fd"], str(error))
        options.fail(str(error))
    if options.check:
        from carom.pool.check import check

        return check(found)
    return supervise(found.settings)


def supervise(settings: Settings) -> int:
    """Runs the service. The template imports the application while this process imports the rest
    of the supervisor."""
    from carom.pool.notify import Notifier
    from carom.pool.process import start_template

    notifier = Notifier()  # takes its variables out of the environment
    first = start_template(settings.target, 1) if settings.preload else None

    from carom.pool.log import Log
    from carom.pool.supervisor import Supervisor

    return Supervisor(settings, Log(settings.log_format), notifier, first).run()


def report(fd: str, text: str) -> int:
    """To the program that has started this one (carom_launch) instead of to standard error."""
    with open(int(fd), "wb") as file:
        file.write(f"failed\n{text}".encode("utf-8", "replace"))
    return 2


def call(options: argparse.Namespace) -> int:
    """Makes one call; its reply goes to standard output or a file."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    request = read(options.file)
    from carom.client import CONNECT_TIMEOUT_S

    wait = CONNECT_TIMEOUT_S if options.timeout is None else options.timeout
    with carom.connect(options.service, timeout=wait, slots=1) as client:
        reply = client.call(options.method, request, timeout=options.timeout)
    if options.output is not None:
        Path(options.output).write_bytes(reply)
    else:
        sys.stdout.buffer.write(reply)
    return 0


def status(options: argparse.Namespace) -> int:
    """How a service is: its state, its workers and what they run, restarts and why."""
    from carom import status_command

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return status_command.status(options.service, as_json=options.json)


def ls(options: argparse.Namespace) -> int:
    """A table of services, or of one service's workers and clients."""
    from carom import listing

    print(listing.services() if options.service is None else listing.service(options.service))
    return 0


def read(file: str | None) -> bytes:
    """The request: nothing, standard input or a file."""
    if file is None:
        return b""
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


# ---- the command line


@dataclass(frozen=True)
class Command:
    """A command: a line on it, and what adds its options."""

    help: str
    add: Callable[[argparse.ArgumentParser], None]


def parser(chosen: str) -> argparse.ArgumentParser:
    """The command line; only the command that was chosen has its options."""
    top = argparse.ArgumentParser(prog="carom", description="Warm Python through shared memory.")
    top.add_argument("--version", action="version", version=f"carom {carom.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.help, allow_abbrev=False)
        if name == chosen:
            command.add(one)
            one.add_argument(
                "--dir", help="folder of the services' sockets ($CAROM_DIR, else the user's own)"
            )
    return top


def add_serve(command: argparse.ArgumentParser) -> None:
    """Options of `carom serve`."""
    from carom.pool.options import add_options

    command.set_defaults(command=serve, fail=command.error)
    command.description, command.epilog = serve.__doc__, SERVE_EPILOG
    command.usage = SERVE_USAGE
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument(
        "--check",
        action="store_true",
        help="load the application, say what is in it and which settings hold, and end",
    )
    add_options(command)


def add_bench(command: argparse.ArgumentParser) -> None:
    """Options of `carom bench`."""
    from carom import bench

    bench.add_bench(command)


def add_status(command: argparse.ArgumentParser) -> None:
    """Options of `carom status`."""
    command.set_defaults(command=status)
    command.description, command.epilog = status.__doc__, STATUS_EPILOG
    command.add_argument("service", metavar="SERVICE", help="name, or path of its socket")
    command.add_argument("--json", action="store_true", help="as JSON, for programs")


def add_call(command: argparse.ArgumentParser) -> None:
    """Options of `carom call`."""
    command.set_defaults(command=call)
    command.description = call.__doc__
    command.add_argument("service", metavar="SERVICE")
    command.add_argument("method", metavar="METHOD")
    command.add_argument("file", metavar="FILE", nargs="?", help="the request; - is stdin")
    command.add_argument("--timeout", type=seconds, metavar="S", help="seconds (none)")
    command.add_argument("--output", metavar="FILE", help="where the reply goes (stdout)")


def add_ls(command: argparse.ArgumentParser) -> None:
    """Options of `carom ls`."""
    command.set_defaults(command=ls)
    command.description = ls.__doc__
    command.add_argument("service", metavar="SERVICE", nargs="?")


def seconds(text: str) -> float:
    """A time span."""
    with contextlib.suppress(ValueError):
        if float(text) >= 0:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")


COMMANDS = {
    "serve": Command("serve an application", add_serve),
    "call": Command("call a method", add_call),
    "status": Command("how a service is", add_status),
    "ls": Command("list services", add_ls),
    "bench": Command("measure a method under load", add_bench),
}

if __name__ == "__main__":
    sys.exit(main())
