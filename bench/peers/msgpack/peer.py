# SPDX-License-Identifier: Apache-2.0
"""MessagePack over a Unix stream socket."""

from runner.peer import Peer

PEERS = (
    Peer(
        name="msgpack",
        title="MessagePack on Unix socket",
        group="library",
        caller="C",
        server_language="Python",
        settings=(
            'Requests {"id", "method", "data": bin}, answers {"id", "data": bin}. msgpack-c packs '
            "the head and sends it with the data by one sendmsg; msgpack for Python (C extension) "
            "unpacks the stream. Blocking sockets; with several clients one thread serves them by "
            "epoll."
        ),
        server=("{python}", "{peer}/server.py"),
        libraries=("-lmsgpackc",),
        packages=("libmsgpack-dev",),
        depth_max=64,
        workers_max=8,
    ),
)
