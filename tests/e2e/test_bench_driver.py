# SPDX-License-Identifier: Apache-2.0
"""The drivers of `make bench` count right, print what the runner expects, and say what is wrong.

Nothing here looks at how long anything took: that is what the drivers are for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))
from driver.figures import bucket_upper_ns

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench" / "peers"
CAROM = ROOT / "bench" / "peers" / "carom"
FLOOR_CLIENT = [str(BUILD / "floor" / "client"), "option=futex"]
C_CLIENT = [str(BUILD / "carom" / "client"), "option=adaptive"]
PYTHON_CLIENT = [sys.executable, str(CAROM / "caller.py"), "option=adaptive"]
C_SERVER = [str(BUILD / "carom" / "server")]
PYTHON_SERVER = [sys.executable, str(CAROM / "server.py")]
CALLERS = pytest.mark.parametrize("caller", [C_CLIENT, PYTHON_CLIENT], ids=["C", "Python"])
SHORT = ("ms=40", "warm_ms=5")
TIMEOUT_S = 40.0
STOP_TIMEOUT_S = 10.0


@contextmanager
def serving(command: Sequence[str], at: Path) -> Iterator[str]:
    """A server; where it is, once it says that it is ready."""
    arguments = [*command, "--at", str(at)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield f"at={at}"
        finally:
            process.terminate()
            assert process.wait(STOP_TIMEOUT_S) == 0


@pytest.fixture
def at(folder: Path) -> Iterator[str]:
    with serving(C_SERVER, folder / "at") as reached:
        yield reached


def run(client: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*client, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S)


def measure(client: Sequence[str], *arguments: str) -> dict[str, Any]:
    done = run(client, *SHORT, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def counted(figures: dict[str, Any], prefix: str = "") -> int:
    """How many calls a histogram holds; its shape is checked on the way."""
    pairs = figures[f"{prefix}histogram"]
    uppers = [upper for upper, _ in pairs]
    assert uppers == sorted(set(uppers))
    assert all(bucket_upper_ns(upper) == upper for upper in uppers)
    assert all(count > 0 for _, count in pairs)
    names = ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns")
    percentiles = [figures[f"{prefix}{name}"] for name in names]
    assert percentiles == sorted(percentiles)
    assert figures[f"{prefix}mean_ns"] <= percentiles[-1]
    return sum(count for _, count in pairs)


def check_latency(figures: dict[str, Any], size: int) -> None:
    assert figures["work"] == "latency"
    assert (figures["bytes"], figures["depth"], figures["clients"]) == (size, 1, 1)
    assert figures["calls"] == counted(figures) >= 1
    assert figures["calls_per_s"] == pytest.approx(figures["calls"] / figures["seconds"], rel=1e-3)
    assert figures["cpu_s"] > 0
    assert figures["least_share"] == 1


@pytest.mark.parametrize("size", [0, 1, 64, 65, 5000, 1 << 20])
def test_every_call_to_the_floor_is_in_the_histogram(size: int) -> None:
    check_latency(measure(FLOOR_CLIENT, f"bytes={size}"), size)


@CALLERS
@pytest.mark.parametrize("size", [0, 1, 64, 65, 5000, 16 << 20])
def test_every_call_to_carom_is_in_the_histogram(caller: list[str], size: int, at: str) -> None:
    check_latency(measure(caller, at, f"bytes={size}"), size)


def test_a_server_in_python_finds_each_byte_as_the_driver_in_c_wrote_it(folder: Path) -> None:
    with serving([*PYTHON_SERVER, "--workers", "2", "--compute", "3"], folder / "at") as reached:
        check_latency(measure(C_CLIENT, reached, "bytes=5000"), 5000)
        check_latency(measure(C_CLIENT, reached, "bytes=64"), 64)


def test_calls_in_flight_are_counted_and_not_timed(at: str) -> None:
    figures = measure(C_CLIENT, at, "work=depth", "depth=32")
    assert figures["depth"] == 32
    assert figures["calls"] >= 1
    assert figures["histogram"] == []
    assert figures["p50_ns"] is None


@CALLERS
def test_a_peer_that_can_do_one_call_at_a_time_says_so(caller: list[str], at: str) -> None:
    one = caller is PYTHON_CLIENT
    assert measure(caller, at, "work=depth", "depth=8")["depth"] == (1 if one else 8)


@CALLERS
@pytest.mark.parametrize("depth", ["1", "16"])
@pytest.mark.parametrize("clients", ["1", "3"])
def test_at_a_rate_every_intended_call_is_accounted_for(
    caller: list[str], depth: str, clients: str, at: str
) -> None:
    figures = measure(caller, at, "work=rate", "rate=3000", f"depth={depth}", f"clients={clients}")
    assert figures["calls"] + figures["unsent"] == 3000 * 40 // 1000 == counted(figures)
    assert figures["rate_asked"] == 3000
    assert figures["late_max_ns"] >= 0


@CALLERS
def test_calls_that_an_impossible_rate_leaves_unsent_are_in_the_histogram(
    caller: list[str], at: str
) -> None:
    figures = measure(caller, at, "work=rate", "rate=50000000", "ms=10")
    assert figures["unsent"] > 0
    assert figures["calls"] + figures["unsent"] == 500_000 == counted(figures)


@CALLERS
@pytest.mark.parametrize("depth", ["1", "4"])
def test_one_of_twenty_mixed_calls_is_large(caller: list[str], depth: str, at: str) -> None:
    figures = measure(caller, at, "work=mixed", f"depth={depth}")
    large = counted(figures, "large_") if figures["large_histogram"] else 0
    assert figures["calls"] == counted(figures) + large
    assert abs(large - figures["calls"] / 20) <= 2 * int(depth)


@CALLERS
def test_the_first_calls_are_told_from_later_ones(caller: list[str], at: str) -> None:
    figures = measure(caller, at, "work=first")
    assert figures["calls"] == counted(figures) >= 5
    assert figures["connect_ns"] > 0
    assert figures["first_ns"] > 0
    assert figures["idle_p50_ns"] == figures["p50_ns"]


@CALLERS
def test_clients_add_up(caller: list[str], at: str) -> None:
    figures = measure(caller, at, "clients=3")
    assert figures["clients"] == 3
    assert figures["calls"] == counted(figures) >= 3
    assert 0 <= figures["least_share"] <= 1


@CALLERS
@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("wrong=1", "wrong=1"),
        ("work=lunch", "work=lunch"),
        ("bytes=many", "bytes=many"),
        ("bytes=16777217", "bytes=16777217"),
        ("depth=0", "depth=0"),
        ("work=rate", "rate=0"),
        ("clients=65", "clients=65"),
        ("option=none", "option=none"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    caller: list[str], argument: str, complaint: str, at: str
) -> None:
    done = run(caller, at, argument)
    assert done.returncode == 1
    assert done.stdout == ""
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


@CALLERS
@pytest.mark.parametrize("clients", ["1", "3"])
def test_clients_that_cannot_connect_say_why(caller: list[str], clients: str) -> None:
    path = "/tmp/" + "x" * 200  # no socket has so long a name, so nobody waits for it to appear
    done = run(caller, f"at={path}", f"clients={clients}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert path in done.stderr
    assert 1 <= done.stderr.count("\n") <= int(clients)


@pytest.mark.parametrize("server", [C_SERVER, PYTHON_SERVER], ids=["C", "Python"])
def test_a_server_refuses_an_unknown_argument(server: list[str], folder: Path) -> None:
    done = run(server, "--at", str(folder / "at"), "--lunch")
    assert done.returncode != 0
    assert "lunch" in done.stderr
