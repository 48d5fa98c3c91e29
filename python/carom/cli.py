# SPDX-License-Identifier: Apache-2.0
"""The command `carom`: serve an application, call a method, measure it, list services."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import carom
from carom import listing
from carom.bench import add_bench
from carom.supervisor import Supervisor, one_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed and said why, 2 wrong command line."""
    options = parser().parse_args(arguments)
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


def serve(options: argparse.Namespace) -> int:
    """Starts host and workers; ends on SIGINT or SIGTERM."""
    supervisor = Supervisor(
        options.target,
        options.workers,
        name=options.name,
        allowed_uids=options.allow_uid,
        grace=options.grace,
        spin=options.spin,
    )
    return supervisor.run()


def call(options: argparse.Namespace) -> int:
    """One call; its reply goes to standard output or a file."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    request = read(options.file)
    wait = carom.client.CONNECT_TIMEOUT_S if options.timeout is None else options.timeout
    with carom.connect(options.service, timeout=wait, slots=1) as client:
        reply = client.call(options.method, request, timeout=options.timeout)
    if options.output is not None:
        Path(options.output).write_bytes(reply)
    else:
        sys.stdout.buffer.write(reply)
    return 0


def ls(options: argparse.Namespace) -> int:
    """A table of services, or of one service's workers and clients."""
    print(listing.services() if options.service is None else listing.service(options.service))
    return 0


def read(file: str | None) -> bytes:
    """The request: nothing, standard input or a file."""
    if file is None:
        return b""
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="carom", description="Warm Python through shared memory.")
    top.add_argument("--version", action="version", version=f"carom {carom.__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    add_serve(commands.add_parser("serve", help="serve an application", description=serve.__doc__))
    add_call(commands.add_parser("call", help="call a method", description=call.__doc__))
    add_bench(commands.add_parser("bench", help="measure a method under load"))
    add_ls(commands.add_parser("ls", help="list services", description=ls.__doc__))
    for command in commands.choices.values():
        command.add_argument(
            "--dir", help="folder of the services' sockets (default $CAROM_DIR, or the user's own)"
        )
    return top


def add_serve(command: argparse.ArgumentParser) -> None:
    """Options of `carom serve`."""
    command.set_defaults(command=serve)
    command.add_argument("target", metavar="MODULE:SERVICE", help="such as photo:service")
    command.add_argument("--workers", type=positive, default=1, metavar="N", help="processes (1)")
    command.add_argument("--name", help="instead of the name the application gives its service")
    command.add_argument(
        "--grace", type=seconds, default=10.0, metavar="S", help="seconds to end calls in (10)"
    )
    command.add_argument(
        "--allow-uid", type=int, action="append", default=[], metavar="UID", help="may connect too"
    )
    waiting = command.add_mutually_exclusive_group()
    waiting.add_argument(
        "--no-spin", action="store_false", dest="spin", default=True, help="sleep at once when idle"
    )
    waiting.add_argument(
        "--spin", type=spin_seconds, metavar="S", help="spin for up to S seconds before sleeping"
    )


def add_call(command: argparse.ArgumentParser) -> None:
    """Options of `carom call`."""
    command.set_defaults(command=call)
    command.add_argument("service", metavar="SERVICE")
    command.add_argument("method", metavar="METHOD")
    command.add_argument("file", metavar="FILE", nargs="?", help="the request; - is stdin")
    command.add_argument("--timeout", type=seconds, metavar="S", help="seconds (none)")
    command.add_argument("--output", metavar="FILE", help="where the reply goes (stdout)")


def add_ls(command: argparse.ArgumentParser) -> None:
    """Options of `carom ls`."""
    command.set_defaults(command=ls)
    command.add_argument("service", metavar="SERVICE", nargs="?")


def positive(text: str) -> int:
    """A number of processes."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number


def spin_seconds(text: str) -> float:
    """How long a worker may spin."""
    if not 0 < seconds(text) <= carom.binding.SPIN_MOST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 3600 seconds")
    return seconds(text)


def seconds(text: str) -> float:
    """A time span."""
    with contextlib.suppress(ValueError):
        if float(text) >= 0:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")


if __name__ == "__main__":
    sys.exit(main())
