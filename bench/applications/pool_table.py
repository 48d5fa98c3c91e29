# SPDX-License-Identifier: Apache-2.0
"""A service with a table of 200 MB, for pss_ratio. Every process that uses it reads all of it."""

from __future__ import annotations

import os
import time

import carom
import numpy as np
import numpy.typing as npt

TABLE_BYTES = 200_000_000
HOLD_S = 0.2

service = carom.Service("pool-table")
tables: list[npt.NDArray[np.float64]] = []


@service.on_load
def load() -> None:
    """Makes the table: every page of it is written."""
    tables.append(np.arange(TABLE_BYTES // 8, dtype=np.float64))


@service.method
def touch(view: memoryview) -> bytes:
    """Reads the whole table and tells the pid. Takes so long that no process gets two of a few
    calls made at once."""
    total = float(tables[0].sum())
    time.sleep(HOLD_S)
    return b"%d %.0f" % (os.getpid(), total)
