# SPDX-License-Identifier: Apache-2.0
"""What a planted bug is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    file: str
    before: str
    """Stands there exactly once."""
    after: str


@dataclass(frozen=True)
class Bug:
    name: str
    what: str
    edits: tuple[Edit, ...]


def bug(name: str, what: str, *edits: tuple[str, str, str]) -> Bug:
    return Bug(name, what, tuple(Edit(*edit) for edit in edits))
