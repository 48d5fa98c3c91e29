# SPDX-License-Identifier: Apache-2.0
"""Runs `carom serve` for `make bench`, in this process: the same host, supervisor and workers that
a user gets. All this adds is that the line which says that it serves becomes "ready"."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Thread

from carom import cli

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving

NO_SPIN = "--no-spin"
SPIN = "--spin"
SPIN_S = "10"


def announce_readiness() -> None:
    """From now on what is printed goes through a pipe, whose first line tells the runner."""
    incoming, outgoing = os.pipe()
    runner = os.fdopen(os.dup(1), "w")
    os.dup2(outgoing, 1)
    os.close(outgoing)

    def relay() -> None:
        with os.fdopen(incoming) as lines, runner:
            if "serving" in lines.readline():
                print("ready", file=runner, flush=True)

    Thread(target=relay, daemon=True).start()


def main() -> int:
    options = serving.begin(__doc__, NO_SPIN, SPIN)
    announce_readiness()
    os.environ["CAROM_BENCH_COMPUTE"] = str(options.compute)
    os.chdir(Path(__file__).parent)
    command = ["serve", "service:service", "--name", options.at, "--workers", str(options.workers)]
    if NO_SPIN in options:
        command.append(NO_SPIN)
    if SPIN in options:
        command += [SPIN, SPIN_S]
    return cli.main(command)


if __name__ == "__main__":
    sys.exit(main())
