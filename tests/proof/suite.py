# SPDX-License-Identifier: Apache-2.0
"""What a suite of the proof is: each folder here has a suite.py with one, called SUITE."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """How to build and run a suite, and which planted bugs it has to catch.

    Commands may name `{out}`, the folder of the programs, and `{python}`, an interpreter that has
    the carom package. `--scale` and `--seed` are added; proof.h tells what a command prints. Where
    a command differs for a planted bug, `planted_options` has words to add for it.
    """

    name: str
    what: str
    command: tuple[str, ...]
    programs: tuple[str, ...] = ()
    """Make targets below `{out}`."""
    needs: tuple[str, ...] = ()
    """Further make targets, such as `build/venv/.test`."""
    package: bool = False
    """It uses the Python package, which is built for each planted bug as well."""
    planted: tuple[str, ...] = ()
    """Names in planted/."""
    planted_options: dict[str, tuple[str, ...]] | None = None
    alone: bool = False
    """It wants every CPU."""
    long_cpu_min: int = 1
    """Minutes of one CPU that the long run took, with its planted bugs (docs/reliability.md)."""
    quick_timeout_s: float = 240.0
    long_timeout_s: float = 7200.0
