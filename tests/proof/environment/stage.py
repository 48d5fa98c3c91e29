# SPDX-License-Identifier: Apache-2.0
"""Where the suite plays: processes in boxes, a folder of sockets, and what was seen of them.

A `Stage` leaves nothing behind: every process is killed, every folder removed. What does not hold
raises `Broken`, which the check around it reports. Nothing waits for time: everything waits for a
condition, up to a limit that only something broken reaches.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path.insert(0, str(HERE.parent))

from report import Report  # noqa: E402

PYTHON = str(ROOT / "build" / "venv" / "bin" / "python")
SHARED = "/tmp/shared"
T = TypeVar("T")


class Broken(Exception):
    """Something that must hold does not."""


def require(condition: object, text: str) -> None:
    if not condition:
        raise Broken(text)


class Peer:
    """A process that is told what to do by lines and answers by lines."""

    def __init__(
        self, stage: Stage, command: Sequence[str], box: Sequence[str] = (), service: str = ""
    ) -> None:
        self._stage = stage
        self._contained = "--container" in box
        self.name = " ".join(Path(word).name for word in command[:3])
        words = [stage.program("box"), *box, "--", *command] if box else list(command)
        folder = SHARED if self._contained else str(stage.sockets)
        self.log = stage.folder / f"log-{stage.count()}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=HERE,
                env={
                    **os.environ,
                    "CAROM_DIR": folder,
                    "CAROM_PYTHON": PYTHON,
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                start_new_session=True,
            )
        self._rest = b""
        self._poll = select.poll()

    @property
    def pid(self) -> int:
        """Of the command itself, seen from here."""
        if not self._contained:
            return self.process.pid
        return until(lambda: (children_of(self.process.pid) or [0])[0], "the container's process")

    def line(self, patience_s: float = 0.0) -> str:
        """The next line; what ends the output instead is told as Broken."""
        patience_s = patience_s or self._stage.patience_s
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        self._poll.register(fd, select.POLLIN)
        give_up = time.monotonic() + patience_s
        while b"\n" not in self._rest:
            left = give_up - time.monotonic()
            if left <= 0:
                raise Broken(f"{self.name} says nothing for {patience_s:.0f} s")
            if not self._poll.poll(min(left, 1.0) * 1000):
                self._stage.report.progress(f"waiting for {self.name}")
                continue
            some = os.read(fd, 65536)
            if not some:
                status = self.process.wait(self._stage.patience_s)
                errors = self.log.read_text(errors="replace")[-300:]
                raise Broken(f"{self.name} ended with status {status} {errors}".strip())
            self._rest += some
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{text}\n".encode())
            self.process.stdin.flush()

    def ask(self, text: str) -> str:
        self.say(text)
        return self.line()

    def calls(self, count: int) -> None:
        """Makes calls; each must be answered exactly."""
        answer = self.ask(f"calls {count}")
        self._stage.report.executions += count
        require(answer == f"calls {count}", f"{self.name}: {answer}")

    def ready(self) -> Peer:
        line = self.line()
        require(line.startswith("ready"), f"{self.name}: {line}")
        self._stage.report.executions += 1
        return self

    def refused(self) -> str:
        """What a peer says that cannot begin."""
        line = self.line()
        require(line.startswith("failed"), f"{self.name}: {line} instead of a refusal")
        self._stage.report.executions += 1
        self.ended()
        return line

    def ended(self) -> int:
        try:
            return self.process.wait(self._stage.patience_s)
        except subprocess.TimeoutExpired:
            raise Broken(f"{self.name} does not end") from None

    def kill(self) -> None:
        """SIGKILL to the command itself; what holds it ends by that."""
        with contextlib.suppress(ProcessLookupError, Broken):
            if self.process.poll() is None:
                os.kill(self.pid, signal.SIGKILL)
        self.ended()

    def leave(self) -> int:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.ended()

    def clean(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class Stage:
    """The suite's report, folder and processes."""

    def __init__(self, report: Report, programs: Path) -> None:
        self.report = report
        self.programs = programs
        self.patience_s = 10.0 if report.scale == "planted" else 60.0
        self.folder = Path(tempfile.mkdtemp(prefix="carom-environment-"))
        self.folder.chmod(0o755)
        self.sockets = self.folder / "sockets"
        self.sockets.mkdir(mode=0o755)
        self._peers: list[Peer] = []
        self._count = 0

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        shutil.rmtree(self.folder)

    def count(self) -> int:
        self._count += 1
        return self._count

    def peer_count(self) -> int:
        return len(self._peers)

    def program(self, name: str) -> str:
        return str(self.programs / name)

    def clear(self, earlier: int = 0) -> None:
        """Ends every process but the first ones."""
        for peer in self._peers[earlier:]:
            peer.clean()
        del self._peers[earlier:]

    def start(self, *command: str, box: Sequence[str] = ()) -> Peer:
        peer = Peer(self, command, box)
        self._peers.append(peer)
        return peer

    # ---- the roles

    def host(self, service: str, *uids: int, box: Sequence[str] = ()) -> Peer:
        words = [self.program("peer"), "host", service, *map(str, uids)]
        return self.start(*words, box=box).ready()

    def worker(self, service: str, box: Sequence[str] = ()) -> Peer:
        return self.start(self.program("peer"), "worker", service, box=box).ready()

    def client(self, service: str, box: Sequence[str] = ()) -> Peer:
        seed = str(self.report.seed + self.count())
        return self.start(self.program("peer"), "client", service, seed, box=box).ready()

    def observer(self, service: str, box: Sequence[str] = ()) -> Observer:
        peer = self.start(self.program("peer"), "observer", service, box=box).ready()
        return Observer(peer)

    def caller(self, service: str, box: Sequence[str] = ()) -> Peer:
        """A client in Python."""
        seed = str(self.report.seed + self.count())
        return self.start(PYTHON, str(HERE / "caller.py"), service, seed, box=box).ready()

    def pool(self, service: str, workers: int = 1, box: Sequence[str] = ()) -> Peer:
        """Host and workers in Python."""
        words = ["serve", "application:service", "--name", service, "--workers", str(workers)]
        peer = self.start(PYTHON, "-m", "carom", *words, box=box)
        line = peer.line()
        require("ready" in line or " at " in line, line)
        self.report.executions += 1
        return peer

    # ---- reporting

    @contextlib.contextmanager
    def check(self, name: str, text: str) -> Iterator[None]:
        """A check; it failed when the body raises Broken. Everything it started ends with it."""
        earlier = len(self._peers)
        try:
            yield
            self.report.check(True, name, text)
        except Broken as error:
            self.report.check(False, name, f"{text}: {error}")
        finally:
            self.clear(earlier)
            self.report.progress(f"{self.report.executions} executions, at {name}")

    def skip(self, name: str, why: str) -> None:
        print(f"# skipped: {name}: {why}", flush=True)


