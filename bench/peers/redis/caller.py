# SPDX-License-Identifier: Apache-2.0
"""Celery's caller for `make bench`: sends a task to the queue and waits for its result."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path

from celery.result import AsyncResult

sys.path.append(str(Path(__file__).resolve().parents[2]))
from driver import caller
from peers.redis import celery_app

TIMEOUT_S = 30.0


class CeleryConnection(caller.Connection):
    """An application of its own; several tasks may be in the queue."""

    def __init__(self, config: caller.Config) -> None:
        self.app = celery_app.make_app(config.at)
        self.depth = config.depth
        self.results: deque[AsyncResult] = deque()

    def call(self, request: memoryview) -> bytes:
        result = self.app.send_task(celery_app.TASK, (bytes(request),))
        answer: bytes = result.get(TIMEOUT_S)
        return answer

    def send(self, request: memoryview) -> None:
        self.results.append(self.app.send_task(celery_app.TASK, (bytes(request),)))

    def receive(self, wait: bool) -> bytes | None:
        if not wait and not self.results[0].ready():
            return None
        answer: bytes = self.results.popleft().get(TIMEOUT_S)
        return answer


if __name__ == "__main__":
    caller.main(CeleryConnection)
