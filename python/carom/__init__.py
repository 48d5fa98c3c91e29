# SPDX-License-Identifier: Apache-2.0
"""Call functions in warm Python processes through shared memory.

Serving, in photo.py; then `carom serve photo:service --workers 2`:

    import carom

    service = carom.Service("photo")

    @service.method
    def size(request: memoryview) -> bytes:
        return str(len(request)).encode()

Calling:

    with carom.connect("photo") as photo:
        photo.call("size", b"four", timeout=1.0)

What a handler raises becomes `RemoteError` at the caller; `Error` chooses its status.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carom.client import Client, connect
    from carom.context import Context, Peer
    from carom.dispatch import Worker
    from carom.errors import (
        ApplicationError,
        Cancelled,
        Cause,
        Error,
        RemoteError,
        RemoteLookupError,
        RemotePermissionError,
        RemoteTimeoutError,
        RemoteUnavailableError,
        RemoteUnimplementedError,
        UnknownMethodError,
    )
    from carom.host import Host
    from carom.observer import Observer
    from carom.records import ClientStatistics
    from carom.service import Service
    from carom.status import Status

    __version__: str

__all__ = [
    "ApplicationError",
    "Cancelled",
    "Cause",
    "Client",
    "ClientStatistics",
    "Context",
    "Error",
    "Host",
    "Observer",
    "Peer",
    "RemoteError",
    "RemoteLookupError",
    "RemotePermissionError",
    "RemoteTimeoutError",
    "RemoteUnavailableError",
    "RemoteUnimplementedError",
    "Service",
    "Status",
    "UnknownMethodError",
    "Worker",
    "connect",
]

HOMES = {
    "carom.client": ["Client", "connect"],
    "carom.context": ["Context", "Peer"],
    "carom.dispatch": ["Worker"],
    "carom.errors": [
        "ApplicationError",
        "Cancelled",
        "Cause",
        "Error",
        "RemoteError",
        "RemoteLookupError",
        "RemotePermissionError",
        "RemoteTimeoutError",
        "RemoteUnavailableError",
        "RemoteUnimplementedError",
        "UnknownMethodError",
    ],
    "carom.host": ["Host"],
    "carom.observer": ["Observer"],
    "carom.records": ["ClientStatistics"],
    "carom.service": ["Service"],
    "carom.status": ["Status"],
}
"""Where each name is. They are imported on first use: a process of a pool needs a part of them, and
how soon it is ready is what its users wait for."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        from carom.binding import version

        return version()
    for module, names in HOMES.items():
        if name in names:
            found: object = getattr(importlib.import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'carom' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
