# SPDX-License-Identifier: Apache-2.0
"""What an observer sees of a service, as plain records. Times are CLOCK_MONOTONIC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class State(IntEnum):
    """Where a service is in its life."""

    STARTING = 0
    """No worker is ready yet."""
    READY = 1
    STOPPING = 2


@dataclass(frozen=True)
class ServiceRecord:
    """A service as its host describes it."""

    name: str
    state: State
    host_pid: int
    methods: tuple[str, ...]
    worker_count: int
    client_count: int
    started_ns: int


@dataclass(frozen=True)
class WorkerRecord:
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


@dataclass(frozen=True)
class ClientRecord:
    """A connected client."""

    id: int
    pid: int
    uid: int
    joined_ns: int
