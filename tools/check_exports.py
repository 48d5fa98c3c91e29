# SPDX-License-Identifier: Apache-2.0
"""Fails when libcarom.so exports anything but the functions that include/carom.h declares."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def declared() -> set[str]:
    text = "".join(path.read_text() for path in sorted((ROOT / "include").glob("*.h")))
    return set(re.findall(r"^CAROM_API [^;(]*?(\w+)\(", text, re.MULTILINE))


def exported() -> set[str]:
    command = ["nm", "--dynamic", "--defined-only", "--format=posix", "build/libcarom.so"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    symbols = (line.split() for line in listing.splitlines())
    return {symbol[0].split("@")[0] for symbol in symbols if symbol[1] != "A"}


def main() -> int:
    want, have = declared(), exported()
    for name in sorted(want - have):
        print(f"include/carom.h declares {name}, build/libcarom.so does not export it")
    for name in sorted(have - want):
        print(f"build/libcarom.so exports {name}, include/carom.h does not declare it")
    return int(want != have)


if __name__ == "__main__":
    sys.exit(main())
