# SPDX-License-Identifier: Apache-2.0
"""Planted bugs that the fuzz targets must catch: the copy of the library, built with little effort.

A bug is in one or two files. What does not see them is the same as without the bug, so its objects
are copied, and make builds the rest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from fuzzers import ROOT, TARGETS, Fuzzing

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from planted import BUGS, plant

BUILD_TIMEOUT_S = 600.0
RUNS = 300_000
"""A bug that this many executions do not find is missed."""

CAUGHT_BY = {
    "unchecked_slot": "fuzz_worker_lane",
    "unchecked_length": "fuzz_worker_lane",
    "double_fetch": "fuzz_worker_lane",
    "endless_claim": "fuzz_worker_lane",
    "kept_awake": "fuzz_worker_lane",
    "trusted_bell": "fuzz_worker_lane",
    "unchecked_reply": "fuzz_client_lane",
    "unchecked_error_record": "fuzz_client_lane",
    "wait_for_ever": "fuzz_client_lane",
    "unchecked_quarantine_length": "fuzz_host_recover",
    "unchecked_method_count": "fuzz_host_message",
    "unchecked_poisoned_lane": "fuzz_host_message",
    "leaked_descriptor": "fuzz_host_message",
    "unchecked_lane_news": "fuzz_peer_message",
}


def sees(depends: Path, edited: set[str]) -> bool:
    """Whether an object was made of one of the files, by what the compiler noted beside it."""
    words = depends.read_text().replace("\\\n", " ").split()
    return any(word.removesuffix(":") in edited for word in words)


def copy_objects(bug: str) -> None:
    edited = {edit.file for edit in BUGS[bug].edits}
    for folder in ("fuzz/lib", "hostile"):
        for depends in (ROOT / "build" / "proof" / folder).glob("*.d"):
            made = depends.with_suffix(".o")
            copy = ROOT / "build" / "planted" / bug / folder / made.name
            if not made.exists() or sees(depends, edited):
                continue
            if not copy.exists() or copy.stat().st_mtime < made.stat().st_mtime:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(made, copy)


def build(bug: str) -> Path:
    program = f"build/planted/{bug}/hostile/{CAUGHT_BY[bug]}"
    plant(bug)
    copy_objects(bug)
    flags = re.sub(r"(^|\s)-j\d*|--jobserver-\S+", "", os.environ.get("MAKEFLAGS", ""))
    done = subprocess.run(
        [os.environ.get("MAKE", "make"), program, f"PLANTED={bug}"],
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": flags},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{bug} does not build:\n{done.stdout}")
    return ROOT / program


def hunt(bug: str, seed: int) -> Fuzzing:
    target = next(target for target in TARGETS if target.name == CAUGHT_BY[bug])
    fuzzing = Fuzzing(target, build(bug), seed, RUNS)
    fuzzing.run(limit_s=120.0)
    return fuzzing
