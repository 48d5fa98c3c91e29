# SPDX-License-Identifier: Apache-2.0
"""The work `idle-clients`: what a call costs while 256 other clients are connected and do nothing,
beside what it costs while one is. Only carom; C client and C worker, programs of bench-quick.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import quick
from processes import Fleet, measure
from runner import rounds
from runner.session import Session

WORK = "idle-clients"
CROWDS = (1, 256)
ROUNDS = 25
MS = 30


def run(session: Session, seconds: float) -> None:
    """Two services, alike but for their idle clients, measured in turns."""
    deadline = time.monotonic() + seconds
    session.servers.stop_all()
    folder = session.folder / "idle"
    folder.mkdir()
    environment = {**session.environment, "CAROM_DIR": str(folder)}
    with Fleet(folder, environment) as fleet:
        cpus = session.cpus
        own = quick.Run(session.programs, fleet, cpus.client, cpus.server, session.progress.step)
        for crowd in CROWDS:
            start_service(session, own, crowd)

        def one(number: int) -> Iterator[str]:
            for crowd in CROWDS if number % 2 == 0 else CROWDS[::-1]:
                yield f"{crowd} idle clients"
                arguments = (f"service=idle-{crowd}", f"ms={MS}", f"cpu={cpus.client}")
                command = own.program("rtt", *arguments)
                figures = measure(f"{crowd} idle clients", command, environment)
                row = session.results.row(WORK, "carom-c", {"idle_clients": crowd})
                row.add(number, {"p50_ns": figures["rtt_ns"], "p99_ns": figures["p99_ns"]})

        rounds.repeat(session, WORK, one, deadline, ROUNDS)
        fleet.check()


def start_service(session: Session, own: quick.Run, crowd: int) -> None:
    """Host, worker, and clients that connect, call for a moment, and stay."""
    own.start_service(f"idle-{crowd}", 1, f"cpu={session.cpus.server}")
    command = own.program("rtt", f"service=idle-{crowd}", "ms=1", "cpu=-1", "hold=1")
    for number in range(crowd):
        session.progress.step(f"{WORK}: connecting", f"{number + 1} of {crowd}")
        own.fleet.start(f"idle-{crowd}.client{number}", command)
