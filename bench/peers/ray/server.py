# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster of this machine with one actor per worker, on loopback and without dashboard.

Its address is "HOST:PORT,TOKEN": caller.py needs the path of the token that this server makes, as
Ray authenticates callers and would otherwise leave a token in the user's home.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import serving

STORE_BYTES = 512 << 20


def set_environment(token: Path) -> None:
    """What Ray reads from the environment, before it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # would be sent to its makers
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # only this keeps it on loopback
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])  # for the actors


class Worker:
    """The actor; Ray starts a process for each."""

    def __init__(self, options: serving.Options) -> None:
        self.handle = serving.handler(options)

    def answer(self, request: Any) -> bytes:
        """`bytes`, or an array of numpy that lies in the object store."""
        return bytes(self.handle(memoryview(request)))


def main() -> None:
    options = serving.begin(__doc__)
    serving.exit_on_sigterm()
    folder = Path(options.at).parent
    token = folder / "ray-token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    set_environment(token)
    import ray  # noqa: PLC0415

    context = ray.init(
        num_cpus=options.workers,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        namespace="bench",
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(folder),
    )
    try:
        workers = [
            ray.remote(Worker).options(name=f"worker{number}").remote(options)
            for number in range(options.workers)
        ]
        ray.get([worker.answer.remote(b"") for worker in workers])
        serving.ready(f"{context.address_info['address']},{token}")
        signal.pause()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
