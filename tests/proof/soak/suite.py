# SPDX-License-Identifier: Apache-2.0
"""Numbers and checksums through everything, up to 16 MiB; the books must agree to the last call."""

from __future__ import annotations

from suite import Suite

SUITE = Suite(
    name="soak",
    what="every call is numbered, checked on both sides and accounted for, whatever happens to it",
    # Under a planted bug only the C programs have the bug, and Python's workers are left out.
    command=("build/venv/bin/python", "tests/proof/soak/soak.py", "{out}/soak"),
    programs=("soak/host", "soak/worker", "soak/client", "soak/audit"),
    needs=("build/venv/.carom",),
    planted=(
        "blocks_overlap",
        "trim_too_long",
        "long_reply_shortened",
        "withdrawn_in_name_only",
    ),
    long_cpu_min=4,
)
