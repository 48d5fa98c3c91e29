# SPDX-License-Identifier: Apache-2.0
"""Waits without timeouts and random delays at every access: a lost wake-up hangs, and is seen."""

from __future__ import annotations

from suite import Suite

SUITE = Suite(
    name="wakeup",
    what="real processes that sleep at every wait, without timeouts, delayed at every access",
    command=("{out}/wakeup/wakeup",),
    programs=("wakeup/wakeup",),
    planted=(
        "look_before_park",
        "waiter_looks_again",
        "wake_before_word",
        "sleeper_forgotten",
        "waiters_before_push",
        "retired_unlooked",
        "wake_taken_along",
    ),
    planted_options={  # where each shows: a run through every scene would take longer
        "sleeper_forgotten": ("--only", "notified"),
        "waiters_before_push": ("--only", "one-slot"),
        "retired_unlooked": ("--only", "rounds"),
        "wake_taken_along": ("--only", "leaving"),
    },
    long_cpu_min=6,
)
