# SPDX-License-Identifier: Apache-2.0
"""Connecting, and every way in which it cannot be done: one clear line each."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import carom
import pytest
from conftest import Serve
from processes import carom as command
from processes import is_alive, until

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")


def test_no_such_service_is_file_not_found(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="'nosuch'") as raised:
        carom.connect("nosuch", timeout=0.05)
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_service_that_appears_in_time_is_waited_for(serve: Serve) -> None:
    found: list[bytes] = []

    def wait() -> None:
        with carom.connect("lab", timeout=20.0) as lab:
            found.append(lab.call("echo", b"found"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    serve()
    waiting.join()
    assert found == [b"found"]


def test_calls_of_a_service_without_a_ready_worker_time_out(folder: Path) -> None:
    words = "no worker of service 'idle' was ready in time"
    with carom.Host("idle"), carom.connect("idle", timeout=0.05) as client:
        with pytest.raises(TimeoutError, match=words) as raised:
            client.call("echo", timeout=0.05)
        assert "\n" not in str(raised.value)


def test_a_service_is_found_by_the_path_of_its_socket(serve: Serve, folder: Path) -> None:
    serve()
    with carom.connect(str(folder / "lab.sock")) as lab:
        assert lab.call("echo", b"by path") == b"by path"


def test_a_name_that_is_already_served_is_refused_and_the_first_goes_on(serve: Serve) -> None:
    serve()
    second = command("serve", "lab:service", cwd=Path(__file__).parent / "applications")
    assert second.returncode == 1
    assert second.stdout == ""
    assert "cannot serve 'lab': " in second.stderr
    assert second.stderr.count("\n") == 1
    with carom.connect("lab") as lab:
        assert lab.call("echo", b"first") == b"first"


def test_a_second_host_in_one_process_is_refused_too(folder: Path) -> None:
    with carom.Host("twice"), pytest.raises(OSError, match="twice"):
        carom.Host("twice")


def test_one_application_can_be_served_under_two_names(serve: Serve) -> None:
    first, second = serve(), serve("lab:service", "--name", "lab2")
    with carom.connect("lab") as lab, carom.connect("lab2") as lab2:
        assert [int(lab.call("pid"))] == first.worker_pids
        assert [int(lab2.call("pid"))] == second.worker_pids


def test_the_stale_socket_of_a_killed_host_is_taken_over(serve: Serve, folder: Path) -> None:
    first = serve()
    first.process.kill()
    first.wait()
    assert (folder / "lab.sock").exists()
    with pytest.raises((ConnectionRefusedError, FileNotFoundError), match="lab"):
        carom.connect("lab", timeout=0.05)
    serve()
    with carom.connect("lab") as lab:
        assert lab.call("echo", b"second") == b"second"


def test_a_socket_file_is_gone_after_an_orderly_stop(serve: Serve, folder: Path) -> None:
    served = serve()
    assert served.stop() == 0
    assert not (folder / "lab.sock").exists()


def as_user(uid: int, service: str) -> str:
    """What a process of another user gets when it connects."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with carom.connect(service, timeout=5.0) as client:
                os.write(writer, client.call("echo", b"welcome"))
        except Exception as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as text:
        return text.read()


@as_root
def test_a_process_of_another_user_is_refused(serve: Serve, folder: Path) -> None:
    serve()
    folder.chmod(0o755)
    (folder / "lab.sock").chmod(0o777)
    text = as_user(NOBODY, str(folder / "lab.sock"))
    assert text.startswith("PermissionError: ")
    assert str(NOBODY) in text
    assert "\n" not in text


@as_root
def test_a_user_on_the_list_may_connect(serve: Serve, folder: Path) -> None:
    serve("lab:service", "--allow-uid", str(NOBODY))
    folder.chmod(0o755)
    (folder / "lab.sock").chmod(0o777)
    assert as_user(NOBODY, str(folder / "lab.sock")) == "welcome"


class FakeHost:
    """A socket that answers whoever connects with one message."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        self.path = str(folder / "fake.sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen()
        self.answer = answer
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        peer, _ = self.listener.accept()
        with peer:
            peer.recv(65536)
            if self.answer:
                peer.send(self.answer)

    def close(self) -> None:
        self.thread.join()
        self.listener.close()


MAGIC = 0x314D5243
ANSWERS = {
    "nothing": b"",
    "garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "half a header": struct.pack("<IHH", MAGIC, 2, 1),
    "a welcome without memory": struct.pack("<IHHIIII", MAGIC, 2, 1, 24, 0, 0, 0),
    "another version": struct.pack("<IHHIIII", MAGIC, 2, 999, 24, 0, 0, 0),
    "a long message": os.urandom(100_000),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_host_that_speaks_something_else_is_a_connection_error(folder: Path, answer: str) -> None:
    host = FakeHost(folder, ANSWERS[answer])
    with pytest.raises((ConnectionError, OSError)) as raised:
        carom.connect(host.path, timeout=5.0)
    host.close()
    assert not isinstance(raised.value, TimeoutError)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("options", [{"slots": 3}, {"slots": 1 << 20}])
def test_options_out_of_range_are_value_errors(folder: Path, options: dict[str, int]) -> None:
    with carom.Host("strict"), pytest.raises(ValueError, match="slots"):
        carom.connect("strict", timeout=0.05, **options)


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0b"])
def test_a_service_name_that_cannot_be_is_a_value_error(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        carom.connect(name, timeout=0.05)
    with pytest.raises(ValueError, match=r"."):
        carom.Host(name)


def test_a_worker_leaves_when_its_host_is_killed(folder: Path) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", "import carom; carom.Host('solo'); input()"], stdin=subprocess.PIPE
    )
    service = carom.Service("solo")
    service.method(lambda request: request, name="echo")
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with carom.Worker(service) as worker:
                worker.run()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    with carom.connect("solo", timeout=20.0, reconnect_timeout=0) as client:
        assert client.call("echo", b"x") == b"x"
        host.kill()
        host.communicate()
        with pytest.raises(ConnectionError):
            until(lambda: client.call("echo") and False)
    thread.join()
    assert isinstance(raised[0], ConnectionResetError)
    assert not is_alive(host.pid)
