# SPDX-License-Identifier: Apache-2.0
"""A server on a Unix stream socket; --spin never sleeps while a client is connected."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving, streams


def main() -> None:
    options = serving.begin(__doc__, "--spin")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(options.at)
        listener.listen(64)
        streams.serve(listener, options, spin="--spin" in options)


if __name__ == "__main__":
    main()
