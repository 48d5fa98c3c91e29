# SPDX-License-Identifier: Apache-2.0
"""Celery workers and their Redis.

Each worker is a process with the pool "solo", which runs a task where it is received: for short
tasks the quickest of Celery's pools. No gossip, no mingle, no heartbeat.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving
from peers.redis import celery_app, redis_server


def add_task(app: Celery, handle: serving.Handler) -> None:
    @app.task(name=celery_app.TASK)
    def answer(request: bytes) -> bytes:
        return bytes(handle(memoryview(request)))


def main() -> None:
    options = serving.begin(__doc__)
    redis_server.start(options.at)
    serving.prefork(options)
    app = celery_app.make_app(options.at)
    add_task(app, serving.handler(options))

    @worker_ready.connect(weak=False)
    def on_ready(**_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Celery would take seconds
        serving.ready(worker=options.worker)

    worker = app.Worker(
        pool="solo",
        concurrency=1,
        hostname=f"worker{options.worker}@bench",
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()


if __name__ == "__main__":
    main()
