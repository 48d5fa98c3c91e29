# SPDX-License-Identifier: Apache-2.0
"""One call: reads the request from standard input, writes the answer to standard output.

The same work as peers/work.py, which it does not import: making the pattern for the longest request
costs more than this whole process.
"""

import sys

PATTERN_BYTES = 4096
BLOCK_BYTES = 64
ANSWER_BYTES_MAX = 64


def make_pattern(size_bytes: int) -> bytes:
    """The pattern for a request of this size, from any block on."""
    page = bytes(
        at // BLOCK_BYTES if at % BLOCK_BYTES == 0 else (at * 131 + (at >> 6) * 17) & 255
        for at in range(PATTERN_BYTES)
    )
    return page * (size_bytes // PATTERN_BYTES + 2)


def main() -> None:
    request = sys.stdin.buffer.read()
    if len(request) > ANSWER_BYTES_MAX:
        pattern = make_pattern(len(request))
        if not pattern.startswith(request, request[0] * BLOCK_BYTES):
            raise ValueError(f"a request of {len(request):,} bytes is not of the pattern")
    sys.stdout.buffer.write(request[:ANSWER_BYTES_MAX])


if __name__ == "__main__":
    main()
