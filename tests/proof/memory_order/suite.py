# SPDX-License-Identifier: Apache-2.0
"""The C11 memory model instead of x86's."""

from suite import Suite

SUITE = Suite(
    name="memory_order",
    what="the library under the C11 memory model, and with each memory order weakened in turn",
    programs=("memory_order/memory_order",),
    command=("{out}/memory_order/memory_order",),
    planted=("acquire_release_park", "two_step_publish"),
    long_cpu_min=6,
)
