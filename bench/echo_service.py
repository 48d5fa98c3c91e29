# SPDX-License-Identifier: Apache-2.0
"""The carom service of the benchmarks: one Python method that returns its input.

`carom serve echo_service:service` runs it. It measures nothing. The handler never looks into the
bytes, and neither does the Python server on the socket (unix_server.py): in both, C code reads
every byte of the request and writes it into the reply.
"""

from __future__ import annotations

import carom

service = carom.Service("bench-py")


@service.method
def echo(view: memoryview) -> memoryview:
    """Returns its input."""
    return view
