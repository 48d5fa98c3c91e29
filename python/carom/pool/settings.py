# SPDX-License-Identifier: Apache-2.0
"""What `carom serve` was asked for, wherever it was said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Times in seconds, memory in bytes; 0 means without this limit unless said otherwise."""

    target: str
    """ "module:service"."""
    name: str | None = None
    """Of the service, if not the application's own; then the socket is there before it loads."""
    allow_uid: tuple[int, ...] = ()
    spin: bool | float = True

    workers: int = 1
    """At the start, and always unless min_workers and max_workers differ."""
    min_workers: int = 1
    max_workers: int = 1
    threads: int = 1
    """Of each worker process, each with a call of its own."""
    target_wait: float = 0.01
    """More workers when calls wait longer than this."""
    idle_time: float = 30.0
    """One worker less after this time in which one less would have done."""

    preload: bool = True
    start_timeout: float = 60.0
    """For import and load hooks, and again for a worker's start and warm-up."""
    graceful_timeout: float = 10.0
    """For calls in progress at the end, of the service or of a worker that is exchanged."""
    watch: bool = False

    timeout: float | None = None
    """Of a call, unless its method has its own; None: a worker is never interrupted."""
    timeout_grace: float = 5.0
    """From the interruption of a stuck worker to SIGKILL."""
    max_requests: int = 0
    max_requests_jitter: int = 0
    """Up to so many more, drawn for each worker."""
    max_rss: int = 0
    max_age: float = 0.0
    max_crashes: int = 5
    crash_window: float = 60.0
    quarantine: Path | None = None

    log_format: str = "text"
    """Or "json"."""
    parent: int | None = None
    """End when this process does (carom_launch)."""
    report_fd: int | None = None
    """Gets "ready SECONDS", those of graceful_timeout, or "failed" and why from the next line on;
    then nothing goes to standard output."""
