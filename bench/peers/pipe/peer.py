# SPDX-License-Identifier: Apache-2.0
"""Named pipes."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="pipe",
        title="Pipe",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=(
            "Two named pipes per client, both sides block in read. Length and body by one write, "
            "with more calls in flight many of them by one; the server reads by FileIO.readinto "
            "into a buffer made once. The pipe for requests is enlarged (F_SETPIPE_SZ, at most "
            "1 MiB) when requests are larger than the usual 64 KiB."
        ),
        server=("{python}", "{peer}/server.py"),
        depth_max=64,
    ),
)
