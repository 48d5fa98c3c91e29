# SPDX-License-Identifier: Apache-2.0
"""Every order of events."""

from suite import Suite

SUITE = Suite(
    name="interleave",
    what="submit, claim, reply, wait, park, cancel, connect, leave against each other",
    programs=("interleave/interleave",),
    command=("{out}/interleave/interleave",),
    planted=(
        "two_step_publish",
        "look_before_park",
        "host_reclaims_on_a_timer",
        "claim_by_look",
    ),
    long_cpu_min=25,
)
