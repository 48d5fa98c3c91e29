# SPDX-License-Identifier: Apache-2.0
"""One `carom serve` of a benchmark: in a folder of its own, watched through an observer."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from carom import Client, connect
from carom.observer import Observer
from processes import BenchmarkFailed, Fleet

APPLICATIONS = Path(__file__).resolve().parents[1] / "applications"
PATIENCE_S = 15.0
LOOK_S = 0.001


class Served:
    """A context manager: the service is ready inside, and everything of it has ended afterwards.

    target   "module:service"; the module is one of bench/applications
    options  of `carom serve`
    """

    def __init__(self, target: str, *options: str) -> None:
        module = target.partition(":")[0]
        self._folder = tempfile.TemporaryDirectory(prefix="carom-pool-")
        self.folder = Path(self._folder.name)
        self.path = str(self.folder / f"{module.replace('_', '-')}.sock")
        paths = f"{APPLICATIONS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        environment = {"CAROM_DIR": str(self.folder), "PYTHONPATH": paths.rstrip(os.pathsep)}
        self._fleet = Fleet(self.folder, os.environ | environment)
        command = [sys.executable, "-m", "carom", "serve", target, "--graceful-timeout=1"]
        self._name, self._command = module, [*command, *options]

    def __enter__(self) -> Served:
        try:
            self.pid = self._fleet.start(self._name, self._command).pid
            self.observer = Observer(self.path)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if hasattr(self, "observer"):
            self.observer.close()
        self._fleet.__exit__(kind, error, trace)
        self._folder.cleanup()

    @property
    def log(self) -> Path:
        """What it wrote on stderr."""
        return self.folder / f"{self._name}.log"

    def client(self) -> Client:
        """A connection; the caller closes it."""
        return connect(self.path, timeout=PATIENCE_S)

    def workers(self) -> set[int]:
        """Pids of the workers that have joined."""
        return {worker.pid for worker in self.observer.workers()}

    def wait_for_workers(self, count: int) -> set[int]:
        """Waits until there are exactly so many; their pids."""
        self.wait_for(f"{count} workers", lambda: len(self.workers()) == count)
        return self.workers()

    def wait_for(
        self,
        what: str,
        done: Callable[[], bool],
        seconds: float = PATIENCE_S,
        look_s: float = LOOK_S,
    ) -> None:
        """Looks until something is so; raises when it does not become so."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"{self._name}: not in {seconds:.0f} s: {what}")
            self._fleet.check()
            time.sleep(look_s)
