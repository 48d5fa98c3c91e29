# SPDX-License-Identifier: Apache-2.0
"""launch_ms: a C program starts a service without imports and has its first answer (launch.c)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from poolbench.served import APPLICATIONS
from processes import Figures, measure


def launch(programs: Path) -> Figures:
    """One program, one service."""
    where = [f"folder={APPLICATIONS}", f"python={sys.executable}"]
    return measure("launch", [str(programs / "launch"), *where], os.environ)
