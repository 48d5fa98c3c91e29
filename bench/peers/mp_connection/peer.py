# SPDX-License-Identifier: Apache-2.0
"""multiprocessing.connection, from Python to Python."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="mp-connection",
        title="multiprocessing.connection",
        group="library",
        caller="Python",
        server_language="Python",
        settings=(
            "Listener and Client on a Unix socket; send_bytes and recv_bytes, which pickle "
            "nothing. Both sides block. One client is served by a thread of its own, several by "
            "epoll."
        ),
        server=("{python}", "{peer}/server.py"),
        client=("{python}", "{peer}/caller.py"),
        depth_max=64,
    ),
)
