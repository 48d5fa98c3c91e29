# SPDX-License-Identifier: Apache-2.0
"""The work that every Python server does in `make bench`; driver/work.h says what it is.

`bytes.startswith` compares by memcmp and takes any buffer, so every byte of a long request is read
at the speed of memory and without a copy, whatever the peer hands over.
"""

from __future__ import annotations

PATTERN_BYTES = 4096
BLOCK_BYTES = 64
ANSWER_BYTES_MAX = 64
REQUEST_BYTES_MAX = 16 << 20


def make_pattern() -> bytes:
    """The pattern, long enough for the longest request from any block on."""
    page = bytes(
        at // BLOCK_BYTES if at % BLOCK_BYTES == 0 else (at * 131 + (at >> 6) * 17) & 255
        for at in range(PATTERN_BYTES)
    )
    return page * (REQUEST_BYTES_MAX // PATTERN_BYTES + 1)


PATTERN = make_pattern()


def answer(view: memoryview) -> memoryview:
    """The answer to a request, after reading each of its bytes."""
    if len(view) <= ANSWER_BYTES_MAX:
        return view
    if not PATTERN.startswith(view, view[0] * BLOCK_BYTES):
        raise ValueError(f"a request of {len(view):,} bytes is not of the pattern")
    return view[:ANSWER_BYTES_MAX]


def compute(iterations: int) -> None:
    """Computes for a fixed number of rounds, holding the GIL, as plain Python code does."""
    value = 88172645463325252
    for _ in range(iterations):
        value ^= value << 13 & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 7
