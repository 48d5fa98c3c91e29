# SPDX-License-Identifier: Apache-2.0
"""--watch: which of the application's files have changed.

By modification time, size and inode: an editor that writes a new file in the place of the old one
changes the last of them at least. A file that is gone is not a change yet, because some editors
delete before they write; once it is back it is one. The contents are never read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

Mark = tuple[int, int, int]


class FileWatch:
    """Remembers how the files looked; tells each change once."""

    def __init__(self, files: Iterable[str | os.PathLike[str]]) -> None:
        self._marks: dict[str, Mark | None] = {}
        self.update(files)

    def changed(self) -> list[str]:
        """The files that have changed since they were last looked at."""
        found = []
        for path, before in self._marks.items():
            now = mark(path)
            if now is not None and now != before:
                found.append(path)
            self._marks[path] = now
        return found

    def update(self, files: Iterable[str | os.PathLike[str]]) -> None:
        """The files of the application that runs now. One that was watched before keeps its mark:
        what changed while the application was being loaded is still told."""
        paths = [os.fspath(file) for file in files]
        known = self._marks
        self._marks = {path: known[path] if path in known else mark(path) for path in paths}


def mark(path: str) -> Mark | None:
    """What tells one version of a file from the next; None: there is no such file now."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
