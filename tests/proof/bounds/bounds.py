# SPDX-License-Identifier: Apache-2.0
"""Sound bound check: runs Frama-C's EVA on each entry below entries/ and counts its alarms.

An entry sets up this process's own structures, leaves everything that a peer can write unknown
(each read of shared memory is any value, see frama/atomics.h) and calls the library's real
functions. EVA follows all values and all paths at once, so an entry without alarms has no access
out of bounds, no read of uninitialized memory, no undefined shift and no signed overflow, whatever
the peer writes.

An entry is ok when EVA has no alarm, knew the code of every function that was called, and reached
nearly every statement of those functions (an analysis that ends early proves nothing).

    bounds.py --source build/proof|build/planted/NAME [--scale ...] [--only NAME]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path.insert(0, str(HERE.parent))

from report import Report  # noqa: E402

LIMIT_S = 1500.0
ENOUGH = 0.8
"""Of the statements of the functions that were reached."""

COMMON = ["-c11", "-machdep", "gcc_x86_64", "-eva", "-eva-no-print", "-eva-alloc-builtin", "fresh"]
# The one atomic bool, carom_worker.stop, is no shared memory; of volatile memory EVA takes it for
# any byte.
COMMON += ["-no-warn-invalid-bool", "-kernel-warn-key"]
COMMON += ["typing:incompatible-types-call=inactive,typing:implicit-conv-void-ptr=inactive"]
# How EVA keeps apart what depends on one another: paths that have just parted, and what a function
# returned.
APART = "-eva-split-return full -eva-interprocedural-history -eva-partition-history"


@dataclass(frozen=True)
class Entry:
    """A function entry_NAME of entries/FILE.c, and how precisely EVA has to look at it."""

    file: str
    name: str
    options: str
    sources: str = ""
    """Of lib/, beside the one that the entry includes."""
    quick: tuple[int, ...] = (0,)
    """Slots of the lanes; 0 where they do not matter. Bytes of the record for failure.c."""
    full: tuple[int, ...] = (0,)


ALL = tuple(1 << n for n in range(13))
"""Every number of slots that a lane can have."""
SOME = (1, 2, 4, 16, 64)
LANES = f"{APART} 3 -eva-domains cvalue,gauges,symbolic-locations"
WORKER = "ring lane bell request"
NEWS = "control lane ring bell"
MAPPED = f"{APART} 2 -eva-slevel 100 -eva-auto-loop-unroll 64 -eva-domains cvalue"
RECORDS = (*range(19, 65), *((1 << n) + i for n in range(7, 31) for i in (-1, 0, 1)))
"""Bytes of a record: the shortest ones, and around each power of two."""
FAILURE = "-eva-split-return full -eva-slevel 300 -eva-auto-loop-unroll 40 -eva-domains cvalue"
EQUAL = "-eva-domains cvalue,equality"
PEERS = f"{APART} 2 -eva-slevel 50 -eva-auto-loop-unroll 256 -eva-domains cvalue"
DEATHS = f"{APART} 1 -eva-slevel 40 -eva-auto-loop-unroll 8 -eva-domains cvalue"
CALL = f"{APART} 3 -eva-domains cvalue"

# Not here, because EVA has not been seen to come to an end with them: worker.look, call.poll,
# call.sleep.
ENTRIES = (
    Entry("lanes", "ring", LANES, "ring", (4,), ALL),
    Entry("lanes", "claim", LANES, "ring", (4, 4096), ALL),
    Entry("lanes", "submit", LANES, "ring", (4,), ALL),
    Entry("lanes", "recover", LANES, "ring", (4,), ALL),
    Entry("bell", "bell", f"{APART} 1 -eva-domains cvalue"),
    Entry("worker", "try_lane", f"{APART} 4 -eva-slevel 20 -eva-domains cvalue", WORKER, (), SOME),
    Entry("worker", "park", f"{APART} 2 -eva-domains cvalue", WORKER, (4,), SOME),
    Entry("worker", "handle", f"{APART} 1 -eva-domains cvalue", WORKER, (4,), SOME),
    Entry("control", "receive", f"{APART} 2 -eva-domains cvalue", "", (), (0,)),
    Entry("news", "any", f"{APART} 2 -eva-slevel 50 -eva-domains cvalue", NEWS),
    Entry("news", "lane", MAPPED, NEWS, (4,), SOME),
    Entry("hello", "hello", f"{APART} 1 -eva-domains cvalue", "lane ring"),
    Entry("handshake", "join", f"{APART} 2 -eva-slevel 100 {EQUAL}", NEWS, (), (0,)),
    Entry("handshake", "await", f"{APART} 1 -eva-domains cvalue", NEWS, (), (0,)),
    Entry("handshake", "last_words", f"{APART} 1 -eva-domains cvalue", NEWS),
    Entry("peers", "message", PEERS, "control bell"),
    Entry("peers", "end", PEERS, "control bell", (), (0,)),
    Entry("deaths", "recover", DEATHS, "lane ring bell", (), SOME),
    Entry("call", "conclude", CALL, "ring lane bell", (4,), ALL),
    Entry("completions", "collect", f"{APART} 1 -eva-domains cvalue", "lane ring", (4,), ALL),
    Entry("observer", "observer", "-eva-auto-loop-unroll 165 -eva-domains cvalue,gauges"),
    Entry("observer", "description", f"{APART} 1 -eva-domains cvalue"),
    Entry("failure", "records", FAILURE, "", (24, 4096), RECORDS),
    Entry("methods", "methods", f"{APART} 1 -eva-domains cvalue"),
)


@dataclass
class Finding:
    """What EVA said about an entry."""

    alarms: list[str]
    problems: list[str]
    functions: int = 0
    reached: int = 0
    statements: int = 0

    def text(self) -> str:
        said = [f"{len(self.alarms)} alarms", f"{self.functions} functions"]
        said.append(f"{self.reached} of {self.statements} statements")
        return ", ".join(said) + "".join(f"; {line}" for line in self.problems + self.alarms[:5])


def command(entry: Entry, slots: int, source: Path) -> list[str]:
    """To be run in `source`: Frama-C has the preprocessor look there before anywhere else."""
    here = os.path.relpath(HERE, source)
    frama = f"{here}/frama"
    options = ["-include", f"{frama}/linux.h", "-include", f"{frama}/atomics.h", f"-I{frama}"]
    options += ["-Ilib", "-Iinclude", "-U__x86_64__", "-D_GNU_SOURCE"]
    if slots:
        options += [f"-DBOUNDS_SLOTS_FIRST={slots}u", f"-DBOUNDS_SLOTS_LAST={slots}u"]
    files = [f"{frama}/world.c", f"{here}/entries/{entry.file}.c"]
    files += [f"lib/{name}.c" for name in entry.sources.split()]
    return [
        "frama-c",
        *COMMON,
        f"-cpp-extra-args={' '.join(options)}",
        *files,
        "-main",
        f"entry_{entry.name}",
        *entry.options.split(),
    ]


def read(output: str, status: int | None) -> Finding:
    alarms = re.findall(r"^\[eva:alarm\] (\S+) Warning: *\n((?:  .*\n)*)", output, re.M)
    found = Finding([f"{at} {' '.join(text.split())}" for at, text in alarms], [])
    missing = re.findall(r"Neither code nor specification for function (\w+)", output)
    found.problems += [f"nothing is known of {name}" for name in sorted(set(missing))]
    analyzed = re.search(r"(\d+) functions? analyzed", output)
    reached = re.search(r"(\d+) statements? reached \(out of (\d+)\)", output)
    if status != 0 or analyzed is None or reached is None:
        last = " ".join(output.split()[-60:])
        ended = "did not end in time" if status is None else f"exit status {status}"
        found.problems.append(f"no analysis ({ended}): {last}")
        return found
    found.functions = int(analyzed[1])
    found.reached, found.statements = int(reached[1]), int(reached[2])
    if found.reached < ENOUGH * found.statements:
        found.problems.append("too little was reached")
    return found


def analyse(entry: Entry, slots: int, source: Path) -> Finding:
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command(entry, slots, source),
            cwd=source,
            env={**os.environ, "PWD": str(source)},  # which Frama-C believes
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        status: int | None = None
        try:
            status = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        output.seek(0)
        return read(output.read(), status)


def take_source() -> Path:
    """Of --source: the folder of the lib/ that is to be analysed."""
    at = sys.argv.index("--source")
    out = sys.argv[at + 1]
    del sys.argv[at : at + 2]
    return ROOT / out / "src" if Path(out).parent.name == "planted" else ROOT


def name_of(entry: Entry, slots: int) -> str:
    return f"{entry.file}.{entry.name}" + (f".{slots}" if slots else "")


def main() -> None:
    source = take_source()
    report = Report(__doc__)
    work = [
        (entry, slots)
        for entry in ENTRIES
        for slots in (entry.full if report.scale == "long" else entry.quick or entry.full[:1])
        if report.scale != "quick" or entry.quick
    ]
    work = [(e, slots) for e, slots in work if report.wants(name_of(e, slots))]
    functions = reached = statements = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = {pool.submit(analyse, e, n, source): name_of(e, n) for e, n in work}
        for done in as_completed(running):
            found = done.result()
            report.executions += 1
            ok = not found.alarms and not found.problems
            if report.scale == "planted" and found.problems and not found.alarms:
                # it has to be caught by an alarm
                print(f"# {running[done]}: {found.text()}", flush=True)
                continue
            report.check(ok, running[done], found.text())
            functions += found.functions
            reached += found.reached
            statements += found.statements
            report.progress(f"{report.executions} of {len(work)} analyses", 0.0)
    report.figure("functions", functions, "analyses")
    if statements:
        report.figure("statements_reached", 100 * reached / statements, "%")
    report.end()


if __name__ == "__main__":
    main()
