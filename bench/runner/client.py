# SPDX-License-Identifier: Apache-2.0
"""Runs a peer's client once and reads the one line of JSON that it prints."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from processes import BenchmarkFailed, describe_end, last_line

PATIENCE_S = 25.0


def run(
    command: Sequence[str], environment: Mapping[str, str], patience_s: float = PATIENCE_S
) -> dict[str, Any]:
    """Its figures. A client that fails, hangs or prints something else raises BenchmarkFailed."""
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except OSError as error:
        raise BenchmarkFailed(f"{command[0]}: {error.strerror}") from None
    with process:
        try:
            out, err = process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise BenchmarkFailed(f"client: no answer in {patience_s:.0f} s") from None
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        end = describe_end(process.returncode)
        raise BenchmarkFailed(f"client: {end}: {last_line(err)}")
    return parse(out)


def parse(text: str) -> dict[str, Any]:
    """The object on the last line."""
    try:
        figures = json.loads(last_line(text))
        if figures["calls"] < 1:
            raise BenchmarkFailed("client: not one call ended in the time")
        return dict(figures)
    except (ValueError, KeyError, TypeError):
        raise BenchmarkFailed(f"client: printed {text[:120]!r} instead of figures") from None
