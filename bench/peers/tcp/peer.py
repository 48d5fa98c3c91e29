# SPDX-License-Identifier: Apache-2.0
"""TCP over loopback."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="tcp",
        title="TCP loopback",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=(
            "TCP_NODELAY on both sides, otherwise exactly as the Unix stream: length and body by "
            "one send, recv_into a buffer made once, sendall; both sides block in recv."
        ),
        server=("{python}", "{peer}/server.py"),
        depth_max=64,
        workers_max=8,
    ),
)
