# SPDX-License-Identifier: Apache-2.0
"""POSIX message queues."""

from peers import limits
from runner.peer import Peer

NUMBER_BYTES = 8

PEERS = (
    Peer(
        name="mqueue",
        title="POSIX message queue",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=(
            "One queue for all requests and one per client for its answers; a request begins with "
            "its client's number. Both sides block; the server uses posix_ipc, a thin layer in C. "
            "fs.mqueue.msgsize_max and msg_max limit size and calls in flight."
        ),
        server=("{python}", "{peer}/server.py"),
        bytes_max=limits.queue_message_bytes() - NUMBER_BYTES,
        depth_max=min(16, limits.queue_messages()),
        workers_max=8,
    ),
)
