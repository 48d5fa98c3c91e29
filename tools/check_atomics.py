# SPDX-License-Identifier: Apache-2.0
"""Fails on an atomic operation that does not say its memory order and why that order is right.

    tools/check_atomics.py FOLDER_OR_FILE...

Every `atomic_...` operation in C source must be one of the `_explicit` functions or a fence, and
a comment must stand on one of its lines or within the few lines right above it: what it publishes
and with which function it pairs, or why relaxed is enough. `atomic_init` publishes nothing and is
exempt. The builtins `__atomic_*` and `__sync_*` are not used in this project.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LINES_ABOVE = 4

OPERATION = re.compile(
    r"\batomic_(?:load|store|exchange|compare_exchange_(?:strong|weak)|fetch_\w+?|flag_\w+?"
    r"|thread_fence|signal_fence)(_explicit)?\s*\("
)
BUILTIN = re.compile(r"\b__(?:atomic|sync)_\w+\s*\(")
TOKEN = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def split(source: str) -> tuple[str, set[int]]:
    """Source without comments and literals, and the numbers of the lines that hold a comment."""
    commented: set[int] = set()

    def replace(match: re.Match[str]) -> str:
        token = match.group()
        if token.startswith(("/*", "//")) and re.search(r"\w", token):
            first = source.count("\n", 0, match.start())
            commented.update(range(first, first + token.count("\n") + 1))
        return blank(token)

    return TOKEN.sub(replace, source), commented


def last_line(code: str, start: int) -> int:
    """Line on which the statement or condition around an operation ends."""
    end = re.compile(r"[;{]").search(code, start)
    return code.count("\n", 0, end.start() if end else len(code))


def complaints(source: str) -> list[tuple[int, str]]:
    """Line number (from 1) and text of everything that is wrong in a file."""
    code, commented = split(source)
    found = []
    for match in BUILTIN.finditer(code):
        line = code.count("\n", 0, match.start())
        found.append((line + 1, f"{match.group().rstrip('( ')}: use <stdatomic.h>"))
    for match in OPERATION.finditer(code):
        line = code.count("\n", 0, match.start())
        name = match.group().rstrip("( ")
        if not match.group(1) and not name.endswith("_fence"):
            found.append((line + 1, f"{name}: say the memory order ({name}_explicit)"))
        near = range(line - LINES_ABOVE, last_line(code, match.start()) + 1)
        if commented.isdisjoint(near):
            found.append((line + 1, f"{name}: no comment says why this memory order is right"))
    return sorted(found)


def c_files(arguments: list[str]) -> list[Path]:
    paths = [Path(argument) for argument in arguments]
    return sorted(
        file for path in paths for file in (path.rglob("*.[ch]") if path.is_dir() else [path])
    )


def main(arguments: list[str]) -> int:
    failed = False
    for path in c_files(arguments):
        for line, text in complaints(path.read_text()):
            print(f"{path}:{line}: {text}")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
