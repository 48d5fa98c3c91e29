# SPDX-License-Identifier: Apache-2.0
"""What `carom ls` shows: tables in plain text."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from carom.address import sockets
from carom.binding import service_folder
from carom.observer import Observer
from carom.text import NS_PER_S, duration, one_line

NS_PER_US = 1e3


def services() -> str:
    """A row for every socket in the folder of services."""
    found = sockets()
    if not found:
        return f"no services in {service_folder()}"
    head = ["SERVICE", "STATE", "HOST", "WORKERS", "CLIENTS", "CALLS", "ERRORS", "UP"]
    return table(head, [service_row(path) for path in found])


def service_row(path: Path) -> list[str]:
    """One service; a socket that nobody serves any more is shown as such."""
    try:
        with Observer(str(path.absolute())) as observer:
            service = observer.service()
            workers = observer.workers()
    except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
        return [path.stem, "stale: its host is gone"]
    except PermissionError:
        return [path.stem, "not allowed for this user"]
    except TimeoutError:
        return [path.stem, "silent: its host does not answer"]
    except OSError as error:
        return [path.stem, one_line(error)]
    return [
        path.stem,
        service.state.name.lower(),
        str(service.host_pid),
        str(service.worker_count),
        str(service.client_count),
        str(sum(worker.calls for worker in workers)),
        str(sum(worker.errors for worker in workers)),
        duration(time.monotonic_ns() - service.started_ns),
    ]


def service(name: str) -> str:
    """Everything about one service. Raises as `Observer` does."""
    with Observer(name) as observer:
        service = observer.service()
        workers = observer.workers()
        clients = observer.clients()
    head = ["WORKER", "PID", "CALLS", "ERRORS", "EXPIRED", "P50 us", "P99 us", "BUSY s"]
    rows = [
        [
            str(worker.id),
            str(worker.pid),
            str(worker.calls),
            str(worker.errors),
            str(worker.expired),
            f"{worker.handler_p50_ns / NS_PER_US:.1f}",
            f"{worker.handler_p99_ns / NS_PER_US:.1f}",
            f"{worker.busy_ns / NS_PER_S:.3f}",
        ]
        for worker in workers
    ]
    peers = [[str(client.id), str(client.pid), str(client.uid)] for client in clients]
    title = f"{service.name}: {service.state.name.lower()}, host {service.host_pid}"
    return "\n\n".join(
        [
            f"{title}\nmethods: {', '.join(service.methods)}",
            table(head, rows, words=()),
            table(["CLIENT", "PID", "UID"], peers, words=()),
        ]
    )


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = (0, 1)
) -> str:
    """Columns two spaces apart. A short row ends in a remark.

    words  columns that start at the left; the others are numbers and end at the right
    """
    full = [row for row in rows if len(row) == len(head)]
    widths = [max(map(len, column)) for column in zip(head, *full, strict=True)]
    widths[0] = max(len(row[0]) for row in [head, *rows])
    return "\n".join(line(row, widths, words).rstrip() for row in [head, *rows])


def line(row: Sequence[str], widths: Sequence[int], words: Collection[int]) -> str:
    """One row."""
    cells = [
        cell.ljust(width) if i in words else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join(cells)
