# SPDX-License-Identifier: Apache-2.0
"""How a suite in Python is started and how it reports: the same as proof.h, which explains it."""

from __future__ import annotations

import argparse
import sys
import time


class Report:
    """Prints what prove.py reads. `scale` is quick, long or planted."""

    def __init__(self, description: str = "") -> None:
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--scale", choices=["quick", "long", "planted"], default="quick")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--only", default="", help="checks whose name has this in it")
        arguments = parser.parse_args()
        self.scale: str = arguments.scale
        self.seed: int = arguments.seed
        self.only: str = arguments.only
        self.executions = 0
        self.failures = 0
        self._said = time.monotonic()

    def amount(self, quick: int, full: int, planted: int) -> int:
        return {"quick": quick, "long": full, "planted": planted}[self.scale]

    def wants(self, name: str) -> bool:
        """Whether to make a check; none after the first failure under a planted bug."""
        if self.scale == "planted" and self.failures:
            return False
        return self.only in name

    def check(self, ok: bool, name: str, text: str) -> None:
        print(f"{'ok' if ok else 'not ok'} {name}: {' | '.join(text.splitlines())}", flush=True)
        self.failures += not ok

    def figure(self, name: str, value: float, unit: str) -> None:
        print(f"figure {name} {value:.6g} {unit}", flush=True)

    def planted(self, name: str, caught: bool) -> None:
        print(f"planted {name} {'caught' if caught else 'missed'}", flush=True)

    def progress(self, text: str, every_s: float = 5.0) -> None:
        """Says how far it is, not more often than every few seconds."""
        if time.monotonic() - self._said >= every_s:
            self._said = time.monotonic()
            print(f"# {text}", flush=True)

    def end(self) -> None:
        """Exits."""
        print(f"executions {self.executions}", flush=True)
        sys.exit(1 if self.failures else 0)
