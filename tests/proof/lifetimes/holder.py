# SPDX-License-Identifier: Apache-2.0
"""The worker process of the suite: its handlers keep, raise, fork and let go as they are told.

    holder.py SERVICE THREADS

`plan` says what the next `act` is to do (tricks.py) and return (results.py); sequences.py makes the
plans. What is kept and what is wrong is in memory.py, and `verify` tells it. A loop that something
ended is begun again, so that one process lasts for many sequences; it ends when its service does,
with everything that is still kept.
"""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import carom
import results
from carom.errors import RemoteError
from keeping import Delayed, complaint, end_readers, found_by_collector
from memory import KEPT_MOST, contexts, end_late, kept, note, wrong
from patterns import difference, reply_of, request_of, written_of
from raising import RAISES, Alarm
from results import ForkingText, filled, result_of
from tricks import TRICKS, collect_seldom, interrupter, own

PID = os.getpid()

service = carom.Service("holder")
plans: list[dict[str, Any]] = []
loops: list[Loop] = []


# ---- methods


@service.method
def plan(request: memoryview) -> None:
    plans[:] = [json.loads(bytes(request))]


def follow(request: memoryview, context: Any) -> Any:
    end_late()
    plan = plans.pop()
    number = plan["number"]
    content = request_of(number, plan["size"])
    if plan["look"] and request != content:
        wrong.append(f"the request of call {number}: {difference(content, bytes(request))}")
    if plan["raises"] == "forking_text":
        note(2 * number, "whole", request, content)
        raise ForkingText
    if plan["raises"] and not plan["keep"]:
        RAISES[plan["raises"]](request)
    for how in plan["keep"]:
        note(2 * number, how, request, content)
    for trick in plan["tricks"]:
        TRICKS[trick](request, context, number)
        if os.getpid() != PID:  # a child, to which the request means SIGSEGV, as is documented
            return None
    if plan["raises"]:
        if context is not None and plan["keep_reply"]:
            filled(context, plan, reply_of(number, plan["reply"]))
        RAISES[plan["raises"]](request)
    return result_of(plan, request, context)


@service.method
def act(request: memoryview) -> Any:
    return follow(request, None)


@service.method
def act_context(request: memoryview, context: carom.Context) -> Any:
    return follow(request, context)


@service.method
def echo(request: memoryview) -> memoryview:
    return request


@service.method
def slow(request: memoryview) -> memoryview:
    time.sleep(0.004)
    return request


@service.method
def keep_slowly(request: memoryview) -> None:
    """Its caller has left when it returns."""
    number, size = json.loads(bytes(request[:32]))
    content = bytes(request)
    if content[32:] != request_of(number, size):
        wrong.append(f"a cancelled call's request: {difference(content, bytes(request))}")
    note(2 * number, "whole", request, content)
    note(2 * number, "thread", request, content)
    time.sleep(0.004)


@service.method
def verify(request: memoryview) -> bytes:
    end_late()
    found = [*wrong, *filter(None, (complaint(one) for _, one in kept))]
    return json.dumps({"wrong": found, "kept": len(kept)}).encode()


@service.method
def last_digest(request: memoryview) -> bytes:
    return hashlib.sha256(results.last).digest()


@service.method
def forget(request: memoryview) -> None:
    """Lets go of one thing: at once, in another thread, or as garbage in a cycle."""
    order = json.loads(bytes(request))
    if not kept:
        return
    one: Any = kept.pop(order["index"] % len(kept))
    if order["where"] == "thread":
        Delayed(one, 0.0003 * (order["index"] % 4)).start()
    elif order["where"] == "cycle":
        cycle = [one]
        cycle.append(cycle)


@service.method
def write(request: memoryview) -> None:
    """Writes through a view of a reply whose call is over."""
    order = json.loads(bytes(request))
    writable = [(number, one) for number, one in kept if one.view is not None]
    if not writable:
        return
    number, one = writable[order["index"] % len(writable)]
    end_readers()
    kept[:] = [k for k in kept if k[0] != number and k[1].how != "found_by_collector"]
    assert one.view is not None
    try:
        one.view[:] = content = written_of(order["number"], len(one.view))
    except ValueError:
        return
    note(number, "whole", one.view, content)


@service.method
def search(request: memoryview) -> None:
    end_late()  # its threads write into views of their own
    kept.extend((-1, one) for one in found_by_collector()[:10])
    del kept[:-KEPT_MOST]


@service.method
def use_contexts(request: memoryview) -> None:
    for context in contexts:
        for use in (
            lambda c=context: c.reply(10),
            lambda c=context: c.client,
            lambda c=context: c.deadline,
            context.remaining,
            context.cancelled,
            context.check,
        ):
            try:
                use()
            except RuntimeError:
                continue
            wrong.append("a context can be used after its call")


@service.method
def stop_loop(request: memoryview) -> None:
    """Ends the loop that runs it, and another with a new worker follows."""
    own.loop.parting = bytes(request).decode()
    own.loop.worker.stop()


@service.method
def reset(request: memoryview) -> bytes:
    """Lets go of everything; how much this process holds then."""
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    collect_seldom(request, None, 0)
    sys.setswitchinterval(0.005)
    end_late()
    end_readers()
    plans.clear()
    contexts.clear()
    kept.clear()
    wrong.clear()
    gc.collect()
    maps = Path("/proc/self/maps").read_text().count("\n")
    return json.dumps({"maps": maps, "fds": len(os.listdir("/proc/self/fd"))}).encode()


# ---- loops


class Loop:
    """A dispatch loop that begins again when something ends it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parting = ""
        self.serving = False
        self.worker = carom.Worker(service, name=name)

    def run(self) -> None:
        own.loop = self
        while self._serve() and self.parting:
            parting, self.parting = self.parting, ""
            worker = self.worker
            try:
                self.worker = carom.Worker(service, name=self.name)
            except OSError:  # the service has ended
                return
            if parting == "close":
                worker.close()
            if parting == "cycle":
                cycle: list[Any] = [worker]
                cycle.append(cycle)
            del worker  # "drop": the handle's destructor has to do

    def _serve(self) -> bool:
        while True:
            try:
                self.serving = True
                self.worker.run()
                return True
            except (Alarm, KeyboardInterrupt, SystemExit):
                pass
            except ChildProcessError:  # a child
                pass
            except (RemoteError, OSError):
                return False
            finally:
                self.serving = False
                if os.getpid() != PID:
                    os._exit(0)


def alarmed(number: int, frame: object) -> None:
    if loops[0].serving:  # not between two loops
        raise Alarm(f"signal {number}")


def main() -> int:
    faulthandler.enable()
    signal.signal(signal.SIGUSR1, alarmed)
    signal.signal(signal.SIGALRM, alarmed)
    sys.unraisablehook = lambda _: None  # its stack would keep nothing, its text fill the log
    sys.setrecursionlimit(600)
    interrupter.start()
    loops.extend(Loop(sys.argv[1]) for _ in range(int(sys.argv[2])))
    threads = [threading.Thread(target=loop.run, daemon=True) for loop in loops[1:]]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    loops[0].run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
