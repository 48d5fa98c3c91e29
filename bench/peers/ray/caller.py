# SPDX-License-Identifier: Apache-2.0
"""Ray's caller for `make bench`: calls a method of an actor and gets its result.

Requests of more than 100 KB, which Ray puts into its object store, are passed as arrays of numpy,
which the actor then reads in place; Ray copies `bytes`.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))
from driver import caller

INLINE_BYTES_MAX = 100 * 1024


class RayConnection(caller.Connection):
    """A driver process of its own; it calls the actors in turn."""

    def __init__(self, config: caller.Config) -> None:
        address, _, token = config.at.partition(",")
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN_PATH"] = token
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        import numpy  # noqa: PLC0415
        import ray  # noqa: PLC0415

        self.ray, self.numpy = ray, numpy
        ray.init(
            address=address, namespace="bench", log_to_driver=False, logging_level=logging.ERROR
        )
        actors = ray.util.list_named_actors()
        self.methods = itertools.cycle([ray.get_actor(name).answer for name in actors])
        self.depth = config.depth
        self.results: deque[Any] = deque()

    def submit(self, request: memoryview) -> Any:
        large = len(request) > INLINE_BYTES_MAX
        data = self.numpy.frombuffer(request, self.numpy.uint8) if large else bytes(request)
        return next(self.methods).remote(data)

    def call(self, request: memoryview) -> bytes:
        answer: bytes = self.ray.get(self.submit(request))
        return answer

    def send(self, request: memoryview) -> None:
        self.results.append(self.submit(request))

    def receive(self, wait: bool) -> bytes | None:
        if not wait and not self.ray.wait([self.results[0]], timeout=0)[0]:
            return None
        answer: bytes = self.ray.get(self.results.popleft())
        return answer

    def close(self) -> None:
        self.ray.shutdown()


if __name__ == "__main__":
    caller.main(RayConnection)
