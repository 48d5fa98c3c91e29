# SPDX-License-Identifier: Apache-2.0
"""Which versions of its packages each peer was measured with."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from runner.install import package_version
from runner.peers import Entry


def installed_python_packages(python: Path) -> dict[str, str]:
    """Name in lower case -> version, of the environment of the peers."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (line.partition("==") for line in done.stdout.splitlines())
    return {canonical(name): version for name, _, version in pairs if version}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required_names(folder: Path) -> list[str]:
    """What the peer's requirements.txt names."""
    path = folder / "requirements.txt"
    if not path.exists():
        return []
    names = (re.match(r"[A-Za-z0-9][\w.-]*", line) for line in path.read_text().splitlines())
    return [canonical(name.group()) for name in names if name]


def of_entry(entry: Entry, python_packages: dict[str, str]) -> dict[str, str]:
    """Debian's and Python's packages of a peer with their versions."""
    found = {name: package_version(name) for name in entry.peer.packages}
    for name in required_names(entry.folder):
        found[name] = python_packages.get(name, "")
    return found
