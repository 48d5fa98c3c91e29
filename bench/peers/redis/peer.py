# SPDX-License-Identifier: Apache-2.0
"""Queues on Redis: Celery, and the bare queue that it could be at best."""

from runner.peer import Peer

REDIS = "Redis of Debian on a Unix socket, without persistence, pinned with the workers;"

PEERS = (
    Peer(
        name="celery",
        title="Celery on Redis",
        group="library",
        caller="Python",
        server_language="Python",
        settings=(
            f"{REDIS} broker and result backend. MessagePack serializer; workers with the pool "
            "solo, no gossip, mingle or heartbeat, no events, no remote control. The caller sends "
            "a task and waits for its result."
        ),
        server=("{python}", "{peer}/celery_server.py"),
        client=("{python}", "{peer}/caller.py"),
        packages=("redis-server",),
        depth_max=16,
        workers_max=8,
        slow=True,
    ),
    Peer(
        name="redis-queue",
        title="Queue on Redis",
        group="library",
        caller="C",
        server_language="Python",
        settings=(
            f"{REDIS} LPUSH and BRPOP on a list of requests and one of answers for each caller. "
            "hiredis calls, redis-py with hiredis serves; each side sends its LPUSH and its BRPOP "
            "in one pipeline."
        ),
        server=("{python}", "{peer}/queue_server.py"),
        libraries=("-lhiredis",),
        packages=("libhiredis-dev", "redis-server"),
        depth_max=64,
        workers_max=8,
    ),
)
