# SPDX-License-Identifier: Apache-2.0
"""The suite `failing`: faults.c in several processes at once, limits/, and two guards.

The guards keep the suite complete when the library changes: every function that the library takes
from libc must be one that doors.c stands in front of (wrap.txt) or be listed as one that cannot
fail (harmless.txt); and every place in the compiled library that calls one of the former must have
been made to fail, or be listed with the reason why not (unreached.txt).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from report import Report  # noqa: E402

PARTS = 4
OWN_SOURCES = "tests/proof/failing/"
# Doors that cannot fail, but are counted or watched.
NEVER_FAIL = {"free"}
SITE = re.compile(r"site (0x[0-9a-f]+) (\d+) (\d+) (.+)")
ADDRESS = re.compile(r"@(0x[0-9a-f]+)")
CALL = re.compile(r"^\s*([0-9a-f]+):.*\scall\s+[0-9a-f]+ <__wrap_(\w+)>")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):")


def tool(*command: str) -> str:
    done = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return done.stdout.decode()


def read_list(name: str) -> dict[str, str]:
    """First word of each line, and the reason behind it."""
    lines = (HERE / name).read_text().splitlines()
    return dict(line.partition(" ")[::2] for line in lines if line and not line.startswith("#"))


# ---------------------------------------------------------------- where an address is


@dataclass(frozen=True)
class Place:
    function: str
    file: str
    line: str

    def __str__(self) -> str:
        return f"{self.function} ({Path(self.file).name}:{self.line})"


def find_places(program: str, addresses: set[int]) -> dict[int, Place]:
    """Of return addresses: the call is one byte before, or more."""
    ordered = sorted(addresses)
    if not ordered:
        return {}
    said = subprocess.run(
        ["addr2line", "-f", "-e", program],
        input="".join(f"{address - 1:#x}\n" for address in ordered),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.splitlines()
    places = {}
    for address, function, where in zip(ordered, said[::2], said[1::2], strict=True):
        file, _, line = where.partition(":")
        places[address] = Place(function, file, line.partition(" ")[0])
    return places


def find_calls(program: str) -> dict[int, str]:
    """Return address of every call of a door in the program -> the door."""
    calls = {}
    door = None
    for line in tool("objdump", "-d", "--no-show-raw-insn", program).splitlines():
        if (instruction := INSTRUCTION.match(line)) and door is not None:
            calls[int(instruction[1], 16)] = door
        call = CALL.match(line)
        door = call[2] if call else None
    return calls


# ---------------------------------------------------------------- the programs


@dataclass
class Heard:
    """What programs said; several threads add to it."""

    program: str
    report: Report
    sites: dict[int, int] = field(default_factory=dict)
    """Return address -> failures made there."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, line: str) -> None:
        with self.lock:
            self.take(line)

    def take(self, line: str) -> None:
        if site := SITE.fullmatch(line):
            at = int(site[1], 16)
            self.sites[at] = self.sites.get(at, 0) + int(site[3])
        elif line.startswith("executions "):
            self.report.executions += int(line.split()[1])
        else:
            self.report.failures += line.startswith("not ok ")
            print(self.name_addresses(line), flush=True)

    def name_addresses(self, line: str) -> str:
        addresses = {int(at, 16) for at in ADDRESS.findall(line)}
        if not addresses:
            return line
        places = find_places(self.program, addresses)
        return ADDRESS.sub(lambda match: f"in {places[int(match[1], 16)]}", line)


def execute(command: list[str], part: str, heard: Heard) -> None:
    process = subprocess.Popen(
        command,
        env={**os.environ, "CAROM_FAILING_PART": part},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    failures = heard.report.failures
    for line in process.stdout:
        heard.hear(line.rstrip())
    status = process.wait()
    if status != 0 and heard.report.failures == failures:
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        heard.hear(f"not ok {Path(command[0]).name}: {how}")


def run_programs(folder: Path, report: Report, heard: Heard) -> None:
    options = ["--scale", report.scale, "--seed", str(report.seed), "--only", report.only]
    faults = [str(folder / "faults"), *options]
    threads = [
        threading.Thread(target=execute, args=(faults, f"{part}/{PARTS}", heard))
        for part in range(PARTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if report.scale != "planted":
        execute([str(folder / "limits" / "limits"), *options], "", heard)


# ---------------------------------------------------------------- the guards


def plain_name(symbol: str) -> str:
    """Without what fortification and versions of libc add."""
    return re.sub(r"^__(\w+)_chk$|^__isoc23_(\w+)$", lambda match: match[1] or match[2], symbol)


def check_doors(library: Path, report: Report) -> None:
    defined = set(re.findall(r" [A-Z] (\S+)$", tool("nm", "--defined-only", str(library)), re.M))
    wanted = set(re.findall(r" [Uw] (\S+)$", tool("nm", "-u", str(library)), re.M)) - defined
    wrapped = set(re.findall(r"--wrap=(\w+)", (HERE / "wrap.txt").read_text()))
    known = wrapped | set(read_list("harmless.txt"))
    unknown = sorted(
        symbol for symbol in wanted if plain_name(symbol) not in known and symbol not in known
    )
    report.check(
        not unknown,
        "doors",
        f"the library calls {', '.join(unknown)}: to be wrapped, or listed as harmless"
        if unknown
        else f"of {len(wanted)} functions of libc {len(wrapped & wanted)} are made to fail, "
        "the others cannot",
    )


def check_sites(heard: Heard, report: Report) -> None:
    calls = find_calls(heard.program)
    places = find_places(heard.program, set(calls))
    excused = read_list("unreached.txt")
    left: dict[str, str] = {}
    # one call in the source may be several in the program
    by_line: dict[tuple[Place, str], int] = {}
    for address, door in calls.items():
        place = places[address]
        if OWN_SOURCES not in place.file and door not in NEVER_FAIL:
            key = (place, door)
            by_line[key] = by_line.get(key, 0) + heard.sites.get(address, 0)
    failed = sum(failures > 0 for failures in by_line.values())
    for (place, door), failures in by_line.items():
        if failures == 0:
            left[f"{Path(place.file).name}:{place.function}:{door}"] = str(place)
    missed = sorted(f"{key} at {place}" for key, place in left.items() if key not in excused)
    stale = sorted(set(excused) - set(left))
    report.check(
        not missed and not stale,
        "call_sites",
        f"{failed} calls in the library were made to fail, {len(left)} cannot be"
        + "".join(f"; never failed: {key}" for key in missed)
        + "".join(f"; excused in vain: {key}" for key in stale),
    )
    report.figure("call_sites", failed, "sites")


def main() -> None:
    arguments = sys.argv[1:]
    folder = Path(arguments.pop(0))
    sys.argv[1:] = arguments
    report = Report("failing calls")
    heard = Heard(str(folder / "faults"), report)
    run_programs(folder, report, heard)
    if report.scale != "planted" and not report.only:
        check_doors(folder.parent / "plain" / "libcarom.a", report)
        check_sites(heard, report)
    report.end()


if __name__ == "__main__":
    main()
