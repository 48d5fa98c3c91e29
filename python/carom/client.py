# SPDX-License-Identifier: Apache-2.0
"""Calling a service from Python."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType
from typing import Any

from carom.binding import ClientHandle, nanoseconds, retry_options
from carom.records import ClientStatistics
from carom.status import Status

CONNECT_TIMEOUT_S = 5.0


class Client:
    """A connection to a service. Made by `connect`; may be shared between threads.

    A context manager: leaving it closes the connection. Not usable in a forked child.
    """

    def __init__(self, service: str, handle: ClientHandle) -> None:
        self.service = service
        self._handle = handle
        self._methods: dict[str, int] = {}

    def call(self, method: str, data: Any = b"", timeout: float | None = None) -> bytes:
        """Calls a method and waits for its reply. Other threads run meanwhile.

        method   its name; looked up once per client
        data     any contiguous bytes-like object; copied into shared memory
        timeout  seconds for the whole call; None waits for ever

        Waits, within the timeout, for a service that is still starting, and for one that went away
        to come back (`reconnect_timeout`). A call of a method that the service declares idempotent
        is made again as the client's `retry_*` options say, also after the host was restarted; no
        other call is ever made twice.

        Raises RemoteError when the handler raised or its worker died, TimeoutError when the time
        is over, UnknownMethodError (a KeyError), ValueError when the request is larger than the
        block or the client is closed, ConnectionError when the service stops or its host has died.
        """
        if isinstance(data, str):
            raise TypeError("data must be bytes-like, not str: use text.encode()")
        number = self._methods.get(method)
        if number is None:
            number = self._methods[method] = self._handle.method(method)
        return self._handle.call(number, data, nanoseconds(timeout))

    def statistics(self) -> ClientStatistics:
        """How often this client connected again and made calls again, and whether it is connected
        as far as it knows."""
        return self._handle.statistics()

    def close(self) -> None:
        """Ends the connection. Calls of other threads that are in flight still end as usual."""
        self._handle.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<carom.Client of {self.service!r}>"


def connect(
    service: str,
    timeout: float | None = CONNECT_TIMEOUT_S,
    *,
    slots: int = 0,
    request_block_bytes: int = 0,
    reply_block_bytes: int = 0,
    resident_bytes: int = 0,
    spin: bool | float = True,
    retry_attempts: int = 3,
    retry_statuses: Collection[Status] = (Status.UNAVAILABLE,),
    retry_pause: float = 0.005,
    retry_pause_most: float = 1.0,
    reconnect_timeout: float | None = 5.0,
) -> Client:
    """Connects to a service by its name, or by the path of its socket if there is a "/" in it.

    timeout  seconds to wait for the service to appear; None waits for ever. Its workers need not
             be ready yet: calls wait for them
    slots    calls in flight, a power of two; 0 means 256
    request_block_bytes, reply_block_bytes
             largest request and reply; 0 means 64 MiB, of address space until used
    resident_bytes
             memory kept for reuse after large calls; 0 means 256 MiB
    spin     True spins while it pays, for what a wake-up costs at most; seconds: for so long at
             most; False sleeps at once
    retry_attempts, retry_statuses
             a call of an idempotent method that ends with one of these statuses is made again, so
             often at most, the first time included; 1 never repeats. Never past its timeout
    retry_pause, retry_pause_most
             seconds before the second attempt at most, doubling with each up to the other; the
             pause is drawn at random from 0 to that. There is none after a worker's death
    reconnect_timeout
             seconds for which a call looks for a service that went away; None looks as long as the
             call may take, 0 never connects again

    Raises FileNotFoundError (no such service), ConnectionRefusedError (its host has died),
    TimeoutError (its host does not answer), PermissionError (this user is not allowed),
    ConnectionError (another version of carom), OSError, ValueError, MemoryError.
    """
    handle = ClientHandle(
        service,
        timeout,
        slots=slots,
        request_block_bytes=request_block_bytes,
        reply_block_bytes=reply_block_bytes,
        resident_bytes=resident_bytes,
        spin=spin,
        **retry_options(
            retry_attempts, retry_statuses, retry_pause, retry_pause_most, reconnect_timeout
        ),
    )
    return Client(service, handle)
