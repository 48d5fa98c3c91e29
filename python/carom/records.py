# SPDX-License-Identifier: Apache-2.0
"""What an observer sees of a service, as plain records. Times are CLOCK_MONOTONIC.

Named tuples and not dataclasses: every worker imports this, and they cost a third of the time.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class State(IntEnum):
    """Where a service is in its life."""

    STARTING = 0
    """No worker is ready yet."""
    READY = 1
    STOPPING = 2
    """Its end has begun: no call begins any more."""
    DEGRADED = 3
    """Calls are served, by fewer workers than wanted."""
    FAILING = 4
    """Workers keep dying: calls are answered UNAVAILABLE."""
    DRAINING = 5
    """Running calls are finished, others answered UNAVAILABLE."""


class ServiceRecord(NamedTuple):
    """A service as its host describes it."""

    name: str
    state: State
    host_pid: int
    methods: tuple[str, ...]
    worker_count: int
    client_count: int
    started_ns: int


class WorkerRecord(NamedTuple):
    """A worker and its counters since it joined. Percentiles are within 20 %."""

    id: int
    pid: int
    uid: int
    joined_ns: int
    calls: int
    """Finished, whatever the status."""
    errors: int
    """Of those, not OK."""
    expired: int
    """Answered DEADLINE_EXCEEDED without running."""
    busy_ns: int
    handler_p50_ns: int
    """Median from claim to reply."""
    handler_p99_ns: int
    running: str | None
    """Name of the method it runs, None when it waits."""
    running_since_ns: int


class Waiting(NamedTuple):
    """Calls that no worker has claimed yet."""

    calls: int
    oldest_ns: int
    """How long the first in some ring has been seen there, at least."""


class ClientStatistics(NamedTuple):
    """What happened to a client beside its calls."""

    reconnects: int
    """Times it connected to a new host."""
    retries: int
    """Attempts beyond the first, of all calls."""
    connected_ns: int
    """When the present connection was made."""
    connected: bool


class ClientRecord(NamedTuple):
    """A connected client."""

    id: int
    pid: int
    uid: int
    joined_ns: int
