# SPDX-License-Identifier: Apache-2.0
"""Death at every access."""

from suite import Suite

SUITE = Suite(
    name="crash",
    what="a process dies before any access to shared memory, the others and the host go on",
    programs=("crash/crash",),
    command=("{out}/crash/crash",),
    planted=(
        "advance_before_claim",
        "wakes_not_repeated",
        "workers_not_woken",
        "ready_bit_not_set_again",
        "flags_lost_in_recovery",
        "host_reclaims_on_a_timer",
    ),
    long_cpu_min=14,
)
