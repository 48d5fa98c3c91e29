# SPDX-License-Identifier: Apache-2.0
"""A ZeroMQ server: one REP socket per worker on the ipc transport, in a blocking loop.

As pyzmq advises, messages up to zmq.COPY_THRESHOLD are received as copies (`bytes` is cheaper than
a Frame), larger ones without: then the handler reads libzmq's own buffer. Which of the two comes
next is not known before it is there; the last message tells, as sizes seldom change.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import zmq

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving


def serve(socket: zmq.Socket[bytes], handle: serving.Handler) -> None:
    receive, send, threshold = socket.recv, socket.send, zmq.COPY_THRESHOLD
    view = memoryview(b"")
    while True:
        view = memoryview(receive()) if len(view) <= threshold else receive(copy=False).buffer
        send(handle(view))


def main() -> None:
    options = serving.begin(__doc__)
    paths = [Path(f"{options.at}.{number}") for number in range(options.workers)]
    serving.prefork(options)
    socket = zmq.Context().socket(zmq.REP)
    socket.bind(f"ipc://{paths[options.worker]}")
    while not all(path.exists() for path in paths):
        time.sleep(0.001)
    serving.ready(",".join(f"ipc://{path}" for path in paths), options.worker)
    serve(socket, serving.handler(options))


if __name__ == "__main__":
    main()
