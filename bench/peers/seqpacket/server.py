# SPDX-License-Identifier: Apache-2.0
"""A server on a Unix socket of type SOCK_SEQPACKET."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import connections, messages, serving


def main() -> None:
    options = serving.begin(__doc__)
    handle = serving.handler(options)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(options.at)
        listener.listen(64)
        connections.serve_by_workers(
            listener, options, lambda client: messages.make_step(client, handle)
        )


if __name__ == "__main__":
    main()
