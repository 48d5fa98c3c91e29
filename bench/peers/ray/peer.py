# SPDX-License-Identifier: Apache-2.0
"""Ray: a method of an actor."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="ray",
        title="Ray actor",
        group="library",
        caller="Python",
        server_language="Python",
        settings=(
            "A local cluster on loopback, a driver that calls a method of a named actor and gets "
            "the result. Requests up to 100 KiB are bytes, larger ones numpy arrays, which the "
            "actor reads in the object store. No dashboard. Raylet and control store are pinned "
            "with the actors."
        ),
        server=("{python}", "{peer}/server.py"),
        client=("{python}", "{peer}/caller.py"),
        depth_max=64,
        clients_max=4,
        workers_max=8,
        slow=True,
        optional=True,
    ),
)
