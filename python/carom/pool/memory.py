# SPDX-License-Identifier: Apache-2.0
"""What the kernel says about memory: of a process, and whether it has killed one for lack of it."""

from __future__ import annotations

import os
from pathlib import Path

COUNTER = "oom_kill"
CGROUPS = Path("/sys/fs/cgroup")


class OutOfMemory:
    """Counts the processes of this control group that the kernel has killed for lack of memory.

    Where there is no such count for the group, that of the machine is taken.
    """

    def __init__(self, files: list[Path] | None = None) -> None:
        candidates = files if files is not None else [*group_files(), Path("/proc/vmstat")]
        self._file = next((file for file in candidates if count_in(file) is not None), None)
        self._count = self._now()

    def struck(self) -> bool:
        """Whether it has happened since this was asked last."""
        before, self._count = self._count, self._now()
        return self._count > before

    def _now(self) -> int:
        return (count_in(self._file) or 0) if self._file is not None else 0


def group_files() -> list[Path]:
    """Where the count of our control group may be: version 2, then version 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        folder = path.lstrip("/")
        if not controllers:
            files.append(CGROUPS / folder / "memory.events")
        elif "memory" in controllers.split(","):
            files.append(CGROUPS / "memory" / folder / "memory.oom_control")
    return files


def count_in(file: Path) -> int | None:
    """The counter in a file of "name value" lines; None if it is not there."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.split()[:1] == [COUNTER]]
    return int(values[0]) if values else None


def rss_bytes(pid: int) -> int:
    """Memory that a process has in use; 0 if it has gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
