# SPDX-License-Identifier: Apache-2.0
"""Unix datagram sockets."""

from peers import limits
from runner.peer import Peer

PEERS = (
    Peer(
        name="dgram",
        title="Unix datagram",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=(
            "Both ends connected, with a server socket for each client, so that the kernel looks "
            "up no address; one send and one recv per message, no framing. The server is plain "
            "Python: recv_into a buffer made once, then send; both sides block. SO_SNDBUF is as "
            "large as the longest request, which net.core.wmem_max limits."
        ),
        server=("{python}", "{peer}/server.py"),
        bytes_max=limits.message_bytes(),
        depth_max=64,
        workers_max=8,
    ),
)
