# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that no other tool knows: licence line, width, white space.

Looks at the sources under the folders below and names every line that breaks a rule.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = [".ci", "bench", "examples", "include", "lib", "python", "tests", "tools"]
SUFFIXES = {".c", ".h", ".py", ".pyi", ".toml", ".in", ".map", ""}
LICENSED = {".c", ".h", ".py", ""}
WIDTH = 100


def sources() -> list[Path]:
    found = [
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in SUFFIXES
        if not any(part.startswith((".m", ".p", ".r", "__")) for part in path.parent.parts)
    ]
    return sorted([*found, ROOT / "Makefile"])


def complaints(text: str, suffix: str, quotes: bool = False) -> list[tuple[int, str]]:
    """Line number (from 1) and text of everything that is wrong in a file. `quotes`: it quotes the
    library's source, which may take it beyond the width.
    """
    lines = text.split("\n")
    found = []
    if suffix in LICENSED and text and not any("SPDX-License-Identifier" in s for s in lines[:3]):
        found.append((1, "no SPDX-License-Identifier in the first lines"))
    for number, line in enumerate(lines, 1):
        if len(line) > WIDTH and not quotes:
            found.append((number, f"{len(line)} columns, {WIDTH} are allowed"))
        if line != line.rstrip():
            found.append((number, "white space at the end"))
        if "\t" in line and suffix in {".c", ".h", ".py"}:
            found.append((number, "tab"))
    if text and not text.endswith("\n"):
        found.append((len(lines), "no newline at the end of the file"))
    return found


def main() -> int:
    failed = False
    for path in sources():
        quotes = path.parent.name == "planted"
        for line, text in complaints(path.read_text(), path.suffix, quotes):
            print(f"{path.relative_to(ROOT)}:{line}: {text}")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
