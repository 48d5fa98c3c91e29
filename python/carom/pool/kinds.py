# SPDX-License-Identifier: Apache-2.0
"""What an option's value can be: read from a word or from a TOML value, shown as a word.

A word comes from the command line or the environment; TOML has numbers, booleans and lists besides,
and in TOML a number may be written as a word, too. read() raises ValueError with a sentence that
begins with the bad value.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carom.text import exact_memory, exact_span

SPAN_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SPAN_MOST_S = 1e9
BYTE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
WORDS = {"1": True, "true": True, "yes": True, "on": True}
WORDS |= {"0": False, "false": False, "no": False, "off": False}
WHOLE_MOST = 10**15
UID_MOST = 2**32 - 2
AMOUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)", re.ASCII)


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    read  from a word or a TOML value; raises ValueError
    show  the value as a word
    flag  said on the command line as --name and --no-name, without a word
    list  may be said several times on the command line
    """

    read: Callable[[Any], Any]
    show: Callable[[Any], str] = str
    flag: bool = False
    list: bool = False


def whole(least: int, most: int = WHOLE_MOST) -> Kind:
    """A whole number."""
    limits = f"from {least} on" if most == WHOLE_MOST else f"from {least} to {most}"

    def read(value: Any) -> int:
        number = whole_of(value)
        if number is None or not least <= number <= most:
            raise ValueError(f"{value!r:.60} is not a whole number {limits}")
        return number

    return Kind(read)


def whole_of(value: Any) -> int | None:
    """A whole number that is not absurdly long, None for anything else."""
    if isinstance(value, str):
        word = value.strip()
        return int(word) if word.isascii() and word.isdecimal() and len(word) < 20 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def span(*, zero: bool) -> Kind:
    """A time in seconds. zero: 0 is allowed."""

    def read(value: Any) -> float:
        span_s = span_of(value)
        if not 0 <= span_s <= SPAN_MOST_S:
            raise ValueError(f"{value!r} is not a time such as 500ms, 30s or 2m")
        if span_s == 0 and not zero:
            raise ValueError(f"{value!r} is no time at all: it must be longer than 0")
        return span_s

    return Kind(read, exact_span)


def span_of(value: Any) -> float:
    """Seconds; NaN for what is no time."""
    if isinstance(value, str):
        match = AMOUNT.fullmatch(value.strip())
        if match is None:
            return math.nan
        return float(match[1]) * SPAN_UNITS_S.get(match[2] or "s", math.nan)
    return float(value) if is_number(value) else math.nan


def is_number(value: Any) -> bool:
    """Whether a TOML value is one: a boolean is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def size(least: int) -> Kind:
    """An amount of memory in bytes; 0, or from `least` on."""

    def read(value: Any) -> int:
        amount = size_of(value)
        if not 0 <= amount <= WHOLE_MOST:
            raise ValueError(f"{value!r} is not an amount of memory such as 512M or 2G")
        if 0 < amount < least:
            raise ValueError(
                f"{value!r} is {amount:.0f} bytes, less than any Python process needs: "
                "use something like 512M or 2G"
            )
        return int(amount)

    return Kind(read, exact_memory)


def size_of(value: Any) -> float:
    """Bytes; NaN for what is no amount."""
    if isinstance(value, str):
        match = AMOUNT.fullmatch(value.strip())
        if match is None:
            return math.nan
        unit = match[2].upper().removesuffix("B").removesuffix("I")
        return float(match[1]) * BYTE_UNITS.get(unit, math.nan)
    return float(value) if is_number(value) else math.nan


def or_none(kind: Kind) -> Kind:
    """The same, where 0 is no limit: it is shown as none and may be said so."""

    def read(value: Any) -> Any:
        word = value.strip().lower() if isinstance(value, str) else value
        return kind.read("0" if word == "none" else value)

    return Kind(read, lambda value: kind.show(value) if value else "none")


def read_flag(value: Any) -> bool:
    """Yes or no."""
    found = WORDS.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ValueError(f"{value!r} is neither yes nor no (true, false, on, off, 1, 0)")
    return found


def show_flag(value: Any) -> str:
    return "yes" if value else "no"


def read_spin(value: Any) -> bool | float:
    """Yes: as long as it pays; no: sleep at once; or the longest spin in seconds."""
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, bool):
        return word
    if isinstance(word, str) and not word.isdecimal() and word in WORDS:
        return WORDS[word]
    span_s = span_of(value)
    if not 0 < span_s <= 3600:
        raise ValueError(f"{value!r} is not a time longer than 0 and up to 1h; no is for none")
    return span_s


def show_spin(value: Any) -> str:
    return show_flag(value) if isinstance(value, bool) else exact_span(value)


def read_text(value: Any) -> str:
    """Any text but none."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a name")
    return value


def read_target(value: Any) -> str:
    """module:service."""
    if not isinstance(value, str) or not all(value.partition(":")):
        raise ValueError(f"{value!r} names no service: write module:service, such as photo:service")
    return value


def choice(*words: str) -> Kind:
    """One of some words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"{value!r} is not {' or '.join(words)}")
        return str(value)

    return Kind(read)


def read_folder(value: Any) -> Path:
    """A folder that files can be written to."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError(f"{value!r} is not the name of a folder")
    path = Path(value).expanduser().absolute()
    if not path.exists():
        raise ValueError(f"'{path}' does not exist: make this folder first")
    if not path.is_dir():
        raise ValueError(f"'{path}' is not a folder")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"'{path}' cannot be written to by this user")
    return path


def read_uids(value: Any) -> tuple[int, ...]:
    """User ids: one, a list, or a word with commas."""
    if isinstance(value, str):
        value = value.split(",")
    elif not isinstance(value, (list, tuple)):
        value = [value]
    return tuple(read_uid(one) for one in value)


def read_uid(value: Any) -> int:
    try:
        return int(whole(0, UID_MOST).read(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a user id, a number such as 1000") from None


FLAG = Kind(read_flag, show_flag, flag=True)
SPIN = Kind(read_spin, show_spin)
TEXT = Kind(read_text, lambda value: value or "none")
TARGET = Kind(read_target)
FOLDER = Kind(read_folder, lambda value: str(value) if value else "none")
UIDS = Kind(read_uids, lambda uids: ", ".join(map(str, uids)) or "none", list=True)
