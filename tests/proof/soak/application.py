# SPDX-License-Identifier: Apache-2.0
"""The soak's worker in Python: does what worker.c does, served by `carom serve`.

$SOAK_LEDGER is the ledger, $SOAK_FOLDER where each worker process keeps its tally.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path

import carom

HEADER = struct.Struct("<IIQQQ")  # struct message
BOOKS = struct.Struct("<QQ")
TALLY = struct.Struct("<QQQ")
PATTERN_AT = 4096
PATTERN_BYTES = 17 << 20
LARGEST_BYTES = 16 << 20

service = carom.Service("soak")


def open_ledger() -> mmap.mmap:
    fd = os.open(os.environ["SOAK_LEDGER"], os.O_RDWR | os.O_CLOEXEC)
    try:
        return mmap.mmap(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


ledger = open_ledger()
streams, calls = BOOKS.unpack_from(ledger, 0)
runs_at = PATTERN_AT + PATTERN_BYTES
pattern = memoryview(ledger)[PATTERN_AT:runs_at]


class Tally:
    """What this process counted, in a file that outlives it."""

    def __init__(self) -> None:
        self.runs = self.short_runs = self.moved_bytes = 0
        self.file: mmap.mmap | None = None

    def open(self) -> None:
        path = Path(os.environ["SOAK_FOLDER"]) / f"python-{os.getpid()}.tally"
        with path.open("xb+") as file:
            file.truncate(TALLY.size)
            self.file = mmap.mmap(file.fileno(), TALLY.size)

    def save(self) -> None:
        assert self.file is not None
        TALLY.pack_into(self.file, 0, self.runs, self.short_runs, self.moved_bytes)


tally = Tally()


@service.on_start
def begin_tally() -> None:
    tally.open()


def short(key: int, length: int) -> bytes:
    return bytes((key + 7 * i) & 0xFF for i in range(length))


def reply_to_short(request: memoryview) -> bytes:
    """The first byte says how long the reply is to be."""
    tally.short_runs += 1
    length = request[0] if request else 0
    if length >= HEADER.size or request != short(length, len(request)):
        raise ValueError(f"a short request is damaged: {bytes(request)!r}")
    return short(sum(request), length)


def note_run(stream: int, sequence: int) -> None:
    tally.runs += 1
    at = runs_at + stream * calls + sequence
    ledger[at] += 1
    if ledger[at] != 1:
        raise ValueError(f"call {sequence} of stream {stream} runs twice")


def write_message(at: memoryview, stream: int, sequence: int, length: int) -> None:
    place = (sequence * 4099 + stream * 977) % 1000003
    HEADER.pack_into(at, 0, 0, stream, sequence, length, 0)
    at[HEADER.size : length] = pattern[place : place + length - HEADER.size]
    at[:4] = zlib.crc32(at[4:length]).to_bytes(4, "little")


@service.method
def soak(request: memoryview, context: carom.Context) -> bytes | memoryview:
    if len(request) < HEADER.size:
        reply: bytes | memoryview = reply_to_short(request)
    else:
        check, stream, sequence, length, wanted = HEADER.unpack_from(request)
        if length != len(request) or check != zlib.crc32(request[4:]):
            raise ValueError(f"a request is damaged: call {sequence} of stream {stream}")
        note_run(stream, sequence)
        if wanted < HEADER.size:
            reply = short(check, wanted)
        else:
            reply = context.reply(wanted)
            write_message(reply, stream, sequence, wanted)
    tally.moved_bytes += len(request) + len(reply)
    tally.save()
    return reply
