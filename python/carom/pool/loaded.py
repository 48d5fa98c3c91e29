# SPDX-License-Identifier: Apache-2.0
"""What a process says when it has loaded the application: its methods, its source files."""

from __future__ import annotations

import contextlib
import importlib.util
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
YOUNG_S = 2.0
"""Bytecode that is no more than this younger than its source may not be that of what is there."""


def load(target: str) -> Service:
    """The application's service, its load hooks run. Raises ApplicationError."""
    application.search_here()
    try:
        service = application.load(target)
        application.run_load_hooks(service, target)
    finally:
        forget_young_bytecode(source_files() + own_file(target))
    return service


def forget_young_bytecode(files: Iterable[str]) -> None:
    """Python takes bytecode for that of a source with the same size and the same second of change
    (importlib: path_stats). So that a reload never runs the code of a file that was saved twice
    within a second, bytecode as young as that is not kept."""
    for path in files:
        with contextlib.suppress(OSError, NotImplementedError):
            cached = importlib.util.cache_from_source(path)
            if os.stat(cached).st_mtime - os.stat(path).st_mtime < YOUNG_S:
                os.unlink(cached)


def own_file(target: str) -> list[str]:
    """The application's file, also when its import has failed."""
    name = target.partition(":")[0]
    package = name.rpartition(".")[0]
    if package and package not in sys.modules:  # looking for the file would import it once more
        return []
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return []
    return [spec.origin] if spec is not None and spec.has_location and spec.origin else []


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
