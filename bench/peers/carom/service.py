# SPDX-License-Identifier: Apache-2.0
"""carom's service in Python for `make bench`; server.py has `carom serve` run it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import carom

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import work

ITERATIONS = int(os.environ.get("CAROM_BENCH_COMPUTE", "0"))

service = carom.Service("bench")


def compute_and_answer(view: memoryview) -> memoryview:
    """The work of one call when it was asked to compute."""
    work.compute(ITERATIONS)
    return work.answer(view)


service.method(name="answer")(compute_and_answer if ITERATIONS else work.answer)
