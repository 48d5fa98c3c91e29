# SPDX-License-Identifier: Apache-2.0
"""A client process for tests that kill: calls without end and notes what it gets.

    caller.py SERVICE METHOD COUNTS INDEX

Counts its successful calls in 8 bytes at INDEX of the file COUNTS, so that a kill loses nothing.
Writes a line "CLOCK_MONOTONIC type status" for every error. A lost host ends it.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time

import carom


def main(service: str, method: str, counts: str, index: str) -> None:
    with open(counts, "r+b") as file:
        shared = mmap.mmap(file.fileno(), 0)
    payload = f"{os.getpid()}:".encode() * 20 if method == "echo" else b"0.001"
    done = 0
    with carom.connect(service, timeout=20.0) as client:
        while True:
            try:
                reply = client.call(method, payload)
            except carom.RemoteError as error:
                note(error.type, error.status.name)
            except ConnectionError as error:
                note(type(error).__name__, "lost")
                return
            else:
                assert method != "echo" or reply == payload
                done += 1
                struct.pack_into("Q", shared, 8 * int(index), done)


def note(kind: str, status: str) -> None:
    print(time.monotonic_ns(), kind, status, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
