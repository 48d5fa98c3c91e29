# SPDX-License-Identifier: Apache-2.0
"""`carom status`: how a service is, for people, programs and health checks.

Everything comes from the service's shared memory, which its host hands out, and from /proc: no
worker is asked, so a busy or stuck one delays nothing. The host has 250 ms to answer.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carom.listing import table
from carom.observer import Observer
from carom.records import ServiceRecord, State, WorkerRecord
from carom.text import NS_PER_S, duration, memory, one_line, short_duration, show_words

HEALTHY = (State.READY, State.DEGRADED)
UNREACHABLE = (
    (FileNotFoundError, "absent"),
    (ConnectionRefusedError, "stale"),
    (ConnectionResetError, "stale"),
    (TimeoutError, "silent"),
    (PermissionError, "forbidden"),
)
HEAD = ("PID", "STAGE", "AGE", "CALLS", "ERRORS", "RSS", "PSS", "GEN", "RUNS")
WORDS = (1, 8)
DISPENSABLE = ("GEN", "PSS", "ERRORS", "AGE", "RSS", "CALLS")
"""On a narrow terminal, in this order."""
SHORTEST = 24
WIDTH_LEAST = 40
SAID: dict[str, tuple[type, ...]] = {
    "target": (str,),
    "generation": (int,),
    "template": (int,),
    "wanted": (int,),
    "min": (int,),
    "max": (int,),
    "ready": (int,),
    "restarts": (int,),
    "last_restart": (int, float),
    "last_reason": (str,),
}
"""What the service's keeper says of it (pool/description.py); None where it does not."""
SAID_OF_WORKER: dict[str, tuple[type, ...]] = {
    "pid": (int,),
    "stage": (str,),
    "generation": (int,),
    "started": (int, float),
    "threads": (int,),
}
Facts = dict[str, Any]


@dataclass(frozen=True)
class Memory:
    """What a process holds, in bytes; None: not for this user to see.

    pss  each shared page divided by the number of those who share it
    """

    rss: int | None
    pss: int | None


def status(service: str, *, as_json: bool) -> int:
    """Prints it. Exit status: 0 it serves, 1 it does not, with the reason on standard error."""
    facts = facts_of(service)
    if as_json:
        print(json.dumps(facts, indent=2))
    elif "workers" in facts:
        print(as_text(facts, terminal_width()))
    if not facts["healthy"]:
        sys.stdout.flush()
        print(f"carom: {show_words(facts['reason'])}", file=sys.stderr)
    return int(not facts["healthy"])


# ---- what there is to know


def facts_of(name: str) -> Facts:
    """Everything, as it is printed by --json. Times are seconds since 1970."""
    try:
        with Observer(name) as observer:
            service = observer.service()
            workers = observer.workers()
            clients = len(observer.clients())
            said = read_description(observer.description())
    except OSError as error:
        return unreachable(name, error)
    facts = service_facts(service, said)
    facts["clients"] = clients
    facts["workers"] = worker_facts(service, workers, said)
    return facts


def unreachable(name: str, error: OSError) -> Facts:
    """What is known of a service that does not answer."""
    state = next((word for kind, word in UNREACHABLE if isinstance(error, kind)), "unknown")
    return {"service": name, "state": state, "healthy": False, "reason": one_line(error)}


def read_description(text: str) -> Facts:
    """What its keeper says, as far as it has the shape that this version knows."""
    try:
        whole = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(whole, dict):
        return {}
    workers = whole.get("workers")
    kept = [known(one, SAID_OF_WORKER) for one in workers] if isinstance(workers, list) else []
    return {
        **known(whole, SAID),
        "since": known(whole, {"since": (int, float)})["since"],
        "workers": [one for one in kept if one["stage"] is not None and one["started"] is not None],
    }


