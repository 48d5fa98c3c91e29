# SPDX-License-Identifier: Apache-2.0
from suite import Suite

PARTS = {
    "fork_unseen": "forks.",
    "peer_by_number": "namespaces.",
    "one_peer_per_number": "namespaces.",
    "memfd_refused_fatal": "kernels.memfd-eperm",
    "named_for_a_moment": "memory.",
    "no_pidfd_no_death": "kernels.pidfd",
    "anybody_admitted": "users.",
    "unsealed_admitted": "users.",
    "descriptor_kept": "crowds.",
}
"""Planted bugs, and the checks that must catch them."""

SUITE = Suite(
    name="environment",
    what="namespaces, forks, users, kernels that lack something, crowds",
    command=("{python}", "tests/proof/environment/environment.py", "{out}/environment"),
    programs=(
        "environment/box",
        "environment/peer",
        "environment/fork",
        "environment/crowd",
    ),
    needs=("build/venv/.carom",),
    quick_timeout_s=600.0,
    planted=tuple(PARTS),
    planted_options={bug: ("--only", part) for bug, part in PARTS.items()},
    long_cpu_min=2,
)
