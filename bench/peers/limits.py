# SPDX-License-Identifier: Apache-2.0
"""How large a message this machine's kernel takes, for those ways that have a limit."""

from __future__ import annotations

import resource
from pathlib import Path

from peers import work

KERNEL_BYTES = 32
"""What the kernel keeps of a socket's buffer for itself in every message."""

CONTIGUOUS_BYTES_MAX = 2 << 20
"""A message that keeps its border is copied to mostly contiguous memory, of which the kernel gives
no more than this without luck."""


def read(path: str, otherwise: int) -> int:
    """A number under /proc/sys."""
    try:
        return int(Path("/proc/sys", path).read_text())
    except (OSError, ValueError):
        return otherwise


def message_bytes() -> int:
    """On a Unix socket that keeps the borders: SO_SNDBUF, of which the kernel grants twice as much
    as it is asked for, but asked for at most net.core.wmem_max."""
    room = 2 * read("net/core/wmem_max", 212992) - KERNEL_BYTES
    return min(room, CONTIGUOUS_BYTES_MAX, work.REQUEST_BYTES_MAX)


def queue_messages() -> int:
    """In a POSIX message queue at a time."""
    return read("fs/mqueue/msg_max", 10)


def queue_message_bytes() -> int:
    """In a message of a POSIX message queue, so that a full queue takes half of what a user may."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    largest = read("fs/mqueue/msgsize_max", 8192)
    if allowed == resource.RLIM_INFINITY:
        return min(largest, work.REQUEST_BYTES_MAX)
    return min(largest, work.REQUEST_BYTES_MAX, allowed // 2 // queue_messages())