def known(found: object, shape: dict[str, tuple[type, ...]]) -> Facts:
    """The parts of a JSON object that are of the right type; None for others."""
    values = found if isinstance(found, dict) else {}
    return {
        name: values.get(name) if isinstance(values.get(name), types) else None
        for name, types in shape.items()
    }


def service_facts(service: ServiceRecord, said: Facts) -> Facts:
    """The service as a whole."""
    started = epoch(service.started_ns)
    reason = said.get("last_reason")
    healthy = service.state in HEALTHY and service.worker_count > 0
    facts = {
        "service": service.name,
        "state": service.state.name.lower(),
        "healthy": healthy,
        "reason": None if healthy else why(service, reason),
        "since": said.get("since") or started,
        "started": started,
        "host": service.host_pid,
        "methods": list(service.methods),
    }
    return facts | {name: said.get(name) for name in SAID}


def why(service: ServiceRecord, reason: str | None) -> str:
    """Why it is not healthy."""
    text = f"{service.name} is {service.state.name.lower()}"
    if service.state is State.FAILING and reason:
        return f"{text}: {reason}"
    if service.state is State.STARTING:
        return f"{text}: no worker has been ready yet"
    if service.worker_count == 0:
        return f"{text}: no worker is ready" + (f"; {reason}" if reason else "")
    return text


def epoch(monotonic_ns: int) -> float:
    """Seconds since 1970 of a time of CLOCK_MONOTONIC."""
    return round(time.time() - (time.monotonic_ns() - monotonic_ns) / NS_PER_S, 3)


def worker_facts(service: ServiceRecord, records: list[WorkerRecord], said: Facts) -> list[Facts]:
    """A worker process each: those its keeper names, then others that have joined."""
    joined: dict[int, list[WorkerRecord]] = {}
    for record in records:
        joined.setdefault(record.pid, []).append(record)
    kept = said.get("workers", [])
    facts = [process_facts(one, joined.pop(one["pid"] or 0, [])) for one in kept]
    for pid, threads in joined.items():
        stage = "stand-in" if pid == service.host_pid and said else "ready"
        started = epoch(min(thread.joined_ns for thread in threads))
        one = {"pid": pid, "stage": stage, "started": started, "generation": None}
        facts.append(process_facts(one, threads))
    return facts


def process_facts(one: Facts, threads: list[WorkerRecord]) -> Facts:
    """One process: its threads together."""
    found = memory_of(one["pid"])
    return {
        "pid": one["pid"],
        "stage": one["stage"],
        "generation": one["generation"],
        "started": one["started"],
        "threads": one.get("threads") or len(threads),
        "calls": sum(thread.calls for thread in threads),
        "errors": sum(thread.errors for thread in threads),
        "expired": sum(thread.expired for thread in threads),
        "running": running(threads),
        "rss": found.rss,
        "pss": found.pss,
    }


def running(threads: list[WorkerRecord]) -> list[Facts]:
    """The calls that it runs now, the oldest first."""
    calls = [(thread.running_since_ns, thread.running) for thread in threads]
    return [
        {"method": method, "since": epoch(since_ns)}
        for since_ns, method in sorted(calls, key=lambda call: call[0])
        if method is not None
    ]


def memory_of(pid: int | None) -> Memory:
    """What /proc says of a process."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split()[0]: int(line.split()[1]) << 10 for line in lines}
        return Memory(sizes["Rss:"], sizes["Pss:"])
    except (OSError, ValueError, IndexError, KeyError):
        return Memory(rss_of(pid), None)


def rss_of(pid: int | None) -> int | None:
    """As everybody may see it."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") or None


# ---- for people


