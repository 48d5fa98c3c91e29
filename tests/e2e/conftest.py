# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a folder for sockets, services that run in it, clients of them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import carom
from processes import Served

Serve = Callable[..., Served]

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # services are to find bytecode as their users' do
# A shell ignores Ctrl-C for what it runs in the background, and programs started here would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_memory() -> Iterator[None]:
    """Nothing may stay behind in /dev/shm, whatever the tests killed."""
    before = set(os.listdir("/dev/shm"))
    yield
    left = {name for name in set(os.listdir("/dev/shm")) - before if "carom" in name}
    assert not left


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, shared_memory: None) -> Iterator[Path]:
    """$CAROM_DIR of this test: short, because the path of a socket has 107 bytes at the most."""
    path = Path(tempfile.mkdtemp(prefix="carom-"))
    monkeypatch.setenv("CAROM_DIR", str(path))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Starts `carom serve` as often as a test wants; ends all of it afterwards."""
    running: list[Served] = []

    def start(target: str = "lab:service", *options: str, ready: bool = True, **more: object):
        served = Served(target, *options, log=folder / f"log{len(running)}", **more)
        running.append(served)
        return served.wait_ready() if ready else served

    yield start
    for served in running:
        served.clean()


@pytest.fixture(scope="module")
def lab_service(shared_memory: None) -> Iterator[Served]:
    """One worker of applications/lab.py for a whole file of tests."""
    path = Path(tempfile.mkdtemp(prefix="carom-"))
    served = Served("lab:service", "--dir", str(path), log=path / "log")
    try:
        served.wait_ready()
        yield served
    finally:
        served.clean()
        shutil.rmtree(path)


@pytest.fixture
def lab(lab_service: Served) -> Iterator[carom.Client]:
    """A client of it."""
    with carom.connect(str(lab_service.log.parent / "lab.sock")) as client:
        yield client


@pytest.fixture
def application(folder: Path) -> Callable[[str, str], Path]:
    """Writes a module and returns the folder it is in."""

    def write(source: str, name: str = "app") -> Path:
        (folder / f"{name}.py").write_text(source)
        return folder

    return write
