# SPDX-License-Identifier: Apache-2.0
"""carom: C and Python callers, C and Python workers, three ways to wait."""

from __future__ import annotations

from runner.peer import Peer

C_CALLER = (
    "carom_call_begin, _submit, _wait, _end: the request is written and the reply read in shared "
    "memory. A deadline of 10 s on every call. "
)
PYTHON_SERVER = "carom serve with defaults; the handler reads the request in place. "
C_SERVER = "A host process and carom_worker_run in a process per worker. "
ADAPTIVE = "Both sides wait as by default: they spin as long as that paid recently, then sleep."
SPIN = "Both sides spin for up to 10 s (spin_ns), that is, they never sleep here."
PARKED = "Both sides sleep at once (no_spin)."

PYTHON = ("{python}", "{peer}/server.py")
C = ("{build}/server",)

PEERS = (
    Peer(
        name="carom",
        title="carom, C to Python",
        group="carom",
        caller="C",
        server_language="Python",
        settings=C_CALLER + PYTHON_SERVER + ADAPTIVE,
        server=PYTHON,
        option="adaptive",
        server_sources=("server.c",),
        depth_max=256,
        workers_max=8,
    ),
    Peer(
        name="carom-spin",
        title="carom, C to Python, spinning",
        group="carom",
        caller="C",
        server_language="Python",
        settings=C_CALLER + PYTHON_SERVER + SPIN,
        server=(*PYTHON, "--spin"),
        option="spin",
        server_sources=("server.c",),
        depth_max=256,
        spins=True,
    ),
    Peer(
        name="carom-parked",
        title="carom, C to Python, parked",
        group="carom",
        caller="C",
        server_language="Python",
        settings=C_CALLER + PYTHON_SERVER + PARKED,
        server=(*PYTHON, "--no-spin"),
        option="parked",
        server_sources=("server.c",),
        depth_max=256,
        workers_max=8,
    ),
    Peer(
        name="carom-c",
        title="carom, C to C",
        group="carom",
        caller="C",
        server_language="C",
        settings=C_CALLER + C_SERVER + ADAPTIVE,
        server=C,
        option="adaptive",
        server_sources=("server.c",),
        depth_max=256,
        workers_max=8,
    ),
    Peer(
        name="carom-c-spin",
        title="carom, C to C, spinning",
        group="carom",
        caller="C",
        server_language="C",
        settings=C_CALLER + C_SERVER + SPIN,
        server=(*C, "--spin"),
        option="spin",
        server_sources=("server.c",),
        depth_max=256,
        spins=True,
    ),
    Peer(
        name="carom-c-parked",
        title="carom, C to C, parked",
        group="carom",
        caller="C",
        server_language="C",
        settings=C_CALLER + C_SERVER + PARKED,
        server=(*C, "--no-spin"),
        option="parked",
        server_sources=("server.c",),
        depth_max=256,
        workers_max=8,
    ),
    Peer(
        name="carom-py-py",
        title="carom, Python to Python",
        group="carom",
        caller="Python",
        server_language="Python",
        settings="carom.Client.call with a timeout of 10 s. " + PYTHON_SERVER + ADAPTIVE,
        server=PYTHON,
        client=("{python}", "{peer}/caller.py"),
        option="adaptive",
        server_sources=("server.c",),
        workers_max=8,
    ),
)
