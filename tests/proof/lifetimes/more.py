# SPDX-License-Identifier: Apache-2.0
"""Further planted bugs, for the long run: each needs a build of the package, eight seconds of CPU.

Those in suite.py are planted at every scale.
"""

from __future__ import annotations

import os
import subprocess
import sys

from planted import BUILD, ROOT, plant
from report import Report
from rig import HERE

MORE: dict[str, tuple[str, ...]] = {
    "context_asked_too_early": (),
    "detached_never_freed": (),
    "sigterm_finds_freed_worker": ("--only", "drop_before_sigterm"),
    "closed_while_used": ("--only", "host_closed_while_asked"),
}
"""With words for the suite's command."""
BUILD_TIMEOUT_S = 1200.0
RUN_TIMEOUT_S = 600.0


def plant_more(report: Report) -> None:
    for bug, options in MORE.items():
        if report.wants(bug):
            report.planted(bug, caught(bug, options, report.seed))


def caught(bug: str, options: tuple[str, ...], seed: int) -> bool:
    site = BUILD / bug / "site"
    plant(bug)
    make = [os.environ.get("MAKE", "make"), f"{(site / '.carom').relative_to(ROOT)}"]
    subprocess.run(
        [*make, f"PLANTED={bug}"],
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": ""},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=BUILD_TIMEOUT_S,
    )
    command = [sys.executable, str(HERE / "lifetimes.py"), "--scale", "planted"]
    done = subprocess.run(
        [*command, "--seed", str(seed), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(site)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("not ok")]
    print(f"# {bug}: {failed[0][:200] if failed else 'NOT CAUGHT'}", flush=True)
    return bool(failed)
