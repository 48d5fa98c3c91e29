# SPDX-License-Identifier: Apache-2.0
"""Clients in Python that come and go: come_and_go.py SERVICE COUNT. As `crowd churn`."""

from __future__ import annotations

import os
import signal
import sys
import zlib
from typing import NoReturn

import carom

TOGETHER = 8
PATIENCE_S = 30.0


def come_and_go(service: str, number: int) -> NoReturn:
    """A client that calls, then closes, exits without closing, or is killed."""
    data = bytes(number * k % 256 for k in range(500))
    client = carom.connect(service, PATIENCE_S, slots=4)
    if client.call("mix", data, PATIENCE_S) != zlib.crc32(data).to_bytes(4, "little") + data:
        os._exit(9)
    if number % 3 == 0:
        client.close()
    if number % 3 == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def main() -> None:
    service, count = sys.argv[1], int(sys.argv[2])
    carom.connect  # noqa: B018  # loads it, once for all children
    started = running = exact = 0
    while started < count or running:
        if started < count and running < TOGETHER:
            if os.fork() == 0:
                try:
                    come_and_go(service, started)
                finally:
                    os._exit(8)
            started += 1
            running += 1
            continue
        status = os.waitstatus_to_exitcode(os.wait()[1])
        running -= 1
        exact += status in (0, -signal.SIGKILL)
    print(f"exact {exact}", flush=True)


if __name__ == "__main__":
    main()
