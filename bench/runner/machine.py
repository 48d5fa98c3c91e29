# SPDX-License-Identifier: Apache-2.0
"""The machine and the conditions of a run: what it is, what else ran on it, what to be wary of."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from quick import QUIET_PERCENT

STOLEN_PERCENT = 1.0


def describe() -> dict[str, object]:
    """Everything that figures depend on and that the machine tells."""
    return {
        "cpu": cpu_field("model name") or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads_per_core": threads_per_core(),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": pretty_name(),
        "governor": governor(),
        "hypervisor": hypervisor(),
        "clocksource": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    }


def read(path: str) -> str:
    """The text of a small file; "" when it is not there."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def cpu_field(name: str) -> str:
    for line in read("/proc/cpuinfo").splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""


def threads_per_core() -> int:
    siblings = read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    return sum(span(part) for part in siblings.split(",")) if siblings else 1


def span(part: str) -> int:
    first, _, last = part.partition("-")
    return int(last or first) - int(first) + 1


def pretty_name() -> str:
    for line in read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return ""


def governor() -> str:
    """Of all CPUs: "performance", "powersave and performance", "" when the kernel does not say."""
    paths = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return " and ".join(sorted({read(str(path)) for path in paths}))


def hypervisor() -> str:
    """The name of what this machine runs in; "" for a real one."""
    if "hypervisor" not in cpu_field("flags").split():
        return ""
    vendor = read("/sys/class/dmi/id/sys_vendor")
    if shutil.which("lscpu"):
        for line in output(["lscpu"]).splitlines():
            if line.startswith("Hypervisor vendor"):
                vendor = f"{line.partition(':')[2].strip()} {vendor}".strip()
    return vendor or "unknown"


def versions(root: Path) -> dict[str, str]:
    """Of carom and of what builds and runs it."""
    return {
        "carom": f"{carom_version(root)}{revision(root)}",
        "python": platform.python_version(),
        "cc": first_line([os.environ.get("CC", "gcc"), "--version"]),
        "c++": first_line([os.environ.get("CXX", "g++"), "--version"]),
        "rustc": first_line(["rustc", "--version"]),
        "libc": " ".join(platform.libc_ver()),
    }


def carom_version(root: Path) -> str:
    parts = {}
    for line in (root / "include" / "carom.h").read_text().splitlines():
        if line.startswith("#define CAROM_VERSION_"):
            name, _, value = line.removeprefix("#define CAROM_VERSION_").partition(" ")
            parts[name] = value.strip()
    return ".".join(parts.get(name, "?") for name in ("MAJOR", "MINOR", "PATCH"))


def revision(root: Path) -> str:
    """The commit, if this is a checkout, and whether files differ from it."""
    git = ["git", "-C", str(root)]
    commit = first_line([*git, "rev-parse", "--short", "HEAD"])
    if not commit:
        return ""
    changed = output([*git, "status", "--porcelain", "--untracked-files=no"])
    return f" ({commit}{', changed' if changed else ''})"


def first_line(command: Sequence[str]) -> str:
    return (output(command).splitlines() or [""])[0]


def output(command: Sequence[str]) -> str:
    """What a command prints; "" when it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def warnings(
    machine: Mapping[str, object], others_percent: float, stolen_percent: float
) -> list[str]:
    """What whoever reads the figures has to know."""
    found = []
    if others_percent > QUIET_PERCENT:
        found.append(f"Other programs used {others_percent:.0f} % of the CPUs before the run.")
    if stolen_percent > STOLEN_PERCENT:
        found.append(f"The hypervisor took {stolen_percent:.1f} % of the CPU time during the run.")
    if machine["hypervisor"]:
        found.append(
            f"This is a virtual machine ({machine['hypervisor']}): how long a cache line travels "
            "depends on where its CPUs run just then, and may change within a run."
        )
    if machine["governor"] not in ("", "performance"):
        found.append(f"The CPU frequency governor is {machine['governor']}, not performance.")
    if machine["threads_per_core"] != 1:
        found.append("CPUs share cores: the two pinned ones may be two threads of one core.")
    return found