def terminal_width() -> int | None:
    """None: it is no terminal, and lines are as long as they are."""
    return max(WIDTH_LEAST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def as_text(facts: Facts, width: int | None = None) -> str:
    """Some lines on the service and a table of its workers."""
    now = time.time()
    lines = [headline(facts, now)]
    lines += [folded(name, text, width) for name, text in notes(facts, now) if text]
    rows = [row(worker, now) for worker in facts["workers"]]
    if not rows:
        return "\n".join([*lines, "", "no workers"])
    return "\n".join([*lines, "", fitting(rows, width)])


def headline(facts: Facts, now: float) -> str:
    """Like "photo: ready for 12m, 2 of 2 workers"."""
    text = f"{show_words(facts['service'])}: {facts['state']} for {age(facts['since'], now)}"
    ready = facts["ready"] if facts["ready"] is not None else len(facts["workers"])
    wanted = facts["wanted"] if facts["wanted"] is not None else ready
    text += f", {ready} of {wanted} worker{'' if wanted == 1 else 's'}"
    least, most = facts["min"], facts["max"]
    return text if least == most else f"{text} ({least} to {most})"


def notes(facts: Facts, now: float) -> list[tuple[str, str]]:
    """Name and text of a line each; those without a text are left out."""
    host = f"pid {facts['host']}, up {age(facts['started'], now)}"
    template = f"; template pid {facts['template']}" if facts["template"] else ""
    target = f"{facts['target']}, generation {facts['generation']}" if facts["target"] else ""
    return [
        ("host", host + template),
        ("serves", target),
        ("methods", ", ".join(facts["methods"])),
        ("clients", str(facts["clients"])),
        ("restarts", restarts(facts, now)),
    ]


def restarts(facts: Facts, now: float) -> str:
    """How often workers died, when last, and why."""
    count, last = facts["restarts"], facts["last_restart"]
    if not count or last is None:
        return "" if count is None else str(count)
    return f"{count}, the last {age(last, now)} ago: {facts['last_reason'] or 'unknown'}"


def row(worker: Facts, now: float) -> list[str]:
    """One worker of the table."""
    calls = worker["running"]
    runs = f"{calls[0]['method']} for {short_age(calls[0]['since'], now)}" if calls else "-"
    if len(calls) > 1:
        runs += f", {len(calls) - 1} more"
    return [
        "-" if worker["pid"] is None else str(worker["pid"]),
        worker["stage"],
        age(worker["started"], now),
        str(worker["calls"]),
        str(worker["errors"]),
        "-" if worker["rss"] is None else memory(worker["rss"]),
        "-" if worker["pss"] is None else memory(worker["pss"]),
        "-" if worker["generation"] is None else str(worker["generation"]),
        show_words(runs),
    ]


def age(since: float, now: float) -> str:
    """How long ago."""
    return duration(int((now - since) * NS_PER_S))


def short_age(since: float, now: float) -> str:
    """The same of something that may be short."""
    return short_duration(int((now - since) * NS_PER_S))


def folded(name: str, text: str, width: int | None) -> str:
    """A line with its name, in as many lines as it takes on a terminal."""
    label = f"{name:<10}"
    whole = show_words(text)
    if width is None:
        return label + whole
    return textwrap.fill(whole, width, initial_indent=label, subsequent_indent=" " * len(label))


def fitting(rows: list[list[str]], width: int | None) -> str:
    """The table. On a terminal the last column is shortened, and others left out, as it takes."""
    names = list(HEAD)
    for name in (*DISPENSABLE, None):
        kept = [HEAD.index(name) for name in names]
        words = [i for i, column in enumerate(kept) if column in WORDS]
        cells = [[row[column] for column in kept] for row in rows]
        others = table(names[:-1], [row[:-1] for row in cells], words=words)
        room = SHORTEST if width is None else width - 2 - max(map(len, others.split("\n")))
        if room >= SHORTEST or name is None:
            break
        names.remove(name)
    if width is not None:
        cells = [[*row[:-1], shortened(row[-1], max(room, SHORTEST))] for row in cells]
    return table(names, cells, words=words)


def shortened(text: str, room: int) -> str:
    """The beginning, and the end where the time is."""
    if len(text) <= room:
        return text
    tail = text[text.rfind(" for ") :][: room - 3]
    return text[: room - 2 - len(tail)] + ".." + tail