class Observer:
    """What the service says of itself."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def look(self) -> dict[str, list[dict[str, Any]]]:
        answer = self.peer.ask("look")
        require(answer.startswith("{"), answer)
        seen: dict[str, list[dict[str, Any]]] = json.loads(answer)
        return seen

    def wait_clients(self, count: int) -> None:
        until(lambda: len(self.look()["clients"]) == count, f"{count} clients", self.peer)

    def wait_workers(self, count: int) -> None:
        until(lambda: len(self.look()["workers"]) == count, f"{count} workers", self.peer)

    def wait_running(self, count: int = 1) -> list[dict[str, Any]]:
        """Until so many workers run a call that lasts; they."""

        def look() -> list[dict[str, Any]]:
            running = [worker for worker in self.look()["workers"] if worker["running"] >= 0]
            return running if len(running) == count else []

        return until(look, f"{count} running calls", self.peer)


def until(condition: Callable[[], T], what: str, peer: Peer | None = None) -> T:
    """Waits until a condition holds, and returns what it gave."""
    patience_s = peer._stage.patience_s if peer is not None else 60.0
    give_up = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > give_up:
            raise Broken(f"waited {patience_s:.0f} s in vain for {what}")
        time.sleep(0.002)


# ---- processes


def status_fields(pid: int) -> list[str]:
    """Of /proc/PID/stat behind the command: state, parent, ...; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]


def children_of(parent: int) -> list[int]:
    return sorted(p for p in all_pids() if status_fields(p)[1:2] == [str(parent)])


def is_alive(pid: int) -> bool:
    fields = status_fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def open_fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def carom_mappings(pid: int) -> int:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return sum("memfd:carom" in line or "/dev/shm/" in line for line in lines)


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def namespace_of(pid: int | str) -> str:
    """Which PID namespace it is in."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def inner_pid(pid: int) -> int:
    """Its number in its own PID namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return pid
