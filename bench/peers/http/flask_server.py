# SPDX-License-Identifier: Apache-2.0
"""Flask on gunicorn with threaded workers: JSON there and back, bytes in base64.

Of gunicorn's workers for WSGI, gthread is the one that keeps connections alive without greenlets.
"""

from __future__ import annotations

import base64
import multiprocessing
import sys
from pathlib import Path
from typing import Any

from flask import Flask, request
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving


def make_app(handle: serving.Handler) -> Flask:
    app = Flask(__name__)

    @app.post("/answer")
    def answer() -> dict[str, str]:
        call = memoryview(base64.b64decode(request.get_json()["data"]))
        return {"data": base64.b64encode(handle(call)).decode()}

    return app


class Application(BaseApplication):
    """gunicorn, configured from here instead of from its command line."""

    def __init__(self, options: serving.Options) -> None:
        self.options = options
        self.booted = multiprocessing.Value("i", 0)
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": "127.0.0.1:0",
            "workers": self.options.workers,
            "worker_class": "gthread",
            "threads": 4,
            "keepalive": 30,
            "http_parser": "fast",
            "worker_tmp_dir": "/dev/shm",
            "control_socket_disable": True,
            "graceful_timeout": 1,
            "loglevel": "warning",
            "post_worker_init": self.worker_started,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return make_app(serving.handler(self.options))

    def worker_started(self, worker: Worker) -> None:
        """Runs in each worker; the last one tells the runner."""
        serving.die_with_parent()
        with self.booted.get_lock():
            self.booted.value += 1
            if self.booted.value == self.options.workers:
                host, port = worker.sockets[0].getsockname()
                serving.ready(f"http://{host}:{port}/answer")


if __name__ == "__main__":
    Application(serving.begin(__doc__)).run()
