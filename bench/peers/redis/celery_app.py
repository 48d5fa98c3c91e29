# SPDX-License-Identifier: Apache-2.0
"""The Celery application that caller and worker share: Redis as broker and for the results.

As Celery's guide to optimizing advises for short tasks nothing is tracked, sent to monitors or
compressed. MessagePack is the serializer that has bytes and that root may use, too.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

TASK = "answer"


def make_app(path: str) -> Celery:
    """An application on the Redis that listens on the Unix socket `path`."""
    url = f"redis+socket://{path}"
    app = Celery("bench", broker=url, backend=url, set_as_current=False)
    settings: dict[str, Any] = {
        "task_serializer": "msgpack",
        "result_serializer": "msgpack",
        "accept_content": ["msgpack"],
        "result_expires": 60,
        "task_create_missing_queues": True,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "broker_connection_retry_on_startup": True,
    }
    app.conf.update(settings)
    return app
