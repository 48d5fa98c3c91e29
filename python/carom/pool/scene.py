# SPDX-License-Identifier: Apache-2.0
"""What the parts of the supervisor share: settings, loop, log, and the host once it is open."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from carom.host import Host
from carom.pool.channel import Message
from carom.pool.log import Log
from carom.pool.loop import Loop
from carom.pool.process import Process
from carom.pool.settings import Settings


@dataclass
class Scene:
    """Made by the supervisor. `announced`: the service has been ready; `ending`: it stops."""

    settings: Settings
    loop: Loop
    log: Log
    host: Host | None = None
    name: str = ""
    announced: bool = False
    ending: bool = False
    pid: int = field(default_factory=os.getpid)


@dataclass
class Generation:
    """One version of the application's code, and where its workers come from.

    template  forks them; None: each is started as a program, or the template has died
    over      another one has taken its place, or it was not fit to
    """

    number: int
    template: Process | None = None
    loaded: bool = False
    over: bool = False
    name: str = ""
    methods: dict[str, dict[str, object]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def note_loaded(self, message: Message) -> None:
        """A process of it has imported the application."""
        self.loaded = True
        self.name = message["loaded"]
        self.methods = message["methods"]
        self.files = message["files"]

    def timeout_s(self, method: str | None) -> float | None:
        """The time limit of a method of its own."""
        value = self.methods.get(method or "", {}).get("timeout")
        return float(value) if isinstance(value, (int, float)) else None

    def has_timeouts(self) -> bool:
        """Whether any method has a limit of its own."""
        return any(self.timeout_s(method) is not None for method in self.methods)

    def idempotence(self) -> dict[str, bool]:
        """Its methods, and which of them may be repeated."""
        return {name: bool(traits.get("idempotent")) for name, traits in self.methods.items()}
