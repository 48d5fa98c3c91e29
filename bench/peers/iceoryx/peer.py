# SPDX-License-Identifier: Apache-2.0
"""iceoryx (classic), the C++ library with a daemon."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="iceoryx",
        title="iceoryx, C++ to C++, polling",
        group="library",
        caller="C++",
        server_language="C++",
        settings=(
            "Untyped client and server of Debian's libiceoryx-posh, both polling, requests and "
            "answers in loaned chunks; RouDi with one memory pool per size, process monitoring "
            "off, on the server's CPU. The server is C++: there is no Python binding. At most 16 "
            "calls in flight, the library's limit for queued answers. One RouDi per machine: not "
            "run while another is."
        ),
        server=("{build}/server", "--config", "{peer}/roudi.toml"),
        build=("sh", "{peer}/build.sh"),
        packages=("iceoryx", "libiceoryx-posh-dev"),
        depth_max=16,
        spins=True,
    ),
)
