# SPDX-License-Identifier: Apache-2.0
"""Where services are found: their sockets in the file system."""

from __future__ import annotations

from pathlib import Path

from carom.binding import service_folder


def socket_path(service: str) -> Path:
    """Path of a service's socket: a name is looked up in the folder, a path is itself."""
    return Path(service) if "/" in service else service_folder() / f"{service}.sock"


def sockets() -> list[Path]:
    """Sockets of services, live or stale, in the folder of services; sorted by name."""
    return sorted(service_folder().glob("*.sock"))
