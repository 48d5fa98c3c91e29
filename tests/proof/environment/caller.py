# SPDX-License-Identifier: Apache-2.0
"""A client in Python that obeys the same commands as `peer client`: caller.py SERVICE SEED."""

from __future__ import annotations

import os
import random
import sys
import zlib

import carom

SIZES = (0, 1, 64, 999, 4095, 4097, 70000, 17)
PATIENCE_S = 30.0


def make_calls(client: carom.Client, source: random.Random, count: int) -> str:
    for number in range(count):
        data = source.randbytes(SIZES[number % len(SIZES)])
        reply = client.call("mix", data, PATIENCE_S)
        if reply != zlib.crc32(data).to_bytes(4, "little") + data:
            return f"failed: call {number} has a wrong reply"
    return f"calls {count}"


def make_call(client: carom.Client, method: str) -> str:
    try:
        return f"OK {client.call(method, b'', PATIENCE_S).decode()}"
    except carom.RemoteError as error:
        return f"{error.status.name} {error.type}: {error.message}"


def forked(client: carom.Client) -> str:
    """A child that may not use the connection, and must not end it."""
    child = os.fork()
    if child == 0:
        try:
            client.call("who", b"", PATIENCE_S)
        except ChildProcessError:
            client.close()
            os._exit(7)
        os._exit(8)
    return f"child {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"


def answer(client: carom.Client, source: random.Random, words: list[str]) -> str:
    try:
        if words[0] == "calls":
            return make_calls(client, source, int(words[1]))
        if words[0] == "forked":
            return forked(client)
        return make_call(client, words[0])
    except OSError as error:
        return f"failed {error.errno} {error}"


def main() -> int:
    source = random.Random(int(sys.argv[2]))
    try:
        client = carom.connect(
            sys.argv[1], PATIENCE_S, slots=8, request_block_bytes=1 << 18, reply_block_bytes=1 << 18
        )
    except OSError as error:
        print(f"failed {error.errno} {error}", flush=True)
        return 3
    with client:
        print("ready", flush=True)
        for line in sys.stdin:
            words = line.split()
            if words[0] == "leave":
                break
            print(answer(client, source, words), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
