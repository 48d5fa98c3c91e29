# SPDX-License-Identifier: Apache-2.0
"""Runs parts of the tests and counts them: `tests/run.py unit asan tsan e2e proof lint`.

Each part builds what it needs by calling make, runs it under a time limit and gives back how many
checks passed and failed. A part that does not build, does not end or counts nothing has failed.
Every part runs whatever became of the ones before it. The output of what failed is shown, the
output of everything is kept in build/test/. The last line is always `N passed, N failed`; the exit
status is 0 only when something passed and nothing failed.

Standard library only: this file runs before build/venv exists.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "test"
VENV = BUILD / "venv" / "bin"
PYTHON = str(VENV / "python")

BUILD_TIMEOUT_S = 900.0  # the first time, pip and the extension are in it
PROGRAM_TIMEOUT_S = 120.0
E2E_TIMEOUT_S = 1200.0
PROOF_TIMEOUT_S = 2400.0
LINT_TIMEOUT_S = 1200.0
GRACE_S = 5.0
SHOWN_LINES = 200

C_FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-Ilib"]
C_FLAGS += ["-Ibench", "-Ibench/driver", "-Ibench/peers", "-Itests/proof"]
C_FLAGS += ["-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla", "-Wundef"]


@dataclass
class Count:
    passed: int = 0
    failed: int = 0

    def __iadd__(self, other: Count) -> Count:
        self.passed += other.passed
        self.failed += other.failed
        return self

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed"


@dataclass
class Outcome:
    """How a command ended: its exit status (None = had to be killed), its output, its duration."""

    status: int | None
    output: str
    seconds: float

    @property
    def end(self) -> str:
        if self.status is None:
            return f"killed after {self.seconds:.0f} s"
        if self.status < 0:
            return f"ended by {signal.Signals(-self.status).name}"
        return f"exit status {self.status}"


def run(
    command: Sequence[str], timeout_s: float, environment: dict[str, str] | None = None
) -> Outcome:
    """Runs a command in a session of its own and leaves none of that session's processes behind."""
    begun = time.monotonic()
    status: int | None = None
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return Outcome(127, f"{command[0]}: {error.strerror}\n", 0.0)
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.terminate()  # the proof has processes in other sessions and ends them now
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        finally:
            end_group(process)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Outcome(status, text, time.monotonic() - begun)


