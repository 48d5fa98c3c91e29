# SPDX-License-Identifier: Apache-2.0
"""Command line of a caller in Python: the same arguments as driver/main.c takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from peers import work

WORKS = ("latency", "depth", "mixed", "first", "rate")
LARGE_BYTES = 1 << 20
CLIENTS_MAX = 64
DEPTH_MAX = 4096


@dataclass
class Config:
    """What the command line asked for; field names are those of the arguments."""

    work: str = "latency"
    at: str = ""
    option: str = ""
    bytes: int = 64
    depth: int = 1
    rate: int = 0
    ms: int = 100
    warm_ms: int = 25
    cpu: int = -1
    peer_cpu: int = -1
    clients: int = 1

    @property
    def bytes_max(self) -> int:
        """No request will be longer."""
        return LARGE_BYTES if self.work == "mixed" else self.bytes


def read_arguments(arguments: Iterable[str]) -> Config:
    """Raises ValueError for what cannot be done."""
    config = Config()
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or name not in vars(config):
            raise ValueError(f"unknown argument {argument}; arguments are name=value")
        if isinstance(vars(config)[name], str):
            setattr(config, name, text)
            continue
        try:
            setattr(config, name, int(text))
        except ValueError:
            raise ValueError(f"{argument}: that is not a number") from None
    check(config)
    return config


def check(config: Config) -> None:
    """Raises ValueError for a number out of bounds or an unknown work."""
    if config.work not in WORKS:
        raise ValueError(f"work={config.work}: must be {', '.join(WORKS)}")
    limits = {
        "bytes": (0, work.REQUEST_BYTES_MAX),
        "depth": (1, DEPTH_MAX),
        "rate": (int(config.work == "rate"), 10**9),
        "ms": (1, 60_000),
        "warm_ms": (0, 60_000),
        "clients": (1, CLIENTS_MAX),
    }
    for name, (least, most) in limits.items():
        if not least <= vars(config)[name] <= most:
            raise ValueError(f"{name}={vars(config)[name]}: must be {least} to {most}")
