# SPDX-License-Identifier: Apache-2.0
"""Forks a process that has imported numpy, again and again; prints how long it took until the
child had written one byte. Nothing of carom is in it: this much of respawn_ms is the kernel's."""

from __future__ import annotations

import gc
import json
import os
import statistics
import time

import numpy as np

FORKS = 30


def fork_ms() -> float:
    """One child, from before the fork until its byte is there."""
    theirs, ours = os.pipe()
    begin_ns = time.monotonic_ns()
    pid = os.fork()
    if pid == 0:
        os.write(ours, b"%d" % np.ones(1, np.int8)[0])
        os._exit(0)
    os.read(theirs, 1)
    took_ms = (time.monotonic_ns() - begin_ns) / 1e6
    os.waitpid(pid, 0)
    os.close(theirs)
    os.close(ours)
    return took_ms


gc.freeze()
print(json.dumps({"fork_ms": statistics.median(fork_ms() for _ in range(FORKS))}))
