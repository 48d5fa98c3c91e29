# SPDX-License-Identifier: Apache-2.0
"""A worker inside the supervisor that answers every call with UNAVAILABLE and a reason.

It is there when no worker will be ready soon, because they keep dying or because the service ends:
callers learn that at once instead of waiting for their deadlines. The answering is C without the
GIL (native/refuse.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Thread

from carom.binding import WorkerHandle

JOIN_TIMEOUT_S = 1.0


class StandIn:
    """From now on until close(). Raises as `carom.Worker`.

    service  name of the service, whose host runs
    methods  its methods, and whether they are idempotent
    reason   what callers are told
    """

    def __init__(self, service: str, methods: Mapping[str, bool], reason: str) -> None:
        self.reason = reason
        self._handle = WorkerHandle(service, methods, JOIN_TIMEOUT_S, spin=False, stand_in=True)
        arguments = (reason,)
        self._thread = Thread(
            target=self._handle.refuse, args=arguments, name="carom-stand-in", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answers no more."""
        self._handle.stop()
        self._thread.join()
        self._handle.close()
