# SPDX-License-Identifier: Apache-2.0
"""iceoryx2, the Rust library without a daemon."""

from runner.peer import Peer

CALLER = (
    "Request-response of the Rust crate iceoryx2, service type ipc; requests of [u8] filled and "
    "answers read in loaned memory, memory for the next request loaned while the server is at "
    "work, as in iceoryx2's own benchmark. Built like its releases: LTO, one code-generation unit, "
    "panic=abort. A service for each of 1, 8 and 64 calls in flight; the caller uses the first "
    "that is enough, as a single call is up to twice as fast with max_active_requests_per_client=1."
)
BUILD = ("sh", "{peer}/build.sh")

PEERS = (
    Peer(
        name="iceoryx2",
        title="iceoryx2, Rust to Rust, polling",
        group="library",
        caller="Rust",
        server_language="Rust",
        settings=f"{CALLER} Both sides poll without a pause. The server is Rust, not Python.",
        server=("{build}/server", "--wait", "poll"),
        option="poll",
        build=BUILD,
        needs=("cargo",),
        depth_max=64,
        spins=True,
    ),
    Peer(
        name="iceoryx2-event",
        title="iceoryx2, Rust to Rust, events",
        group="library",
        caller="Rust",
        server_language="Rust",
        settings=(
            f"{CALLER} Both sides sleep in a listener until the other has notified it; the server "
            "wakes only the client whose listener the request names. Waits end after 10 ms at the "
            "latest, as 0.10.0 can lose a notification. The server is Rust."
        ),
        server=("{build}/server", "--wait", "event"),
        option="event",
        build=BUILD,
        needs=("cargo",),
        depth_max=64,
    ),
    Peer(
        name="iceoryx2-py",
        title="iceoryx2, Rust to Python, poll",
        group="library",
        caller="Rust",
        server_language="Python",
        settings=(
            f"{CALLER} The server uses the Python package of the same version, with "
            "payload().as_memory_view() on both payloads. Both sides poll without a pause."
        ),
        server=("{python}", "{peer}/server.py"),
        option="poll",
        build=BUILD,
        needs=("cargo",),
        depth_max=64,
        spins=True,
    ),
)
