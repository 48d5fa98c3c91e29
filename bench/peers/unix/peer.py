# SPDX-License-Identifier: Apache-2.0
"""Unix stream sockets: the usual way, and without sleeping."""

from runner.peer import Peer

FRAMING = (
    "Length and body in one buffer, sent by one system call, received by one; with more calls in "
    "flight, many of them by one. The server is plain Python: recv_into a buffer made once, then "
    "sendall. "
)

PEERS = (
    Peer(
        name="unix",
        title="Unix stream",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=FRAMING + "Both sides block in recv. One client is served by a thread of its own, "
        "several by epoll.",
        server=("{python}", "{peer}/server.py"),
        depth_max=64,
        workers_max=8,
    ),
    Peer(
        name="unix-spin",
        title="Unix stream, spinning",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=FRAMING + "Neither side sleeps: both ask with MSG_DONTWAIT again and again.",
        server=("{python}", "{peer}/server.py", "--spin"),
        option="spin",
        depth_max=64,
        clients_max=1,
        spins=True,
    ),
)
