# SPDX-License-Identifier: Apache-2.0
"""Nonsense on the control socket costs its sender the connection and the service nothing."""

from __future__ import annotations

import array
import os
import random
import re
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import carom
import pytest
from conftest import Serve
from processes import Served, open_fds, shared_mappings, until

ROOT = Path(__file__).resolve().parent.parent.parent
MAGIC = 0x314D5243
HELLO, REFUSED = 1, 3
CLIENT, WORKER, OBSERVER = 1, 2, 3
HELLO_BYTES = 64
REFUSED_BYTES = 276


def protocol_version() -> int:
    text = (ROOT / "lib" / "layout.h").read_text()
    match = re.search(r"#define CAROM__PROTOCOL\w* +(?:UINT\d+_C\()?(\d+)", text)
    assert match
    return int(match.group(1))


def hello(
    *,
    magic: int = MAGIC,
    kind: int = HELLO,
    protocol: int | None = None,
    size: int = HELLO_BYTES,
    layout: int = 0,
    role: int = CLIENT,
    methods: int = 0,
) -> bytes:
    version = protocol_version() if protocol is None else protocol
    head = struct.pack("<IHHII", magic, kind, version, size, 0)
    return head + struct.pack("<QIIII", layout, role, methods, 0, 0) + bytes(24)


def connect(served: Served) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(20.0)
    peer.connect(str(served.log.parent / "lab.sock"))
    return peer


def answer(served: Served, *messages: bytes) -> bytes:
    """What the host says to these messages before it hangs up."""
    with connect(served) as peer:
        try:
            for message in messages:
                peer.send(message)
        except (BrokenPipeError, ConnectionResetError):
            pass
        said = b""
        try:
            while part := peer.recv(65536):
                said += part
        except ConnectionResetError:
            pass
    return said


def reason(said: bytes) -> str:
    assert len(said) == REFUSED_BYTES
    assert struct.unpack_from("<IH", said) == (MAGIC, REFUSED)
    return said[20:].split(b"\0")[0].decode()


@pytest.fixture
def served(serve: Serve) -> Iterator[Served]:
    """A service that must be as it was after each test."""
    served = serve()
    before = (open_fds(served.pid), shared_mappings(served.pid))
    yield served
    until(lambda: (open_fds(served.pid), shared_mappings(served.pid)) == before)
    with carom.connect("lab", timeout=5.0) as client:
        assert client.call("echo", b"unharmed", timeout=5.0) == b"unharmed"


def test_another_protocol_version_is_told_so(served: Served) -> None:
    text = reason(answer(served, hello(protocol=999)))
    assert "999" in text
    assert "same release of carom on both sides" in text


def test_another_layout_is_told_so(served: Served) -> None:
    text = reason(answer(served, hello(layout=0x1234)))
    assert re.search("layout|version|build", text)


@pytest.mark.parametrize(
    "message",
    [
        b"x",
        b"GET / HTTP/1.1\r\n\r\n",
        hello()[:7],
        hello()[:16],
        hello()[:-1],
        hello() + b"more",
        hello(magic=1),
        hello(kind=77),
        hello(kind=REFUSED),
        hello(size=0),
        hello(size=0xFFFFFFFF),
        hello(role=9),
        hello(role=WORKER, methods=0xFFFFFFFF),
        bytes(65536),
    ],
    ids=lambda message: f"{len(message)} bytes {message[:8].hex()}",
)
def test_garbage_ends_in_a_hang_up_or_a_refusal(served: Served, message: bytes) -> None:
    said = answer(served, message)
    assert said == b"" or reason(said)


def test_random_messages_do_no_harm(served: Served) -> None:
    random.seed(20261121)
    for _ in range(200):
        message = bytearray(hello())
        for _ in range(random.randrange(1, 12)):
            message[random.randrange(len(message))] = random.randrange(256)
        said = answer(served, bytes(message[: random.randrange(1, len(message) + 1)]))
        assert len(said) <= 65536


def test_peers_that_say_nothing_do_not_keep_others_waiting(served: Served) -> None:
    silent = [connect(served) for _ in range(20)]
    with carom.connect("lab", timeout=20.0) as client:
        assert client.call("echo", b"served") == b"served"
    for peer in silent:
        peer.close()


def test_descriptors_that_come_with_garbage_are_closed(served: Served) -> None:
    before = open_fds(served.pid)
    with connect(served) as peer, tempfile.TemporaryFile() as file:
        fds = array.array("i", [file.fileno()] * 4)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
        peer.sendmsg([hello(layout=1)], rights)
        peer.recv(65536)
        until(lambda: open_fds(served.pid) <= before + 1)


def test_a_client_that_hands_over_no_memory_is_refused(served: Served) -> None:
    message = real_hello()
    with connect(served) as peer:
        peer.send(message)
        said = peer.recv(65536)
    assert reason(said)


@pytest.mark.parametrize("size", [0, 4096, 1 << 40])
def test_a_client_whose_memory_is_a_file_that_can_shrink_is_refused(
    served: Served, size: int
) -> None:
    with connect(served) as peer, tempfile.TemporaryFile() as file:
        file.truncate(size)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]))]
        peer.sendmsg([real_hello()], rights)
        assert reason(peer.recv(65536))


def real_hello() -> bytes:
    """A client's HELLO as the library makes it, without the descriptors that came with it."""
    folder = Path(tempfile.mkdtemp(prefix="carom-"))
    path = str(folder / "trap.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        child = os.fork()
        if child == 0:
            try:
                carom.connect(path, timeout=5.0)
            finally:
                os._exit(0)
        peer, _ = listener.accept()
        with peer:
            message, _, _, _ = peer.recvmsg(65536)
    os.waitpid(child, 0)
    os.unlink(path)
    folder.rmdir()
    return message
