# SPDX-License-Identifier: Apache-2.0
"""Views, contexts, handles and interpreters that end at the wrong time."""

from __future__ import annotations

from suite import Suite

SUITE = Suite(
    name="lifetimes",
    what="what Python code keeps, raises and ends, at every moment: no crash, no foreign bytes",
    command=("{python}", "tests/proof/lifetimes/lifetimes.py"),
    needs=("build/venv/.test", "build/venv/.demo"),
    package=True,
    planted=(
        "lease_used_while_held",
        "detached_not_copied",
        "reply_view_stays_shared",
    ),
    long_timeout_s=5400.0,
    long_cpu_min=15,
)
