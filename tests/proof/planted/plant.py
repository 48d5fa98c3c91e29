# SPDX-License-Identifier: Apache-2.0
"""Making a copy of the library that has a bug."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from planted.bug import Edit
from planted.tables import BUGS

ROOT = Path(__file__).resolve().parent.parent.parent.parent
BUILD = ROOT / "build" / "planted"
PROOF = ROOT / "build" / "proof"


class CannotPlant(Exception):
    """The source is not as the bug expects it."""


def plant(name: str) -> Path:
    """Makes the copy with the bug, touching only files that change; returns its folder."""
    out = BUILD / name
    source = out / "src"
    edits = BUGS[name].edits
    for folder in ("lib", "include", "python"):
        for path in sorted((ROOT / folder).rglob("*")):
            relative = path.relative_to(ROOT)
            if path.is_file() and "__pycache__" not in relative.parts:
                copy(path, source / relative, [e for e in edits if e.file == str(relative)])
    for extra in ("README.md", "LICENSE"):
        copy(ROOT / extra, source / extra, [])
    borrow(out, {edit.file for edit in edits})
    return out


def copy(path: Path, to: Path, edits: list[Edit]) -> None:
    content = path.read_bytes()
    for edit in edits:
        before, after = edit.before.encode(), edit.after.encode()
        if content.count(before) != 1:
            raise CannotPlant(
                f"{edit.file} has {content.count(before)} times what is to be replaced: "
                f"{edit.before.strip().splitlines()[0]!r}"
            )
        content = content.replace(before, after)
    if to.exists() and to.read_bytes() == content:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(content)
    shutil.copymode(path, to)


def borrow(out: Path, edited: set[str]) -> None:
    """Objects that the bug does not touch are those of the real library: of a planted copy only that
    is compiled which includes a file that was changed.
    """
    for built in PROOF.glob("**/*.o"):
        depends = built.with_suffix(".d")
        to = out / built.relative_to(PROOF)
        if not depends.exists() or (to.exists() and to.stat().st_mtime >= built.stat().st_mtime):
            continue
        used = set(depends.read_text().replace("\\\n", " ").replace(":", " ").split())
        if used.isdisjoint(edited):
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(built, to)
            os.utime(to)
