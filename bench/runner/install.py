# SPDX-License-Identifier: Apache-2.0
"""Gives each peer what it needs: commands, Debian packages, Python packages, its programs.

Every folder by itself, so that one that fails does not stop the others: it is skipped, with the
reason in the report. What has been done is not done again: Debian is asked what is installed, a
stamp holds a digest of each requirements file, make and cargo know what is up to date.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import BenchmarkFailed
from runner.peers import Entry

APT_TIMEOUT_S = 600.0
PIP_TIMEOUT_S = 900.0
BUILD_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Places:
    """Where things are."""

    root: Path
    python: Path
    """The interpreter of the environment that the peers share."""
    builds: Path
    stamps: Path


def by_folder(entries: Sequence[Entry]) -> dict[Path, list[Entry]]:
    folders: dict[Path, list[Entry]] = {}
    for entry in entries:
        folders.setdefault(entry.folder, []).append(entry)
    return folders


def install(places: Places, folder: Path, entries: Sequence[Entry]) -> None:
    """Everything for one folder; raises BenchmarkFailed with the reason."""
    check_commands(entries)
    install_packages(places, entries)
    install_requirements(places, folder)
    build(places, folder, entries)


def missing(places: Places, folder: Path, entries: Sequence[Entry]) -> str:
    """What is not there yet, in a few words; "" when everything is. Changes nothing."""
    try:
        check_commands(entries)
    except BenchmarkFailed as failure:
        return str(failure)
    absent = missing_packages(entries)
    if absent:
        return f"not installed: Debian's {' '.join(absent)}"
    if requirements_digest(places, folder) != read_stamp(places, folder):
        return "not installed: its Python packages"
    programs = [Path(name) for name in programs_of(places, folder, entries)]
    if not all(program.exists() for program in programs):
        return "not built"
    return ""


def check_commands(entries: Sequence[Entry]) -> None:
    for command in sorted({command for entry in entries for command in entry.peer.needs}):
        if not shutil.which(command):
            raise BenchmarkFailed(f"needs {command}, which this machine does not have")


# ---- Debian packages


def missing_packages(entries: Sequence[Entry]) -> list[str]:
    wanted = {name for entry in entries for name in entry.peer.packages}
    return sorted(name for name in wanted if not package_version(name))


def package_version(name: str) -> str:
    """Of an installed Debian package; "" when it is not installed."""
    query = ["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", name]
    try:
        found = subprocess.run(query, capture_output=True, text=True)
    except OSError:
        return ""
    status, _, version = found.stdout.partition(" ")
    return version if status == "installed" else ""


def install_packages(places: Places, entries: Sequence[Entry]) -> None:
    names = missing_packages(entries)
    if names:
        command = [str(places.root / "tools" / "setup"), "packages", *names]
        run(command, places.root, APT_TIMEOUT_S, "Debian packages")


# ---- Python packages


def requirements_digest(places: Places, folder: Path) -> str:
    """Of the requirements and of the environment; "" when there are none."""
    path = folder / "requirements.txt"
    if not path.exists():
        return ""
    created = places.python.parent.parent / ".created"
    age = str(created.stat().st_mtime_ns) if created.exists() else str(places.python)
    return hashlib.sha256(path.read_bytes() + age.encode()).hexdigest()


def stamp_of(places: Places, folder: Path) -> Path:
    return places.stamps / f"{folder.name}.pip"


def read_stamp(places: Places, folder: Path) -> str:
    stamp = stamp_of(places, folder)
    return stamp.read_text() if stamp.exists() else ""


def install_requirements(places: Places, folder: Path) -> None:
    digest = requirements_digest(places, folder)
    if digest == read_stamp(places, folder):
        return
    pip = [str(places.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "install", "-q", "--retries=2", "-r", str(folder / "requirements.txt")]
    run(command, places.root, PIP_TIMEOUT_S, "Python packages")
    places.stamps.mkdir(parents=True, exist_ok=True)
    stamp_of(places, folder).write_text(digest)


# ---- programs


def programs_of(places: Places, folder: Path, entries: Sequence[Entry]) -> list[str]:
    """The programs under build/ that its command lines begin with."""
    commands = [entry.peer.client for entry in entries] + [entry.peer.server for entry in entries]
    own = str(places.builds / folder.name)
    words = {command[0] for command in commands if command and command[0].startswith("{build}")}
    return sorted(word.replace("{build}", own) for word in words)


def build(places: Places, folder: Path, entries: Sequence[Entry]) -> None:
    """By the peer's own command, or the driver and a C server by make."""
    target = places.builds / folder.name
    for entry in entries:
        if entry.peer.build:
            target.mkdir(parents=True, exist_ok=True)
            command = [part.replace("{build}", str(target)) for part in entry.peer.build]
            command = [part.replace("{python}", str(places.python)) for part in command]
            command = [part.replace("{peer}", str(folder)) for part in command]
            own = {"BUILD": str(target), "BENCH": str(folder.parent.parent)}
            run(command, folder, BUILD_TIMEOUT_S, "build", own)
            return
    for program in programs_of(places, folder, entries):
        run(make_command(places, program, entries), places.root, BUILD_TIMEOUT_S, "build")


def make_command(places: Places, program: str, entries: Sequence[Entry]) -> list[str]:
    """As the Makefile's rule for drivers wants it."""
    peers = [entry.peer for entry in entries]
    sources = dict.fromkeys(name for peer in peers for name in peer.client_sources)
    servers = dict.fromkeys(name for peer in peers for name in peer.server_sources)
    libraries = dict.fromkeys(name for peer in peers for name in peer.libraries)
    return [
        os.environ.get("MAKE", "make"),
        "--no-print-directory",
        "-s",
        os.path.relpath(program, places.root),
        f"PEER_SOURCES={' '.join(sources)}",
        f"PEER_SERVER_SOURCES={' '.join(servers)}",
        f"PEER_LIBS={' '.join(libraries)}",
    ]


# ---- running


def run(
    command: Sequence[str],
    folder: Path,
    timeout_s: float,
    what: str,
    more: Mapping[str, str] | None = None,
) -> None:
    """Runs a step; raises BenchmarkFailed with what it said when it fails."""
    environment = {**os.environ, **(more or {})}
    environment.pop("MAKEFLAGS", None)  # not the job server of the make above
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkFailed(f"{what}: not done in {timeout_s:.0f} s") from None
    except OSError as error:
        raise BenchmarkFailed(f"{what}: {command[0]}: {error.strerror}") from None
    if done.returncode:
        said = reason(done.stderr) or reason(done.stdout) or f"status {done.returncode}"
        raise BenchmarkFailed(f"{what}: {said} (by hand: {shlex.join(command)[:200]})")


def reason(text: str) -> str:
    """The first line that says error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if "error" in line.lower() or line.startswith("carom:")]
    return (marked or lines[-1:] or [""])[0][:300]
