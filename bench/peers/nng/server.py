# SPDX-License-Identifier: Apache-2.0
"""An nng server: one REP socket per worker on the ipc transport, in a blocking loop.

`recv` copies into `bytes`, which was measured to be faster than the `Message` that `recv_msg` makes
around nng's own memory, up to 64 KiB, and as fast for larger requests.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pynng

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving


def serve(socket: pynng.Rep0, handle: serving.Handler) -> None:
    receive, send = socket.recv, socket.send
    while True:
        try:
            request = receive()
        except RuntimeError:  # pynng 0.9.0 receives an empty message, but cannot make bytes of it
            request = b""
        send(bytes(handle(memoryview(request))))


def main() -> None:
    options = serving.begin(__doc__)
    paths = [Path(f"{options.at}.{number}") for number in range(options.workers)]
    serving.prefork(options)
    socket = pynng.Rep0(listen=f"ipc://{paths[options.worker]}", recv_max_size=0)
    while not all(path.exists() for path in paths):
        time.sleep(0.001)
    serving.ready(",".join(f"ipc://{path}" for path in paths), options.worker)
    serve(socket, serving.handler(options))


if __name__ == "__main__":
    main()
