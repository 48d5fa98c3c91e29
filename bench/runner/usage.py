# SPDX-License-Identifier: Apache-2.0
"""What processes use: CPU time and memory, of a process and all below it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from processes import cpu_time_ns, descendants, stat_fields

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> set[int]:
    """A process and all its descendants."""
    return {pid, *(child.pid for child in descendants(pid))}


def cpu_ns(pids: Iterable[int]) -> int:
    """CPU time of living processes, exact, and of children they have waited for, in ticks."""
    return sum(own_ns(pid) + waited_ns(pid) for pid in pids)


def own_ns(pid: int) -> int:
    """Threads that have ended count in the process's ticks only; the larger of both is right."""
    fields = stat_fields(pid)
    ticks = int(fields[11]) + int(fields[12]) if fields else 0
    try:
        exact = cpu_time_ns(pid)
    except OSError:
        return ticks * TICK_NS
    return exact if exact > (ticks - 2) * TICK_NS else ticks * TICK_NS


def waited_ns(pid: int) -> int:
    fields = stat_fields(pid)
    return (int(fields[13]) + int(fields[14])) * TICK_NS if fields else 0


def resident_bytes(pids: Iterable[int]) -> int | None:
    """Memory of these processes, pages that several share counted once (PSS); None when the kernel
    does not tell."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except FileNotFoundError:
            continue
        except OSError:
            return None
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total or None
