# SPDX-License-Identifier: Apache-2.0
"""Programs that end, or end parts of carom, at an awkward moment: they crash if that is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from processes import PATIENCE_S

SERVE = """
import gc, os, signal, sys, threading, time
import carom
service = carom.Service("program")
service.method(bytes, name="echo")
host = carom.Host("program")

def in_thread(worker):
    thread = threading.Thread(target=worker.run)
    thread.start()
    host.wait_ready(1, timeout=20.0)
    return thread
"""


def program(text: str) -> tuple[int, str, str]:
    """What became of it, and what it wrote."""
    command = [sys.executable, "-X", "faulthandler", "-c", SERVE + text]
    done = subprocess.run(
        command,
        env={**os.environ, "MALLOC_PERTURB_": "165"},  # memory that was freed looks like that
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_profiler_may_keep_everything_that_a_worker_rehearses_with(folder: Path) -> None:
    assert program("""
frames = []
threading.setprofile(lambda frame, event, argument: frames.append(frame))
worker = carom.Worker(service)
thread = in_thread(worker)
with carom.connect("program") as client:
    assert client.call("echo", b"there") == b"there"
worker.stop()
thread.join()
host.close()
print(len(frames) > 0)
""") == (0, "True\n", "")


def test_a_profiler_may_hold_everything_while_a_worker_is_made(folder: Path) -> None:
    assert program("""
held = []
sys.setprofile(lambda *_: held.append(gc.get_objects()))
worker = carom.Worker(service)
sys.setprofile(None)
held.clear()
worker.close()
host.close()
""") == (0, "", "")


def test_a_worker_in_another_interpreter_is_refused(folder: Path) -> None:
    assert program(f"""
name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
interpreters = __import__(name)
worker = carom.Worker(service)
thread = in_thread(worker)
inside = interpreters.create()
interpreters.run_string(inside, {IN_ANOTHER_INTERPRETER!r})
interpreters.destroy(inside)
with carom.connect("program") as client:
    assert client.call("echo", b"there") == b"there"
worker.stop()
thread.join()
host.close()
""") == (0, "refused\n", "")


IN_ANOTHER_INTERPRETER = """
try:
    import carom
    service = carom.Service("program")
    service.method(lambda request: request, name="echo")
    carom.Worker(service).run()
except ImportError:
    print("refused", flush=True)
"""


def test_a_host_can_be_closed_while_another_thread_asks_it(folder: Path) -> None:
    assert program("""
from carom import binding

class Slow:
    def __getattr__(self, name):
        return getattr(lib, name)
    def carom_host_wait_ready(self, *arguments):
        asked.set()
        closed.wait(20.0)
        return lib.carom_host_wait_ready(*arguments)

def wait():
    try:
        host.wait_ready()
    except ConnectionAbortedError:
        print("stopped")

lib, binding.lib = binding.lib, Slow()
asked, closed = threading.Event(), threading.Event()
thread = threading.Thread(target=wait)
thread.start()
asked.wait(20.0)
host.close()
closed.set()
thread.join()
""") == (0, "stopped\n", "")


def test_sigterm_after_a_worker_was_collected_ends_the_process(folder: Path) -> None:
    assert program("""
worker = carom.Worker(service)
worker.stop_on_sigterm()
worker.itself = worker
del worker
gc.collect()
filling = [bytearray(size) for size in range(0, 4096, 8)]
host.close()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(20.0)
""") == (-signal.SIGTERM, "", "")


def test_sigterm_ends_a_forked_child_unless_it_has_a_worker_of_its_own(folder: Path) -> None:
    assert program("""
def after(body):
    child = os.fork()
    if child == 0:
        body()
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def serve():
    own = carom.Worker(service)
    own.stop_on_sigterm()
    os.kill(os.getpid(), signal.SIGTERM)
    own.run()
    os._exit(4)

worker = carom.Worker(service)
worker.stop_on_sigterm()
print(after(lambda: None), after(serve))
worker.close()
host.close()
""") == (0, "-15 4\n", "")


def test_a_child_can_close_a_worker_that_a_thread_of_its_parent_runs(folder: Path) -> None:
    assert program("""
worker = carom.Worker(service)
thread = in_thread(worker)
with carom.connect("program") as client:
    client.call("echo")
child = os.fork()
if child == 0:
    signal.alarm(10)
    worker.close()
    os._exit(0)
print(os.waitpid(child, 0)[1])
with carom.connect("program") as client:
    assert client.call("echo", b"there") == b"there"
worker.close()
thread.join()
host.close()
""") == (0, "0\n", "")
