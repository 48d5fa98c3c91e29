# SPDX-License-Identifier: Apache-2.0
"""The floor: two bare processes and shared memory, with nothing in between."""

from __future__ import annotations

from runner.peer import Peer

HOW = (
    "Two processes of the same program, a word each in shared memory and the bytes beside it; "
    "nothing is checked but the bytes. "
)

PEERS = (
    Peer(
        name="floor",
        title="floor: cache lines",
        group="floor",
        caller="C",
        server_language="C",
        settings=HOW + "Both sides spin without a pause instruction.",
        option="line",
        clients_max=1,
        spins=True,
    ),
    Peer(
        name="floor-futex",
        title="floor: futexes",
        group="floor",
        caller="C",
        server_language="C",
        settings=HOW + "Both sides sleep in FUTEX_WAIT and are woken by FUTEX_WAKE every time.",
        option="futex",
        clients_max=1,
    ),
)
