# SPDX-License-Identifier: Apache-2.0
"""The gRPC server: with threads for unary calls, or with --stream `grpc.aio` for streams.

Every worker is a server of its own on the Unix socket PATH.N; a client has a channel to each.
"""

from __future__ import annotations

import sys
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import uvloop

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving

OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.max_frame_size", (1 << 24) - 1),
    ("grpc.http2.lookahead_bytes", 32 << 20),
)


def addresses(options: serving.Options) -> list[str]:
    """Where the workers listen."""
    return [f"unix:{options.at}.{number}" for number in range(options.workers)]


async def serve_streams(options: serving.Options, messages: Any, services: Any) -> None:
    handle, message = serving.handler(options), messages.Message

    class Echo(services.EchoServicer):  # type: ignore[misc]
        async def Exchange(self, _requests: Any, context: Any) -> None:  # noqa: N802
            while (request := await context.read()) is not grpc.aio.EOF:
                await context.write(message(data=bytes(handle(memoryview(request.data)))))

    server = grpc.aio.server(options=OPTIONS)
    services.add_EchoServicer_to_server(Echo(), server)
    server.add_insecure_port(addresses(options)[options.worker])
    await server.start()
    serving.ready(",".join(addresses(options)), options.worker)
    await server.wait_for_termination()


def serve_calls(options: serving.Options, messages: Any, services: Any) -> None:
    handle, message = serving.handler(options), messages.Message

    class Echo(services.EchoServicer):  # type: ignore[misc]
        def Call(self, request: Any, _context: Any) -> Any:  # noqa: N802
            return message(data=bytes(handle(memoryview(request.data))))

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=OPTIONS)
    services.add_EchoServicer_to_server(Echo(), server)
    server.add_insecure_port(addresses(options)[options.worker])
    server.start()
    serving.ready(",".join(addresses(options)), options.worker)
    server.wait_for_termination()


def main() -> None:
    options = serving.begin(__doc__, "--stream")
    serving.prefork(options)
    messages, services = grpc.protos_and_services("echo.proto")  # beside this script
    if "--stream" in options:
        uvloop.run(serve_streams(options, messages, services))
    else:
        serve_calls(options, messages, services)


if __name__ == "__main__":
    main()
