# SPDX-License-Identifier: Apache-2.0
"""What is checked is what is used."""

from suite import Suite

SUITE = Suite(
    name="double_fetch",
    what="no operation reads a shared field twice, outside of a short list",
    programs=("double_fetch/double_fetch",),
    command=("{out}/double_fetch/double_fetch",),
    planted=("double_fetch", "status_read_twice"),
    long_cpu_min=3,
)
