# SPDX-License-Identifier: Apache-2.0
"""Shared memory and eventfds: what one would write in an afternoon instead of carom."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="eventfd",
        title="Shared memory + eventfd",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=(
            "The request is written to memory shared by mmap, where the server reads it without a "
            "copy; each side wakes the other by an eventfd and sleeps in reading its own "
            "(os.eventfd_read). One call at a time; no deadlines, no notice of a peer's death."
        ),
        server=("{python}", "{peer}/server.py"),
    ),
)
