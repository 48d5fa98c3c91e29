# SPDX-License-Identifier: Apache-2.0
"""What the host tells through its pipe (carom.h, struct carom_host_options), for the log."""

from __future__ import annotations

import os
from collections.abc import Sequence

from carom.pool.scene import Scene

READ_BYTES = 1 << 16


class HostEvents:
    """The pipe. Closed after the host."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._unfinished = b""
        scene.loop.watch(self._reader, self._came)

    def close(self) -> None:
        """Logs what is left."""
        self._came()
        self._scene.loop.unwatch(self._reader)
        os.close(self._reader)
        os.close(self.writer)

    def _came(self) -> None:
        try:
            received = os.read(self._reader, READ_BYTES)
        except BlockingIOError:
            return
        *lines, self._unfinished = (self._unfinished + received).split(b"\n")
        for line in lines:
            name, *fields = line.decode("utf-8", "replace").split("\t")
            text = in_words(name, fields)
            if text:
                self._scene.log.event(name, text)


def in_words(name: str, fields: Sequence[str]) -> str | None:
    """An event for people; None for deaths, of which the supervisor knows more."""
    if name == "quarantined":
        method, path, error = [*fields, "", "", ""][:3]
        kept = f"could not be kept: {error}" if error else f"is kept as {path}"
        return f"a request of {method!r} has killed two workers; it {kept}"
    if name == "refused":
        pid, uid, reason = [*fields, "", "", ""][:3]
        return f"process {pid} of uid {uid} was refused: {reason}"
    if name == "poisoned":
        return (
            f"client {' (pid '.join(fields)}) wrote nonsense into its memory and was disconnected"
        )
    return None
