# SPDX-License-Identifier: Apache-2.0
"""The examples do what they say, and the demo's results are the pictures they claim to be."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import carom
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "build" / "examples"
CAROM = Path(sys.executable).with_name("carom")
STOP_TIMEOUT_S = 10.0


@contextmanager
def running(command: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def test_hello_greets_by_name_and_says_what_is_wrong_when_nobody_serves(folder: Path) -> None:
    client = str(PROGRAMS / "hello" / "client")
    serve = [str(CAROM), "serve", "service:service"]
    with running(serve, ROOT / "examples" / "hello"):
        greeted = subprocess.run([client, "you"], capture_output=True, text=True, timeout=20)
    assert (greeted.returncode, greeted.stdout) == (0, "Hello, you!\n")

    alone = subprocess.run([client], capture_output=True, text=True, timeout=20)
    assert alone.returncode == 1
    assert "hello" in alone.stderr
    assert alone.stderr.count("\n") == 1


def test_a_service_without_python_counts_words_and_stops_on_sigterm(folder: Path) -> None:
    with running([str(PROGRAMS / "c_worker" / "worker")], ROOT) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "words: ready\n"
        with carom.connect("words") as words:
            assert bytes(words.call("count", b"to be  or\nnot to be")) == b"6"
            assert bytes(words.call("count", b"")) == b"0"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_TIMEOUT_S) == 0
    assert list(folder.glob("*.sock")) == []


def test_a_program_that_launches_its_own_workers_prints_the_answer(tmp_path: Path) -> None:
    command = [str(PROGRAMS / "launch" / "main"), "you"]
    environment = {**os.environ, "CAROM_PYTHON": sys.executable}
    options = {"capture_output": True, "text": True, "timeout": 60, "env": environment}
    greeted = subprocess.run(command, cwd=ROOT / "examples" / "launch", check=False, **options)
    assert (greeted.returncode, greeted.stdout) == (0, "Hello, you!\n"), greeted.stderr
    elsewhere = subprocess.run(command, cwd=tmp_path, check=False, **options)
    assert elsewhere.returncode == 1
    assert "hello:service could not be served" in elsewhere.stderr


@pytest.mark.timeout(120)
def test_the_demo_leaves_a_thumbnail_and_a_histogram_of_the_photograph() -> None:
    results = ROOT / "build" / "demo"
    for old in results.glob("*"):
        old.unlink()
    demo = subprocess.run(
        [str(ROOT / "examples" / "photo" / "run")],
        capture_output=True,
        text=True,
        timeout=100,
        env={key: value for key, value in os.environ.items() if key != "CAROM_DIR"},
    )
    assert demo.returncode == 0, demo.stderr
    for row in ("python3 -c", "carom, first call", "carom, steady, p50", "carom, steady, p99"):
        assert row in demo.stdout
    assert "Unix socket, steady, p50" in demo.stdout

    with Image.open(results / "thumbnail.jpg") as thumbnail:
        assert thumbnail.format == "JPEG"
        assert thumbnail.size == (218, 256)
        greys = thumbnail.convert("L").getcolors()
        assert greys is not None
        assert len(greys) > 100  # a picture, not a plain area
    with Image.open(results / "histogram.png") as drawing:
        assert drawing.size == (960, 600)
        colours = drawing.getcolors(1 << 20)
        assert colours is not None
        assert len(colours) > 100

    rows = list(csv.DictReader((results / "histogram.csv").open()))
    assert [int(row["tone"]) for row in rows] == list(range(256))
    for channel in ("red", "green", "blue"):
        assert sum(int(row[channel]) for row in rows) == 512 * 600
