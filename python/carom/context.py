# SPDX-License-Identifier: Apache-2.0
"""What a handler may ask about the call it runs. The types are made in C (native/context.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carom import binding

__all__ = ["Context", "Peer"]

if TYPE_CHECKING:

    class Peer(NamedTuple):
        """A process at the other end."""

        id: int
        """Number of the client within the service."""
        pid: int
        """Its process id as the host sees it; 0 if it is in a foreign PID namespace."""
        uid: int
        """Its user id, as the kernel told the host."""

    class Context:
        """The call a handler runs. Using it after its handler has returned raises RuntimeError."""

        @property
        def deadline(self) -> int | None:
            """When the caller stops waiting, in nanoseconds of CLOCK_MONOTONIC, or None."""

        @property
        def client(self) -> Peer:
            """Who calls."""

        def remaining(self) -> float | None:
            """Seconds until the deadline, at least 0.0; None without a deadline."""

        def cancelled(self) -> bool:
            """Whether nobody waits for the answer any more.

            The caller cancelled, left, or its deadline passed. One atomic load, and one reading
            of the clock if there is a deadline.
            """

        def check(self) -> None:
            """Raises when nobody waits for the answer any more; to be called now and then.

            TimeoutError past the deadline, else carom.Cancelled when the caller cancelled or left.
            Let it through: the caller gets DEADLINE_EXCEEDED or CANCELLED.
            """

        def reply(self, size: int, /) -> memoryview:
            """A writable view of `size` bytes in the reply block: build the answer in it.

            Return it or a slice of it and nothing is copied. What it contains at first is of an
            older reply to the same client. Raises carom.Error (RESOURCE_EXHAUSTED) when the block
            is smaller.
            """

else:
    Context = binding.native_types()["Context"]
    Peer = binding.native_types()["Peer"]
