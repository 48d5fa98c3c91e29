# SPDX-License-Identifier: Apache-2.0
"""Failing calls: every call that the library makes of libc fails in turn; and real limits."""

from __future__ import annotations

import sys

from suite import Suite

SUITE = Suite(
    name="failing",
    what="every system call of every operation made to fail in turn; and real limits",
    command=(sys.executable, "tests/proof/failing/failing.py", "{out}/failing"),
    programs=("failing/faults",),
    # not of a planted bug's copy, which takes long enough to build
    needs=("build/proof/failing/limits/limits", "build/proof/plain/libcarom.a"),
    planted=("leaked_socket", "silent_error", "signal_not_retried", "forgotten_mapping"),
    planted_options={
        "leaked_socket": ("--only", "client finds"),
        "silent_error": ("--only", "client opens"),
        "signal_not_retried": ("--only", "observer"),
        "forgotten_mapping": ("--only", "client opens"),
    },
    quick_timeout_s=400.0,
    long_cpu_min=1,
)
