# SPDX-License-Identifier: Apache-2.0
"""The checks of `make lint` that are ours catch what they are there to catch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check_atomics(tmp_path: Path, code: str) -> list[str]:
    (tmp_path / "code.c").write_text(code)
    command = [sys.executable, str(ROOT / "tools" / "check_atomics.py"), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20)
    complaints = ran.stdout.splitlines()
    assert ran.returncode == bool(complaints), ran.stderr
    return complaints


@pytest.mark.parametrize(
    "code",
    [
        "/* relaxed: advice */\nx = atomic_load_explicit(&a, memory_order_relaxed);\n",
        "x = atomic_load_explicit(&a, memory_order_relaxed); /* advice */\n",
        "x = atomic_load_explicit(&a,\n    memory_order_relaxed); // advice\n",
        "/* why\n * so */\n\natomic_thread_fence(memory_order_seq_cst);\n",
        "atomic_init(&a, 0);\n",
        '/* atomic_load(&a) in a comment */ const char *s = "atomic_load(&a)";\n',
    ],
)
def test_an_atomic_with_its_order_and_its_reason_is_accepted(tmp_path: Path, code: str) -> None:
    assert check_atomics(tmp_path, code) == []


@pytest.mark.parametrize(
    "code",
    [
        "/* why */\nx = atomic_load(&a);\n",
        "/* why */\natomic_fetch_add(&a, 1);\n",
        "/* why */\n__sync_synchronize();\n",
        "x = atomic_load_explicit(&a, memory_order_acquire);\n",
        "atomic_thread_fence(memory_order_seq_cst);\n",
        "/* too far away */\n\n\n\n\n\natomic_thread_fence(memory_order_seq_cst);\n",
        'const char *s = "/* no comment */"; atomic_thread_fence(memory_order_seq_cst);\n',
        "atomic_thread_fence(memory_order_seq_cst); x = 1; /* */\n",
    ],
)
def test_an_atomic_without_its_order_or_its_reason_is_named(tmp_path: Path, code: str) -> None:
    (complaint,) = check_atomics(tmp_path, code)
    assert "code.c:" in complaint
