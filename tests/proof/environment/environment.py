# SPDX-License-Identifier: Apache-2.0
"""The suite `environment`: environment.py PROGRAMS [--scale ...] [--seed N] [--only TEXT]."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import crowds
import forks
import kernels
import memory
import namespaces
import users
from report import Report
from stage import Stage


def main() -> None:
    programs = Path(sys.argv.pop(1)).resolve()
    report = Report("Peers in every environment that a machine may put them in.")
    with Stage(report, programs) as stage:
        for section in (
            kernels.run_matrix,
            namespaces.run_namespaces,
            memory.run_memory,
            forks.run_forks,
            users.run_users,
            crowds.run_crowds,
        ):
            section(stage)
    report.end()


if __name__ == "__main__":
    main()
