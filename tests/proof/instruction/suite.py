# SPDX-License-Identifier: Apache-2.0
"""Real processes, real SIGKILL, at every instruction of every operation."""

from suite import Suite

SUITE = Suite(
    name="instruction",
    what="kills a client, a worker, a host at each instruction of each API operation",
    command=("{out}/instruction/instruction",),
    programs=("instruction/instruction",),
    planted=(
        "advance_before_claim",
        "wakes_not_repeated",
        "workers_not_woken",
        "dead_stay_parked",
        "ready_bit_not_set_again",
        "lane_stays_open",
    ),
    planted_options={
        "advance_before_claim": ("--only", "worker take, call there"),
        "wakes_not_repeated": ("--only", "worker reply, client asleep"),
        "workers_not_woken": ("--only", "worker take, asleep and woken"),
        "dead_stay_parked": ("--only", "worker take, asleep and woken"),
        "ready_bit_not_set_again": ("--only", "worker take, call comes in between"),
        "lane_stays_open": ("--only", "client begin, slots free"),
    },
    long_cpu_min=25,
)
