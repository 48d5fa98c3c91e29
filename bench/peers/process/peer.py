# SPDX-License-Identifier: Apache-2.0
"""A process per call."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="process",
        title="Process per call",
        group="kernel",
        caller="C",
        server_language="Python",
        settings=(
            "posix_spawn of the interpreter with a script (-I -S: nothing of the user, no "
            "site-packages), the request by its standard input, the answer by its standard "
            "output. The script imports nothing but sys; one that imports more takes longer. "
            "Calls in flight are processes side by side."
        ),
        client=("{build}/client", "option={python}|{peer}/handler.py"),
        depth_max=16,
        slow=True,
    ),
)
