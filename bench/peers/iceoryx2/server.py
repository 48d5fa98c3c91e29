# SPDX-License-Identifier: Apache-2.0
"""The iceoryx2 server in Python: polls, reads requests in place, answers in loaned memory.

It offers what src/server.rs offers in its polling mode, to the same client: a service for each
number of calls in flight, of which it polls those that have clients.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import iceoryx2

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving

CLIENTS_MAX = 16
DEPTHS = (1, 8, 64)
ANSWER_BYTES_MAX = 64
POLLS_PER_LOOK = 256
"""How often in a row the server finds nothing before it looks for new clients."""

Bytes = iceoryx2.Slice[ctypes.c_uint8]


def make_service(node: Any, at: str, depth: int) -> Any:
    """As in src/meeting.rs."""
    return (
        node.service_builder(iceoryx2.ServiceName.new(f"carom-bench{at}/calls-{depth}"))
        .request_response(Bytes, Bytes)
        .max_servers(1)
        .max_clients(CLIENTS_MAX)
        .max_nodes(CLIENTS_MAX + 1)
        .max_active_requests_per_client(depth)
        .open_or_create()
    )


def make_server(service: Any) -> Any:
    builder = service.server_builder().initial_max_slice_len(ANSWER_BYTES_MAX)
    return builder.allocation_strategy(iceoryx2.AllocationStrategy.Static).create()


def answer(request: Any, handle: serving.Handler) -> None:
    view = handle(request.payload().as_memory_view().cast("B"))
    response = request.loan_slice_uninit(len(view))
    response.payload().as_memory_view().cast("B")[:] = view
    response.assume_init().send()


def serve(receives: list[Any], handle: serving.Handler) -> None:
    """Answers until nothing has come for a while."""
    idle = 0
    while idle < POLLS_PER_LOOK:
        idle += 1
        for receive in receives:
            request = receive()
            if request is not None:
                answer(request, handle)
                request.delete()
                idle = 0


def main() -> None:
    options = serving.begin(__doc__)
    serving.exit_on_sigterm()
    handle = serving.handler(options)
    iceoryx2.set_log_level(iceoryx2.LogLevel.Fatal)
    builder = iceoryx2.NodeBuilder.new()
    builder = builder.signal_handling_mode(iceoryx2.SignalHandlingMode.Disabled)
    node = builder.create(iceoryx2.ServiceType.Ipc)
    services = [make_service(node, options.at, depth) for depth in DEPTHS]
    servers = [make_server(service) for service in services]
    serving.ready()
    while True:
        pairs = zip(services, servers, strict=True)
        serve([s.receive for c, s in pairs if c.dynamic_config.number_of_clients], handle)


if __name__ == "__main__":
    main()
