# SPDX-License-Identifier: Apache-2.0
"""Services whose import or hooks raise what raising.py has, such as hooks:start_surrogates."""

from __future__ import annotations

import carom
from raising import RAISES


def service(hook: str, kind: str) -> carom.Service:
    made = carom.Service("hooks")

    @made.method
    def echo(request: memoryview) -> memoryview:
        return request

    def fail(*_: object) -> None:
        RAISES[kind](memoryview(b"of a hook"))
        raise ValueError("it raised nothing")

    if hook == "import":
        fail()
    add = {"load": made.on_load, "start": made.on_start, "warmup": made.warmup}[hook]
    add(fail)
    return made


def __getattr__(name: str) -> carom.Service:
    hook, _, kind = name.partition("_")
    if kind not in RAISES:
        raise AttributeError(name)
    return service(hook, kind)
