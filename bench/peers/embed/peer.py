# SPDX-License-Identifier: Apache-2.0
"""CPython inside the calling process."""

import sys

from runner.peer import Peer

IS_DEBIAN = sys.base_prefix == "/usr"
"""Other interpreters bring their headers along."""

PEERS = (
    Peer(
        name="embed",
        title="Embedded CPython",
        group="embedded",
        caller="C",
        server_language="Python",
        settings=(
            "CPython is part of the calling process, its handler is called directly "
            "(PyObject_Vectorcall) with a memoryview of the caller's memory. One GIL, which is "
            "never given up; a crash or a leak of the handler is the caller's own."
        ),
        client=("{build}/client", "option={python}|{peer}/../.."),
        build=("{python}", "{peer}/build.py"),
        packages=("python3-dev",) if IS_DEBIAN else (),
    ),
)
