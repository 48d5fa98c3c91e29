# SPDX-License-Identifier: Apache-2.0
"""The methods of peer.h in Python, and handlers that fork."""

from __future__ import annotations

import multiprocessing
import os
import time
import zlib

import carom

service = carom.Service("environment")


@service.method
def mix(request: memoryview) -> bytes:
    return zlib.crc32(request).to_bytes(4, "little") + request


@service.method
def hold(request: memoryview, context: carom.Context) -> None:
    while not context.cancelled():
        time.sleep(0.001)


@service.method
def who(request: memoryview, context: carom.Context) -> bytes:
    return "{} {} {}".format(*context.client).encode()


def tried_in_child(context: carom.Context) -> int:
    """What a forked child may do with the call of its parent: how much of it was as it must be."""
    as_it_must = int(context.cancelled())
    try:
        context.reply(1)
    except (RuntimeError, ChildProcessError):
        as_it_must += 1
    return as_it_must


@service.method
def fork(request: memoryview, context: carom.Context) -> bytes:
    """A child that tries to use the call of its parent and ends; its status."""
    child = os.fork()
    if child == 0:
        os._exit(tried_in_child(context))
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()


@service.method
def fork_and_return(request: memoryview) -> bytes:
    """A child that returns from the handler as its parent does, and may not answer."""
    child = os.fork()
    if child == 0:
        return b"the child's"
    os.waitpid(child, 0)
    return b"the parent's"


def square(number: int) -> int:
    return number * number


@service.method
def processes(request: memoryview) -> bytes:
    """The library's own way of forking."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return str(sum(pool.map(square, range(10)))).encode()


@service.method
def outlive(request: memoryview) -> bytes:
    """A child that goes on when its parent ends; its process id."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    return str(child).encode()
