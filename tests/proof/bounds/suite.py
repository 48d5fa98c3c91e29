# SPDX-License-Identifier: Apache-2.0
"""Sound bound check: Frama-C EVA over what reads memory and messages of a peer."""

from suite import Suite

SUITE = Suite(
    name="bounds",
    what="no access beyond any object whatever a peer writes, for all values at once (Frama-C EVA)",
    command=("{python}", "tests/proof/bounds/bounds.py", "--source", "{out}"),
    planted=(
        "unchecked_slot",
        "unchecked_request_bytes",
        "unmasked_ring",
        "unchecked_lane",
        "unchecked_method_count",
        "unchecked_texts",
        "unchecked_lane_id",
        "unchecked_poisoned_lane",
        "unchecked_method_of_dead",
    ),
    planted_options={
        "unchecked_slot": ("--only", "lanes.claim"),
        "unchecked_request_bytes": ("--only", "lanes.claim"),
        "unmasked_ring": ("--only", "lanes.ring"),
        "unchecked_lane": ("--only", "news.any"),
        "unchecked_method_count": ("--only", "hello"),
        "unchecked_texts": ("--only", "failure"),
        "unchecked_lane_id": ("--only", "handshake.join"),
        "unchecked_poisoned_lane": ("--only", "peers.message"),
        "unchecked_method_of_dead": ("--only", "deaths"),
    },
    long_cpu_min=10,
)
