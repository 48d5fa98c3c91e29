# SPDX-License-Identifier: Apache-2.0
"""Planted bugs: a suite that cannot fail proves nothing.

Each bug of the tables here, one a part of the library, is a change of the library's own source, made
in a copy of it below build/planted/. A text that is to be replaced must stand there exactly once:
when the library changes so that a bug cannot be planted any more, the proof fails until somebody
plants it anew.
"""

from __future__ import annotations

from planted.plant import BUILD, ROOT, CannotPlant, plant
from planted.tables import BUGS

__all__ = ["BUGS", "BUILD", "ROOT", "CannotPlant", "plant"]
