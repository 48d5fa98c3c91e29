# SPDX-License-Identifier: Apache-2.0
"""Workers on a bare Redis queue: BRPOP a request, LPUSH its answer to the list that it names.

A request begins with the name of the caller's list (24 bytes) and the call's number (8), which the
answer begins with, too. The answer and the next BRPOP go to Redis in one pipeline, so a call costs
a worker one exchange with Redis.
"""

from __future__ import annotations

import sys
from pathlib import Path

import redis

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving
from peers.redis import redis_server

REQUESTS = "requests"
NAME_BYTES = 24
HEAD_BYTES = 32
READ_BYTES = 1 << 20


def serve(connection: redis.Redis, handle: serving.Handler) -> None:
    pipeline = connection.pipeline(transaction=False)
    _, request = connection.brpop([REQUESTS])
    while True:
        answer = handle(memoryview(request)[HEAD_BYTES:])
        pipeline.lpush(request[:NAME_BYTES], request[NAME_BYTES:HEAD_BYTES] + answer)
        pipeline.brpop([REQUESTS])
        _, (_, request) = pipeline.execute()


def main() -> None:
    options = serving.begin(__doc__)
    redis_server.start(options.at)
    serving.prefork(options)
    connection = redis.Redis(
        unix_socket_path=options.at, socket_timeout=None, socket_read_size=READ_BYTES
    )
    connection.ping()
    serving.ready(worker=options.worker)
    serve(connection, serving.handler(options))


if __name__ == "__main__":
    main()