def end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def report(part: str, name: str, count: Count, outcome: Outcome, remark: str = "") -> None:
    """One line for what ran, and its output below when it failed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{part}-{re.sub('[^a-z0-9_.+-]', '_', name)}.log"
    log.write_text(outcome.output)
    line = f"  {part:<5} {name:<24} {count}  {outcome.seconds:.1f} s"
    print(f"{line}  {remark}".rstrip(), flush=True)
    if count.failed:
        lines = outcome.output.splitlines()
        if len(lines) > SHOWN_LINES:
            print(f"    ... {len(lines) - SHOWN_LINES} lines more in {log.relative_to(ROOT)}")
        for text in lines[-SHOWN_LINES:]:
            print(f"    {text}", flush=True)


def make(*targets: str) -> Outcome:
    """Builds targets, going on after errors; never shares a job server with the make above."""
    flags = re.sub(r"(^|\s)-j\d*|--jobserver-\S+", "", os.environ.get("MAKEFLAGS", ""))
    command = [os.environ.get("MAKE", "make"), "-k", f"-j{os.cpu_count() or 1}", *targets]
    return run(command, BUILD_TIMEOUT_S, {"MAKEFLAGS": flags})


def built_or_failed(part: str, target: str) -> Count:
    """Builds a target; a failure is shown and counts as one."""
    outcome = make(target)
    if outcome.status == 0:
        return Count()
    report(part, "build", Count(0, 1), outcome, outcome.end)
    return Count(0, 1)


# ---- unit tests


def unit(variant: str) -> Callable[[str], Count]:
    def part(name: str) -> Count:
        for program in unit_programs(variant):
            program.unlink(missing_ok=True)  # what does not build now must not run
        total = built_or_failed(name, f"unit-{variant}")
        for program in unit_programs(variant):
            if program.exists():
                total += unit_program(name, program)
        return total

    return part


def unit_programs(variant: str) -> list[Path]:
    sources = sorted((ROOT / "tests" / "unit").glob("test_*.c"))
    return [BUILD / variant / "tests" / "unit" / source.stem for source in sources]


def unit_program(part: str, program: Path) -> Count:
    """Runs a cmocka program; its results are the lines `[       OK ] name` and the summary."""
    with tempfile.TemporaryDirectory(prefix="carom") as folder:
        outcome = run(
            [*fixed_addresses(), str(program)], PROGRAM_TIMEOUT_S, unit_environment(folder)
        )
    count = Count(
        passed=len(re.findall(r"^\[       OK \]", outcome.output, re.MULTILINE)),
        failed=sum(
            int(number)
            for number in re.findall(
                r"^\[  FAILED  \] (\d+) test\(s\)", outcome.output, re.MULTILINE
            )
        ),
    )
    remark = ""
    if outcome.status != 0:
        count.failed = max(count.failed, 1)
        remark = outcome.end
    elif count.passed + count.failed == 0:
        count.failed = 1
        remark = "ran no test"
    report(part, program.name.removeprefix("test_"), count, outcome, remark)
    return count


def unit_environment(folder: str) -> dict[str, str]:
    return {
        "CAROM_DIR": folder,
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=0:exitcode=66:second_deadlock_stack=1",
    }


def fixed_addresses() -> list[str]:
    """The sanitizers of gcc 12 do not start under kernels that randomize 32 bits of addresses."""
    prefix = ["setarch", platform.machine(), "-R"]
    if shutil.which("setarch") and run([*prefix, "true"], 10.0).status == 0:
        return prefix
    return []


# ---- end to end


def e2e(part: str) -> Count:
    total = built_or_failed(part, "e2e-programs")
    results = LOGS / "e2e.xml"
    results.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="carom") as folder:
        command = [PYTHON, "-m", "pytest", "tests/e2e", "-q", "--timeout=60"]
        command += ["-p", "no:cacheprovider", f"--junitxml={results}"]
        path = f"{VENV}:{os.environ['PATH']}"
        outcome = run(command, E2E_TIMEOUT_S, {"CAROM_DIR": folder, "PATH": path})
    count = count_junit(results)
    remark = ""
    if outcome.status != 0:
        count.failed = max(count.failed, 1)
        remark = outcome.end
    elif count.passed == 0:
        count.failed = 1
        remark = "ran no test"
    report(part, "pytest", count, outcome, remark)
    total += count
    return total


def count_junit(results: Path) -> Count:
    """Skipped tests count as neither."""
    count = Count()
    try:
        suites = list(ElementTree.parse(results).iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return count
    for suite in suites:
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        count.failed += failed
        count.passed += int(suite.get("tests", 0)) - failed - int(suite.get("skipped", 0))
    return count


# ---- instructions of a call


def instructions(part: str) -> Count:
    """One case: nobody made the hot path longer."""
    total = built_or_failed(part, "bench-programs")
    outcome = run([sys.executable, "bench/instructions.py"], PROGRAM_TIMEOUT_S)
    ok = outcome.status == 0
    count = Count(int(ok), int(not ok))
    report(part, "baseline", count, outcome, "" if ok else outcome.end)
    total += count
    return total


# ---- the proof


def proof(part: str) -> Count:
    """A slice of every suite; of what it says a line per suite is shown, and what failed."""
    command = [sys.executable, "tests/proof/prove.py", "--scale", "quick"]
    outcome = run(command, PROOF_TIMEOUT_S)
    count = count_last_line(outcome.output)
    remark = ""
    if outcome.status != 0 or count.failed:
        count.failed = max(count.failed, 1)
        remark = outcome.end
    elif count.passed == 0:
        count.failed = 1
        remark = "proved nothing"
    else:
        for line in outcome.output.splitlines():
            if " executions " in line:
                print(f"  {part:<5}{line}")
    report(part, "suites", count, outcome, remark)
    return count


def count_last_line(output: str) -> Count:
    """`N passed, N failed`; nothing when the last line is another one."""
    found = re.search(r"^(\d+) passed, (\d+) failed\s*\Z", output, re.MULTILINE)
    return Count(int(found[1]), int(found[2])) if found else Count()


# ---- lint


def files(*patterns: str) -> list[str]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(str(path.relative_to(ROOT)) for path in found)


def lint(part: str) -> Count:
    total = built_or_failed(part, "lint-tools")
    for name, command in lint_checks():
        outcome = run(command, LINT_TIMEOUT_S)
        ok = outcome.status == 0
        count = Count(int(ok), int(not ok))
        report(part, name, count, outcome, "" if ok else outcome.end)
        total += count
    return total


def each(*command: str, over: list[str]) -> list[str]:
    return ["tools/each", *command, "::", *over]


def lint_checks() -> list[tuple[str, list[str]]]:
    """Name and command of each check."""
    lib = files("lib/*.c")
    sources = lib + files("tests/*/*.c", "bench/*.c", "bench/driver/*.c", "examples/*/*.c")
    # Not what is Frama-C's, in tests/proof/bounds/*/.
    sources += files("tests/proof/*/*.c", "tests/proof/failing/limits/*.c")
    # Of the peers those that need no library but libc and ours.
    sources += [path for path in files("bench/peers/*/*.c") if path.split("/")[2] in PLAIN_PEERS]
    pythons = ["python", "bench", "tests", "examples", "tools"]
    tools = files("tests/run.py", "tools/*.py")
    scripts = ["tools/setup", "tools/each", ".ci/run", *files("examples/*/run")]
    syntax = [*C_FLAGS, "-fsyntax-only"]
    header = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "include/carom.h"]
    return [
        # Optimizing, because some warnings need data flow.
        ("gcc", each("gcc", *C_FLAGS, "-O2", "-c", "-o", "/dev/null", "{}", over=sources)),
        ("clang", each("clang", *syntax, "{}", over=sources)),
        # An operator on an _Atomic variable means seq_cst without saying so.
        ("operators", each("clang", *syntax, "-Watomic-implicit-seq-cst", "{}", over=lib)),
        ("header-c11", ["gcc", "-std=c11", *header]),
        ("header-c++", ["clang", "-x", "c++", "-std=c++11", *header]),
        ("clang-tidy", each(*CLANG_TIDY, "{}", "--", *C_FLAGS, over=sources)),
        ("cppcheck", [*CPPCHECK, *sources]),
        ("atomics", [sys.executable, "tools/check_atomics.py", "lib"]),
        ("house", [sys.executable, "tools/check_house.py"]),
        ("exports", [sys.executable, "tools/check_exports.py"]),
        ("ruff", [str(VENV / "ruff"), "check", *pythons]),
        ("ruff-format", [str(VENV / "ruff"), "format", "--check", *pythons]),
        ("mypy-carom", [*MYPY, "python/carom", *tools]),
        ("mypy-bench", ["env", "MYPYPATH=bench", *MYPY, *files("bench/**/*.py")]),
        ("mypy-photo", ["env", "MYPYPATH=examples/photo", *MYPY, *files("examples/photo/*.py")]),
        *mypy_proof(),
        ("bash", each("bash", "-n", "{}", over=scripts)),
    ]


def mypy_proof() -> list[tuple[str, list[str]]]:
    """Each suite by itself: two may have modules of the same name."""
    suites = files("tests/proof/*/suite.py")
    checks = [("proof", "tests/proof", files("tests/proof/*.py") + suites)]
    for folder in sorted({str(Path(suite).parent) for suite in suites}):
        modules = [path for path in files(f"{folder}/*.py") if path not in suites]
        path = f"tests/proof:{folder}:tests/e2e"
        checks += [(Path(folder).name, path, modules)] if modules else []
    return [
        (f"mypy-{name}", ["env", f"MYPYPATH={path}", *MYPY, *modules])
        for name, path, modules in checks
    ]


PLAIN_PEERS = {"carom", "dgram", "eventfd", "floor", "mqueue", "pipe", "process", "seqpacket"}
PLAIN_PEERS |= {"tcp", "unix"}
MYPY = [str(VENV / "mypy"), "--strict"]
CLANG_TIDY = ["clang-tidy", "--quiet", "--warnings-as-errors=*"]
CPPCHECK = ["cppcheck", "--quiet", "--std=c11", "--language=c", "--inline-suppr"]
CPPCHECK += ["--error-exitcode=1", "--enable=warning,performance,portability", "-D_GNU_SOURCE"]
CPPCHECK += ["--suppress=ctunullpointer", "--suppress=ctuuninitvar"]  # know no conditions
CPPCHECK += ["--suppress=missingIncludeSystem", "-Iinclude", "-Ilib"]
CPPCHECK += ["-D__BYTE_ORDER__=1234", "-D__ORDER_LITTLE_ENDIAN__=1234", "-D__x86_64__=1"]

PARTS: dict[str, Callable[[str], Count]] = {
    "unit": unit("plain"),
    "asan": unit("asan"),
    "tsan": unit("tsan"),
    "e2e": e2e,
    "instructions": instructions,
    "proof": proof,
    "lint": lint,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        print(f"usage: tests/run.py PART...  (parts: {' '.join(PARTS)})", file=sys.stderr)
        return 2
    total = Count()
    for name in names:
        try:
            count = PARTS[name](name)
        except Exception as error:  # a bug of this file must not hide the other parts
            print(f"  {name:<5} did not run: {error!r}")
            count = Count(0, 1)
        if count.passed + count.failed == 0:
            print(f"  {name:<5} ran nothing")
            count.failed = 1
        total += count
    print(total, flush=True)
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
