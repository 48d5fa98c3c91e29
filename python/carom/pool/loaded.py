# SPDX-License-Identifier: Apache-2.0
"""What a process says when it has loaded the application: its methods, its source files."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterable

from carom import application
from carom.errors import ApplicationError
from carom.pool.channel import MESSAGE_BYTES, Message
from carom.service import Service

SPARE_BYTES = 4096
"""Of a message, for its other parts."""


def load(target: str) -> Service:
    """The application's service, its load hooks run. Raises ApplicationError."""
    application.search_here()
    service = application.load(target)
    application.run_load_hooks(service, target)
    return service


def message(service: Service, warnings: Iterable[str] = ()) -> Message:
    """The message "loaded". ApplicationError if the methods do not fit into one."""
    methods = {
        method.name: {"idempotent": method.idempotent, "timeout": method.timeout}
        for method in service.methods.values()
    }
    room_bytes = MESSAGE_BYTES - SPARE_BYTES - json_bytes(methods)
    if room_bytes < 0:
        raise ApplicationError(
            f"the names of the {len(methods)} methods of {service.name} are too long together: "
            f"shorten them, or divide the service"
        )
    files = source_files()
    watched = fitting(files, room_bytes // 2)
    lines = [*warnings]
    if len(watched) < len(files):
        lines.append(f"only {len(watched)} of {len(files)} source files can be watched")
    return {
        "loaded": service.name,
        "methods": methods,
        "files": watched,
        "warning": "\n".join(lines)[: SPARE_BYTES // 4] or None,
    }


def source_files() -> list[str]:
    """Files of the modules that were loaded and are neither Python's, nor installed, nor ours."""
    foreign = installed_folders()
    found = set()
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or name.partition(".")[0] == "carom":
            continue
        path = os.path.abspath(path)
        if not path.startswith(foreign) and not is_in_packages(path):
            found.add(path)
    return sorted(found)


def installed_folders() -> tuple[str, ...]:
    """Where Python's own modules are, installed ones, and carom; each with a "/" at its end."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    paths = {sysconfig.get_path(kind) for kind in kinds}
    paths |= {os.path.realpath(path) for path in paths}
    paths.add(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return tuple(f"{path}/" for path in paths)


def is_in_packages(path: str) -> bool:
    """Whether some other environment's folder of packages is in the path."""
    return "/site-packages/" in path or "/dist-packages/" in path


def fitting(files: list[str], room_bytes: int) -> list[str]:
    """As many of the files as have room."""
    used_bytes = 0
    for index, path in enumerate(files):
        used_bytes += json_bytes(path) + 2
        if used_bytes > room_bytes:
            return files[:index]
    return files


def json_bytes(value: object) -> int:
    """Length of a value in a message."""
    return len(json.dumps(value))
