# SPDX-License-Identifier: Apache-2.0
"""The service of the storm: echoes of several kinds, and one that writes down each of its runs."""

from __future__ import annotations

import os
import time

import carom

service = carom.Service("storm")
RECORD_BYTES = 16
"""Launch, thread and number of a call: the beginning of each request of client.c."""
runs_fd = -1


@service.on_start
def open_runs() -> None:
    """Records are appended by one write each, so that no death and no other worker cuts one."""
    global runs_fd  # noqa: PLW0603
    runs_fd = os.open(os.environ["STORM_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


@service.method
def echo(request: memoryview) -> memoryview:
    return request


@service.method(idempotent=True)
def again(request: memoryview) -> memoryview:
    return request


@service.method
def once(request: memoryview) -> memoryview:
    """Must not run twice, whatever happens; the driver looks for doubles. Most of its time lies
    between the record and the reply: who dies there has run, and the caller cannot know it.
    """
    os.write(runs_fd, request[:RECORD_BYTES])
    time.sleep(0.001)
    return request


@service.method
def slow(request: memoryview) -> memoryview:
    time.sleep(0.002)
    return request


@service.method
def hold(request: memoryview) -> None:
    """Until its worker is killed."""
    while True:
        time.sleep(3600)


@service.method
def nap(request: memoryview) -> bytes:
    """Sleeps so many seconds; which worker did."""
    time.sleep(float(bytes(request)))
    return b"%d" % os.getpid()
