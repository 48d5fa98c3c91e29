# SPDX-License-Identifier: Apache-2.0
"""autoscale_s: from a step in load to enough workers.

The handlers sleep for 10 ms each, so that workers are not scarce for want of CPUs; 350 calls/s of
them, due at fixed times, need 4 workers. The clock begins when the first call is due and ends when
the fourth worker has joined.
"""

from __future__ import annotations

from carom.generator import Generator
from carom.load import Work
from poolbench.served import Served
from processes import BenchmarkFailed

WORKERS = 4
RATE = 350.0
SECONDS = 2.0


def autoscale_s() -> float:
    """One service, one step."""
    work = Work(
        data=b"",
        connections=1,
        depth=256,
        timeout_s=10.0,
        warm_up_s=0.0,
        duration_s=SECONDS,
        calls=None,
        rate=RATE,
    )
    limits = ("--workers=1", "--min-workers=1", f"--max-workers={WORKERS}")
    with Served("pool_plain:service", *limits) as served:
        if len(served.workers()) != 1:
            raise BenchmarkFailed("the service should begin with one worker")
        with Generator(served.path, "rest", work, 5.0) as generator:
            generator.start()
            served.wait_for(
                f"{WORKERS} workers", lambda: len(served.workers()) >= WORKERS, SECONDS + 3.0
            )
            took_s = generator.measured_s
            while not generator.wait(1.0):
                pass
            result = generator.result()
    if result.failed.count or result.lost:
        raise BenchmarkFailed(f"calls failed while workers came: {result.errors} {result.lost}")
    return took_s
