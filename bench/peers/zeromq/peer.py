# SPDX-License-Identifier: Apache-2.0
"""ZeroMQ over its ipc transport."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="zeromq",
        title="ZeroMQ ipc",
        group="library",
        caller="C",
        server_language="Python",
        settings=(
            "libzmq REQ to pyzmq REP, with more than one call in flight DEALER to REP; one I/O "
            "thread per process, blocking calls. Requests are written into the library's own "
            "message; pyzmq receives up to 64 KiB by copy and more without, as it advises. "
            "Each worker is an endpoint to which every client connects, without a broker between."
        ),
        server=("{python}", "{peer}/server.py"),
        libraries=("-lzmq",),
        packages=("libzmq3-dev",),
        depth_max=64,
        workers_max=8,
    ),
)
