# SPDX-License-Identifier: Apache-2.0
"""A caller on multiprocessing.connection."""

from __future__ import annotations

import multiprocessing.connection as mp
import select
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
from driver import caller

DEPTH_MAX = 64


class MpConnection(caller.Connection):
    """Calls in flight wait in the socket."""

    depth = DEPTH_MAX

    def __init__(self, config: caller.Config) -> None:
        self.client = mp.Client(config.at, "AF_UNIX")
        self.arrived = select.poll()  # Connection.poll makes a selector each time
        self.arrived.register(self.client, select.POLLIN)

    def call(self, request: memoryview) -> bytes:
        self.client.send_bytes(request)
        return self.client.recv_bytes()

    def send(self, request: memoryview) -> None:
        self.client.send_bytes(request)

    def receive(self, wait: bool) -> bytes | None:
        if wait or self.arrived.poll(0):
            return self.client.recv_bytes()
        return None

    def close(self) -> None:
        self.client.close()


if __name__ == "__main__":
    caller.main(MpConnection)
