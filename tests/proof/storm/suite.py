# SPDX-License-Identifier: Apache-2.0
"""Clients and a pool under load; anybody is killed or stopped at any moment."""

from suite import Suite

SUITE = Suite(
    name="storm",
    what="random SIGKILL, SIGSTOP and SIGCONT of clients, workers, template and host under load",
    command=("{python}", "tests/proof/storm/storm.py", "{out}/storm/client"),
    programs=("storm/client",),
    package=True,
    alone=True,
    planted=("reclaim_on_timer", "lane_descriptor_leak", "dead_workers_calls_stay", "run_again"),
    planted_options={
        "reclaim_on_timer": ("--only", "stopped"),
        "lane_descriptor_leak": ("--only", "storm"),
        "dead_workers_calls_stay": ("--only", "recovery"),
        "run_again": ("--only", "storm"),
    },
    long_cpu_min=17,
)
