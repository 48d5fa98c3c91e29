# SPDX-License-Identifier: Apache-2.0
"""A service for sequences: its host in this process, its worker in one that may crash, a client."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import carom

HERE = Path(__file__).resolve().parent
PATIENCE_S = 60.0
BLOCK_BYTES = 2 << 20


class Wrong(AssertionError):
    """A promise was broken; the text says which and how."""


class Rig:
    """Starts everything; a worker process that ended is replaced by `mend`.

    threads  dispatch loops of the worker process
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.threads = threads
        self.path = str(folder / f"holder{threads}.sock")
        self.log = folder / f"holder{threads}.log"
        self.host = carom.Host(self.path)
        self.process: subprocess.Popen[str] | None = None
        self.mend()

    def mend(self) -> None:
        """A worker process and a client, whatever became of the last ones."""
        self.end_worker()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "holder.py"), self.path, str(self.threads)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise Wrong(f"the worker process does not start: {self.log.read_text()[-2000:]}")
        self.client = self.connect()

    def connect(self) -> carom.Client:
        return carom.connect(
            self.path, request_block_bytes=BLOCK_BYTES, reply_block_bytes=BLOCK_BYTES, slots=8
        )

    def reconnect(self) -> None:
        self.client.close()
        self.client = self.connect()

    def call(self, method: str, data: bytes = b"", timeout: float = PATIENCE_S) -> bytes:
        """Raises Wrong when the worker died of it, or does not answer."""
        try:
            return self.client.call(method, data, timeout=timeout)
        except carom.RemoteError as error:
            if error.type == "carom.WorkerDied":
                raise Wrong(f"{method}: {self.how_it_died()}") from None
            raise
        except TimeoutError:
            if timeout < PATIENCE_S:
                raise
            raise Wrong(f"{method}: no answer within {timeout:g} s; {self.stacks()}") from None

    def stacks(self) -> str:
        """What the worker process is doing."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGABRT)  # faulthandler writes them
        return self.how_it_died()

    def how_it_died(self) -> str:
        assert self.process is not None
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return "its worker was taken for dead, and lives"
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        return f"the worker process ended: {how}: {self.log.read_text()[-1500:]}"

    def check_alive(self) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise Wrong(self.how_it_died())

    def end_worker(self) -> None:
        if self.process is None:
            return
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def close(self) -> str:
        """Ends the service under the worker; what is wrong with how that ends, "" nothing."""
        self.client.close()
        self.host.close()
        assert self.process is not None
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.end_worker()
            return "the worker process did not end with its service"
        finally:
            self.end_worker()
        return "" if status == 0 else self.how_it_died()
