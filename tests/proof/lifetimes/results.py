# SPDX-License-Identifier: Apache-2.0
"""What a handler of holder.py returns: its reply's bytes, in every way Python has, or nonsense."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import carom
import numpy
from memory import kept, note
from patterns import reply_of
from tricks import fork_and

last = b""
"""What the kept view had to show that was returned last."""


class Hostile:
    """Looks like a buffer and is none."""

    def __len__(self) -> int:
        raise ValueError("no length")

    def __bytes__(self) -> bytes:
        raise KeyboardInterrupt

    def __buffer__(self, flags: int) -> memoryview:
        raise ValueError("no buffer")

    def __getattr__(self, name: str) -> Any:
        raise ValueError(name)


class Forking(bytearray):
    """Forks when it is deleted, which is when its bytes have become the reply."""

    def __del__(self) -> None:
        fork_and(lambda: None)


class ForkingText(Exception):
    """Forks when it is described."""

    def __str__(self) -> str:
        fork_and(lambda: None)
        return "forked"


def filled(context: carom.Context, plan: dict[str, Any], content: bytes) -> memoryview:
    """A view of the reply with what belongs there."""
    view = context.reply(len(content))
    view[:] = content
    for how in plan["keep_reply"]:
        note(2 * plan["number"] + 1, how, view, content)
    return view


def kept_view(index: int) -> Any:
    global last  # noqa: PLW0603
    if not kept:
        last = b""
        return None
    one = kept[index % len(kept)][1]
    last = one.expected
    return one.read()


def result_of(plan: dict[str, Any], request: memoryview, context: Any) -> Any:
    content = reply_of(plan["number"], plan["reply"])
    half = len(content) // 2
    kind = plan["result"]
    if context is not None and (kind.startswith("reply") or plan["keep_reply"]):
        view = filled(context, plan, content)
        if kind.startswith("reply"):
            in_place: dict[str, Callable[[], Any]] = {
                "reply": lambda: view,
                "reply_head": lambda: view[:half],
                "reply_tail": lambda: view[half:],
                "reply_exporter": lambda: view.obj,
                "reply_numpy": lambda: numpy.frombuffer(view, numpy.uint8),
                "reply_again": lambda: (context.reply(0), context.reply(len(content)))[1],
            }
            return in_place[kind]()
    made: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "bytes": lambda: content,
        "bytearray": lambda: bytearray(content),
        "view": lambda: memoryview(content),
        "slice": lambda: memoryview(b"xx" + content + b"yy")[2:-2],
        "array": lambda: array.array("B", content),
        "numpy": lambda: numpy.frombuffer(content, numpy.uint8),
        "request": lambda: request,
        "request_slice": lambda: request[1:],
        "request_exporter": lambda: request.obj,
        "kept": lambda: kept_view(plan["number"]),
        "strided": lambda: memoryview(b"strided" * 9)[::2],
        "text": lambda: "text",
        "number": lambda: 5,
        "hostile": Hostile,
        "released": lambda: released(request),
        "too_large": lambda: bytes((2 << 20) + 1),
        "forking": lambda: Forking(content),
    }
    return made[kind]()


def released(request: memoryview) -> memoryview:
    view = memoryview(request)
    view.release()
    return view
