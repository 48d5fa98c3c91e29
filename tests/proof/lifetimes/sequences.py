# SPDX-License-Identifier: Apache-2.0
"""Random sequences of what handlers and clients do to views, made and made smaller by hypothesis.

A sequence is a list of JSON objects, so that one that failed can be repeated from its text. After
every operation the driver knows what the reply has to be; at the end it asks the worker about
everything that is still kept.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any

import carom
from hypothesis import strategies as st
from keeping import WAYS
from patterns import difference, reply_of, request_of
from raising import RAISES
from rig import Rig, Wrong
from tricks import TRICKS

Operation = dict[str, Any]
Sequence = list[Operation]

SMALL = [0, 1, 2, 22, 64, 700]
EDGES = [4032, 4033, 4096, 4097, 8128, 65536]
LARGE = [(1 << 20) - 1, 1 << 20, (1 << 20) + 4097]
SIZES = st.sampled_from(SMALL * 3 + EDGES * 2 + LARGE)

PLAIN = ["none", "bytes", "bytearray", "view", "slice", "array", "numpy"]
IN_PLACE = ["reply", "reply_head", "reply_tail", "reply_exporter", "reply_numpy", "reply_again"]
REQUESTS = ["request", "request_slice", "request_exporter"]
REFUSED = ["strided", "text", "number", "hostile", "released", "too_large"]
RESULTS = [*PLAIN, *IN_PLACE * 2, *REQUESTS * 2, "kept", "kept", *REFUSED, "forking"]
MOVES_REPLY = {*REQUESTS, "reply_tail", "kept"}
"""What they return is written over a view of the reply that was filled before."""
UNCERTAIN = {"release", "release_exported", "interrupt", "raise_signal", "arm"}
SIGNALS = {"raise_signal", "arm"}
MAPS_MORE = 300
FDS_MORE = 16


def made_possible(call: Operation) -> Operation:
    """Takes away what contradicts the rest."""
    if call["result"].startswith("reply"):
        call["context"] = True
    if call["result"] in MOVES_REPLY or "busy_replies" in call["tricks"] or not call["context"]:
        call["keep_reply"] = []
    return call


def some(names: list[str], most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), max_size=most)


CALL = st.fixed_dictionaries(
    {
        "op": st.just("call"),
        "size": SIZES,
        "reply": SIZES,
        "look": st.booleans(),
        "context": st.booleans(),
        "keep": some(list(WAYS), 2),
        "keep_reply": some(list(WAYS), 2),
        "tricks": st.one_of(st.just([]), some(list(TRICKS), 2)),
        "result": st.sampled_from(RESULTS),
        "raises": st.one_of(
            st.just(""), st.just(""), st.just(""), st.sampled_from([*RAISES, "forking_text"])
        ),
    }
).map(made_possible)


def simple(op: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Operation]:
    return st.fixed_dictionaries({"op": st.just(op), **fields})


INDEX = st.integers(0, 60)
OTHERS = st.one_of(
    simple("verify"),
    simple("burst", size=SIZES, times=st.integers(1, 6)),
    simple("forget", index=INDEX, where=st.sampled_from(["here", "thread", "cycle"])),
    simple("write", index=INDEX),
    simple("search"),
    simple("use_contexts"),
    simple("stop_loop", how=st.sampled_from(["close", "drop", "cycle"])),
    simple("reconnect"),
    simple("close_while_calling", size=SIZES),
    simple("leave", size=st.sampled_from(SMALL + EDGES)),
    simple("load", size=SIZES),
)
SEQUENCES = st.lists(st.one_of(CALL, CALL, OTHERS), min_size=1, max_size=14)


class Load(threading.Thread):
    """Another client, whose calls are on the way meanwhile."""

    def __init__(self, rig: Rig, number: int, size: int) -> None:
        super().__init__(daemon=True)
        self.rig = rig
        self.number = number
        self.size = size
        self.wrong = ""

    def run(self) -> None:
        try:
            with self.rig.connect() as client:
                for i in range(12):
                    content = request_of(self.number + i, self.size)
                    seen = client.call("echo", content, timeout=50.0)
                    if seen != content:
                        self.wrong = f"another client's reply: {difference(content, seen)}"
                        return
        except carom.RemoteError as error:
            if not error.type.endswith("Alarm"):
                self.wrong = f"another client: {error}"
        except (OSError, TimeoutError) as error:
            self.wrong = f"another client: {error!r}"


class Player:
    """Plays sequences on a rig. Numbers of calls never come again."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.number = 0
        self.played = 0
        self.signals = False
        self.loads: list[Load] = []
        self.floor: dict[str, int] | None = None

    def play(self, sequence: Sequence) -> None:
        """Raises Wrong; then the rig is mended already."""
        self.signals = any(SIGNALS & set(op.get("tricks", ())) for op in sequence)
        try:
            for op in sequence:
                PLAYS[op["op"]](self, op)
            self.verify({})
            self.reset()
            self.rig.check_alive()
        except BaseException:
            self.give_up()
            raise
        self.played += 1

    def give_up(self) -> None:
        for load in self.loads:
            load.join(0.0)
        self.loads.clear()
        self.floor = None
        self.rig.mend()

    def next_number(self, count: int = 1) -> int:
        self.number += count
        return self.number - count

    def calm(self, method: str, data: bytes = b"") -> bytes:
        """A call that succeeds, unless a signal's exception comes up in it: then another does."""
        for _ in range(4):
            try:
                return self.rig.call(method, data)
            except carom.RemoteError as error:
                if not self.may_be_signal(error):
                    raise Wrong(f"{method}: {error}") from None
                last = error
        raise Wrong(f"{method} fails again and again: {last}")

    def may_be_signal(self, error: carom.RemoteError) -> bool:
        """The exception of a signal that another loop got may come up half a second later."""
        return self.signals or (self.rig.threads > 1 and error.type.endswith("Alarm"))

    # ---- operations

    def act(self, op: Operation) -> None:
        number = self.next_number()
        self.calm("plan", json.dumps({**op, "number": number}).encode())
        try:
            seen: bytes | None = self.rig.call(
                "act_context" if op["context"] else "act", request_of(number, op["size"])
            )
        except carom.RemoteError as error:
            seen = None
            self.check_error(op, error)
        if seen is not None:
            self.check_reply(op, number, seen)

    def check_error(self, op: Operation, error: carom.RemoteError) -> None:
        if op["raises"] or op["result"] in REFUSED or op["result"] == "kept":
            return
        if not self.may_be_signal(error) and not UNCERTAIN & set(op["tricks"]):
            raise Wrong(f"call failed: {error}")

    def check_reply(self, op: Operation, number: int, seen: bytes) -> None:
        result = op["result"]
        if op["raises"]:
            if op["raises"] != "in_generator" or op["tricks"]:
                raise Wrong(f"a reply to a call that raised {op['raises']}")
        elif result == "kept":
            if hashlib.sha256(seen).digest() != self.calm("last_digest"):
                raise Wrong(f"a kept view gave as reply {seen[:48]!r}")
        elif result in REFUSED:
            raise Wrong(f"a reply of what should be refused: {result}")
        else:
            expected = expected_reply(op, number)
            if seen != expected:
                raise Wrong(f"reply of call {number} ({result}): {difference(expected, seen)}")

    def verify(self, op: Operation) -> None:
        for load in self.loads:
            load.join()
            if load.wrong:
                raise Wrong(load.wrong)
        self.loads.clear()
        wrong = json.loads(self.calm("verify"))["wrong"]
        if wrong:
            raise Wrong("; ".join(wrong[:3]))

    def reset(self) -> None:
        held = json.loads(self.calm("reset"))
        if self.played < 20 or self.floor is None:
            self.floor = held
        for what, more in (("maps", MAPS_MORE), ("fds", FDS_MORE)):
            if held[what] > self.floor[what] + more:
                raise Wrong(f"the worker held {self.floor[what]} {what} and holds {held[what]}")

    def burst(self, op: Operation) -> None:
        for _ in range(op["times"]):
            content = request_of(self.next_number(), op["size"])
            seen = self.calm("echo", content)
            if seen != content:
                raise Wrong(f"echo: {difference(content, seen)}")

    def forward(self, op: Operation) -> None:
        """Operations that the worker does by itself."""
        order = {**op, "number": self.next_number()}
        self.calm(op["op"], json.dumps(order).encode())

    def stop_loop(self, op: Operation) -> None:
        self.calm("stop_loop", op["how"].encode())

    def reconnect(self, op: Operation) -> None:
        self.rig.reconnect()

    def close_while_calling(self, op: Operation) -> None:
        client = self.rig.client
        content = request_of(self.next_number(), op["size"])
        replies: list[bytes | Exception] = []

        def call() -> None:
            try:
                replies.append(client.call("slow", content, timeout=50.0))
            except Exception as error:
                replies.append(error)

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        client.close()
        thread.join()
        self.rig.reconnect()
        (reply,) = replies
        alarm = isinstance(reply, carom.RemoteError) and self.may_be_signal(reply)
        if reply != content and not isinstance(reply, ValueError) and not alarm:
            raise Wrong(f"a call whose client was closed meanwhile: {reply!r:.100}")

    def leave(self, op: Operation) -> None:
        """Does not wait for its reply."""
        number = self.next_number()
        header = f"{json.dumps([number, op['size']]):32}".encode()
        try:
            self.rig.call("keep_slowly", header + request_of(number, op["size"]), timeout=0.001)
        except (TimeoutError, carom.RemoteError):
            return

    def load(self, op: Operation) -> None:
        if len(self.loads) < 3:
            load = Load(self.rig, self.next_number(12), op["size"])
            load.start()
            self.loads.append(load)


def expected_reply(op: Operation, number: int) -> bytes:
    content = reply_of(number, op["reply"])
    half = len(content) // 2
    request = request_of(number, op["size"])
    return {
        "none": b"",
        "reply_head": content[:half],
        "reply_tail": content[half:],
        "request": request,
        "request_slice": request[1:],
        "request_exporter": request,
    }.get(op["result"], content)


PLAYS: dict[str, Callable[[Player, Operation], None]] = {
    "call": Player.act,
    "verify": Player.verify,
    "burst": Player.burst,
    "forget": Player.forward,
    "write": Player.forward,
    "search": Player.forward,
    "use_contexts": Player.forward,
    "stop_loop": Player.stop_loop,
    "reconnect": Player.reconnect,
    "close_while_calling": Player.close_while_calling,
    "leave": Player.leave,
    "load": Player.load,
}
