# SPDX-License-Identifier: Apache-2.0
"""A Redis server of our own: on a Unix socket, without any port, without persistence."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

START_S = 5.0


def start(path: str) -> subprocess.Popen[bytes]:
    """Starts Redis on the socket `path`; it ends with this process. Raises TimeoutError."""
    process = subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL"),
            *("redis-server", "--port", "0", "--unixsocket", path, "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--dir", str(Path(path).parent)),
            *("--daemonize", "no", "--loglevel", "warning"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    give_up = time.monotonic() + START_S
    while not Path(path).exists():
        if process.poll() is not None or time.monotonic() > give_up:
            raise TimeoutError(f"redis-server does not listen on {path}")
        time.sleep(0.005)
    return process
