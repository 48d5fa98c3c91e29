# SPDX-License-Identifier: Apache-2.0
"""gRPC, as unary calls and as messages of one stream."""

from runner.peer import Peer

CALLER = (
    "C++ caller (Debian's libgrpc++) with generated code and one completion queue that the calling "
    "thread polls; over a Unix socket, without TLS; a message with one `bytes` field; no limit of "
    "the message size. Each worker is a server of its own, to which every client has a channel."
)

PEERS = (
    Peer(
        name="grpc",
        title="gRPC, unary",
        group="library",
        caller="C++",
        server_language="Python",
        settings=(
            f"{CALLER} Server: grpcio with a pool of one thread, which here is as fast as more "
            "threads and faster than grpc.aio; HTTP/2 frames of 16 MiB and a look-ahead of 32 MiB."
        ),
        server=("{python}", "{peer}/server.py"),
        option="unary",
        build=("sh", "{peer}/build.sh"),
        packages=("libgrpc++-dev", "protobuf-compiler", "protobuf-compiler-grpc", "pkg-config"),
        depth_max=64,
        workers_max=8,
    ),
    Peer(
        name="grpc-stream",
        title="gRPC, one stream",
        group="library",
        caller="C++",
        server_language="Python",
        settings=(
            f"{CALLER} All requests are messages of one bidirectional stream per worker. Server: "
            "grpc.aio on uvloop, with read and write of the stream's context, as gRPC advises: "
            "its threaded server needs more threads per stream."
        ),
        server=("{python}", "{peer}/server.py", "--stream"),
        option="stream",
        build=("sh", "{peer}/build.sh"),
        packages=("libgrpc++-dev", "protobuf-compiler", "protobuf-compiler-grpc", "pkg-config"),
        depth_max=64,
        workers_max=8,
    ),
)
