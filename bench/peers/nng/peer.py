# SPDX-License-Identifier: Apache-2.0
"""nng over its ipc transport."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="nng",
        title="nng ipc",
        group="library",
        caller="C",
        server_language="Python",
        settings=(
            "nng REQ to pynng REP, with more than one call in flight REQ in raw mode; default "
            "options but for the largest message. Requests are written into the library's own "
            "message. Each worker is an address to which every client dials, without a device "
            "between."
        ),
        server=("{python}", "{peer}/server.py"),
        libraries=("-lnng",),
        packages=("libnng-dev",),
        depth_max=64,
        workers_max=8,
    ),
)
