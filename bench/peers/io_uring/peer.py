# SPDX-License-Identifier: Apache-2.0
"""A Unix stream socket by io_uring."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="io-uring",
        title="Unix stream, io_uring",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=(
            "The caller uses liburing: one system call submits send and receive and waits for "
            "both (SINGLE_ISSUER, DEFER_TASKRUN, registered ring and socket). The server is that "
            "of the Unix stream, as Python has no io_uring. No SQPOLL: its kernel thread would "
            "take a CPU from one of the two sides."
        ),
        server=("{python}", "{peer}/../unix/server.py"),
        libraries=("-luring",),
        packages=("liburing-dev",),
        depth_max=64,
        workers_max=8,
    ),
)
