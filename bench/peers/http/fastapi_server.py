# SPDX-License-Identifier: Apache-2.0
"""FastAPI on uvicorn with uvloop and httptools: JSON there and back, bytes in base64.

As with `uvicorn --workers`, several processes accept from one listening socket.
"""

from __future__ import annotations

import base64
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving


class Message(BaseModel):
    """Request and answer."""

    data: str


def make_app(handle: serving.Handler) -> FastAPI:
    app = FastAPI()

    @app.post("/answer")
    async def answer(call: Message) -> Message:
        request = memoryview(base64.b64decode(call.data))
        return Message(data=base64.b64encode(handle(request)).decode())

    return app


class Server(uvicorn.Server):
    """Tells the runner when it listens."""

    def __init__(self, config: uvicorn.Config, options: serving.Options) -> None:
        super().__init__(config)
        self.options = options

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets
        host, port = sockets[0].getsockname()
        serving.ready(f"http://{host}:{port}/answer", self.options.worker)


def main() -> None:
    options = serving.begin(__doc__)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    serving.prefork(options)
    config = uvicorn.Config(
        make_app(serving.handler(options)),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    Server(config, options).run(sockets=[listener])


if __name__ == "__main__":
    main()
