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

from carom.binding import version as _version
from carom.client import Client, connect
from carom.context import Context, Peer
from carom.dispatch import Worker
from carom.errors import ApplicationError, Error, RemoteError, UnknownMethodError
from carom.host import Host
from carom.observer import Observer
from carom.service import Service
from carom.status import Status

__version__ = _version()

__all__ = [
    "ApplicationError",
    "Client",
    "Context",
    "Error",
    "Host",
    "Observer",
    "Peer",
    "RemoteError",
    "Service",
    "Status",
    "UnknownMethodError",
    "Worker",
    "connect",
]
