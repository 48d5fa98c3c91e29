# SPDX-License-Identifier: Apache-2.0
"""A service that imports numpy, for respawn_ms, crash_notice_ms and first_call_ratio."""

from __future__ import annotations

import os
import socket

import carom
import numpy as np

service = carom.Service("pool-numpy")


@service.method
def echo(view: memoryview) -> memoryview:
    """Returns its input."""
    return view


@service.method
def pid(view: memoryview) -> bytes:
    """Which process answers; numpy has been at work in it."""
    return b"%d" % (os.getpid() + np.zeros(1, np.int64)[0])


@service.method
def hold(view: memoryview) -> None:
    """Tells its pid at the socket whose path is the request, and is busy until that hangs up."""
    with socket.socket(socket.AF_UNIX) as held:
        held.connect(bytes(view).decode())
        held.sendall(b"%d" % os.getpid())
        held.recv(1)
