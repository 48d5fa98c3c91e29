# SPDX-License-Identifier: Apache-2.0
"""Starts processes that end (ending.py, hooks.py), and looks at how they did."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import carom
import ending
import serving
from patterns import request_of
from raising import RAISES
from report import Report
from rig import HERE, PATIENCE_S, Rig

DELAY_MOST_US = 15_000
HOOKS = ("import", "load", "start", "warmup")
SIZES = [0, 50, 5000, 1 << 20]


class Ends:
    """Runs endings, each with a delay of its own, and counts them."""

    def __init__(self, report: Report, folder: Path) -> None:
        self.report = report
        self.folder = folder
        self.random = random.Random(report.seed)
        self.count = 0

    def start(self, name: str, path: str) -> subprocess.Popen[str]:
        delay_us = self.random.randrange(DELAY_MOST_US)
        self.count += 1
        self.repeat = f"ending.py {name} SERVICE {delay_us}"
        with (self.folder / "ending.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, str(HERE / "ending.py"), name, path, str(delay_us)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def how(self, process: subprocess.Popen[str], expected: tuple[int, ...]) -> str:
        """What is wrong with how it ended; "" nothing."""
        try:
            status = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            process.wait()
            status = -signal.SIGABRT
        if process.stdout is not None:
            process.stdout.close()
        if status in expected:
            return ""
        log = (self.folder / "ending.log").read_text()[-1500:]
        what = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        return f"{self.repeat}: {what}, not {expected}: {log}"

    # ---- callers

    def callers(self, times: int) -> None:
        if not any(self.report.wants(caller.__name__) for caller in ending.CALLERS):
            return
        rig = Rig(self.folder, 2)
        for caller, expected in ending.CALLERS.items():
            name = caller.__name__
            if not self.report.wants(name):
                continue
            wrong = ""
            for _ in range(times):
                wrong = wrong or self.how(self.start(name, rig.path), expected)
                self.say(name)
            self.tell(name, wrong, times)
        wrong = rig.close()
        self.tell("peers_of_those_that_ended", wrong, 1)

    # ---- workers

    def workers(self, times: int) -> None:
        for worker, (signals, methods, expected) in serving.WORKERS.items():
            name = worker.__name__
            if not self.report.wants(name):
                continue
            wrong = ""
            for _ in range(times):
                wrong = wrong or self.worker(name, signals, methods, expected)
                self.say(name)
            self.tell(name, wrong, times)

    def worker(
        self, name: str, signals: str, methods: tuple[str, ...], expected: tuple[int, ...]
    ) -> str:
        with carom.Host(str(self.folder / "ending.sock")) as host:
            process = self.start(name, str(host.path))
            over = threading.Event()
            foreign: list[str] = []
            threads = [
                threading.Thread(target=call, args=(str(host.path), method, over, foreign))
                for method in methods
            ]
            for thread in threads:
                thread.start()
            if signals:
                assert process.stdout is not None
                process.stdout.readline()
                self.send(process, signals)
            wrong = self.how(process, expected)
            over.set()
            host.stop()
            for thread in threads:
                thread.join()
            return wrong or "; ".join(foreign)

    def send(self, process: subprocess.Popen[str], signals: str) -> None:
        time.sleep(self.random.random() * DELAY_MOST_US / 1e6)
        process.terminate()
        for _ in range(50 if signals == "storm" else 0):
            time.sleep(0.0005)
            process.terminate()

    # ---- all in one, hooks

    def alone(self, times: int) -> None:
        path = str(self.folder / "alone.sock")
        for one, expected in serving.ALONE.items():
            name = one.__name__
            if not self.report.wants(name):
                continue
            wrong = ""
            for _ in range(times):
                wrong = wrong or self.how(self.start(name, path), expected)
                self.say(name)
            self.tell(name, wrong, times)

    def hooks(self, share: float) -> None:
        """`carom serve` of applications that raise before there is a call; a share of them all."""
        for hook in HOOKS:
            name = f"hook_{hook}"
            if not self.report.wants(name):
                continue
            chosen = self.random.sample(sorted(RAISES), max(1, int(len(RAISES) * share)))
            wrong = ""
            for kind in chosen:
                self.count += 1
                self.say(name)
                wrong = wrong or self.hook(hook, kind)
            self.tell(name, wrong, len(chosen))

    def hook(self, hook: str, kind: str) -> str:
        command = [str(Path(sys.executable).parent / "carom"), "serve", f"hooks:{hook}_{kind}"]
        command += ["--name", str(self.folder / "hook.sock")]
        process = subprocess.Popen(
            command,
            cwd=HERE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            said = process.communicate(timeout=PATIENCE_S)[1]
        except subprocess.TimeoutExpired:
            process.terminate()
            said = process.communicate()[1]
            return f"hooks:{hook}_{kind}: carom serve goes on: {said[-1500:]}"
        if process.returncode != 1 or "SIG" in said:
            return f"hooks:{hook}_{kind}: exit status {process.returncode}: {said[-1500:]}"
        return ""

    def say(self, name: str) -> None:
        self.report.progress(f"{self.count} processes ended, now {name}")

    def tell(self, name: str, wrong: str, times: int) -> None:
        done = f"{times} times: ended as it should, and nobody saw foreign bytes"
        self.report.check(not wrong, name, wrong or done)


def call(path: str, method: str, over: threading.Event, foreign: list[str]) -> None:
    """Calls until told to end; whatever becomes of it, no foreign bytes."""
    number = 0
    try:
        with carom.connect(path, reconnect_timeout=0.0) as client:
            while not over.is_set():
                number += 1
                content = request_of(number, SIZES[number % 4])
                try:
                    reply = client.call(method, content, timeout=1.0)
                except (TimeoutError, LookupError, carom.RemoteError):
                    time.sleep(0.001)
                    continue
                if reply not in (content, b""):
                    foreign.append(f"{method}: the reply of call {number} was {reply[:48]!r}")
    except OSError:
        return
