# SPDX-License-Identifier: Apache-2.0
"""Unix sockets of type SOCK_SEQPACKET."""

from peers import limits
from runner.peer import Peer

PEERS = (
    Peer(
        name="seqpacket",
        title="Unix seqpacket",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=(
            "One send and one recv per message, whose border the kernel keeps: no framing. The "
            "server is plain Python: recv_into a buffer made once, then send; both sides block. "
            "SO_SNDBUF is as large as the longest request, which net.core.wmem_max limits."
        ),
        server=("{python}", "{peer}/server.py"),
        bytes_max=limits.message_bytes(),
        depth_max=64,
        workers_max=8,
    ),
)
