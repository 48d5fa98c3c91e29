# SPDX-License-Identifier: Apache-2.0
"""Hostile peers. hostile.py plants the suite's bugs itself: a bug concerns one program."""

from suite import Suite

SUITE = Suite(
    name="hostile",
    what="every byte that a peer can write: fuzzing with sanitizers, and a scribbler beside others",
    command=("{python}", "tests/proof/hostile/hostile.py"),
    programs=(
        "hostile/fuzz_worker_lane",
        "hostile/fuzz_client_lane",
        "hostile/fuzz_host_recover",
        "hostile/fuzz_host_message",
        "hostile/fuzz_peer_message",
        "hostile/scribbler",
        "hostile/scribbler_asan",
    ),
    long_cpu_min=60,
)
