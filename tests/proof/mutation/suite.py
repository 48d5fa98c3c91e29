# SPDX-License-Identifier: Apache-2.0
"""A hostile peer changes what is about to be read."""

from suite import Suite

SUITE = Suite(
    name="mutation",
    what="before any read of memory that a hostile peer can write the value changes",
    programs=("mutation/mutation",),
    command=("{out}/mutation/mutation",),
    planted=("double_fetch", "unchecked_slot", "unchecked_reply", "unchecked_length"),
    long_cpu_min=25,
)
