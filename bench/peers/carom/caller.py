# SPDX-License-Identifier: Apache-2.0
"""carom's caller in Python for `make bench`: calls by `carom.Client.call`, as README.md shows them.

`option=parked` sleeps at once, `option=adaptive` is the default. Calls have a deadline of 10 s.
"""

from __future__ import annotations

import sys
from pathlib import Path

import carom

sys.path.append(str(Path(__file__).resolve().parents[2]))
from driver import caller

TIMEOUT_S = 10.0


class CaromConnection(caller.Connection):
    """A client of its own. It blocks, so one thread has one call in flight."""

    def __init__(self, config: caller.Config) -> None:
        if config.option not in ("adaptive", "parked"):
            raise ValueError(f"option={config.option}: this caller offers adaptive and parked")
        spin = config.option == "adaptive"
        self.client = carom.connect(config.at, timeout=TIMEOUT_S, spin=spin)

    def call(self, request: memoryview) -> bytes:
        return self.client.call("answer", request, TIMEOUT_S)

    def close(self) -> None:
        self.client.close()


if __name__ == "__main__":
    caller.main(CaromConnection)
