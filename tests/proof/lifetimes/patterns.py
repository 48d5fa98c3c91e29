# SPDX-License-Identifier: Apache-2.0
"""Bytes that say whose they are. Driver and worker make the same ones without talking about it."""

from __future__ import annotations


def pattern(kind: str, number: int, size: int) -> bytes:
    """`size` bytes that no other (kind, number) shares any 16 of."""
    piece = f"<{kind[:4]:4}{number:10}>".encode()
    return (piece * (size // len(piece) + 1))[:size]


def request_of(number: int, size: int) -> bytes:
    """What call `number` sends."""
    return pattern("call", number, size)


def reply_of(number: int, size: int) -> bytes:
    """What it gets, unless the handler answers with its request."""
    return pattern("repl", number, size)


def written_of(number: int, size: int) -> bytes:
    """What somebody writes into a reply's view after the call."""
    return pattern("late", number, size)


def excerpt(data: bytes) -> str:
    """The beginning, for messages."""
    more = "" if len(data) <= 48 else f"... ({len(data)} bytes)"
    return repr(data[:48]) + more


def difference(expected: bytes, seen: bytes) -> str:
    """Where two that should be equal are not."""
    if len(expected) != len(seen):
        return f"{len(seen)} bytes {excerpt(seen)} instead of {len(expected)} {excerpt(expected)}"
    at = next(i for i, (a, b) in enumerate(zip(expected, seen, strict=True)) if a != b)
    return f"at byte {at} {excerpt(seen[at:])} instead of {excerpt(expected[at:])}"
