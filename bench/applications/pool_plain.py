# SPDX-License-Identifier: Apache-2.0
"""A service without imports, for launch_ms, autoscale_s and the exchanges under load."""

from __future__ import annotations

import time

import carom

HANDLER_S = 0.01

service = carom.Service("pool-plain")


@service.method
def echo(view: memoryview) -> memoryview:
    """Returns its input."""
    return view


@service.method
def rest(view: memoryview) -> None:
    """Takes its time and no CPU."""
    time.sleep(HANDLER_S)
