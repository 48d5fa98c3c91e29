# SPDX-License-Identifier: Apache-2.0
"""A server on POSIX message queues: one for the requests of all clients, which all workers read,
and one per client for its answers.

A request begins with the number of its client, 8 bytes. posix_ipc is a thin layer in C over
mq_send and mq_receive.
"""

from __future__ import annotations

import sys
from pathlib import Path

import posix_ipc

sys.path.append(str(Path(__file__).resolve().parents[2]))
from peers import limits, serving

NUMBER_BYTES = 8
CLIENTS_MAX = 64
"""How many clients' queues are kept open."""


def serve(queue: posix_ipc.MessageQueue, handle: serving.Handler) -> None:
    receive = queue.receive
    answers: dict[bytes, posix_ipc.MessageQueue] = {}
    while True:
        message, _ = receive()
        client = message[:NUMBER_BYTES]
        if client not in answers:
            forget(answers)
            answers[client] = open_answers(queue.name, client)
        answers[client].send(handle(memoryview(message)[NUMBER_BYTES:]))


def open_answers(name: str, client: bytes) -> posix_ipc.MessageQueue:
    return posix_ipc.MessageQueue(f"{name}.{int.from_bytes(client, sys.byteorder)}", read=False)


def forget(answers: dict[bytes, posix_ipc.MessageQueue]) -> None:
    """Closes the queues of old clients; of one that is still there it is opened again."""
    if len(answers) == CLIENTS_MAX:
        for queue in answers.values():
            queue.close()
        answers.clear()


def main() -> None:
    options = serving.begin(__doc__)
    name = "/carom-bench-" + options.at.strip("/").replace("/", "-")[-200:]
    queue = posix_ipc.MessageQueue(
        name,
        posix_ipc.O_CREX,
        mode=0o600,
        max_messages=limits.queue_messages(),
        max_message_size=limits.queue_message_bytes(),
        write=False,
    )
    serving.prefork(options)
    if options.worker == 0:
        serving.exit_on_sigterm()
    serving.ready(name, options.worker)
    try:
        serve(queue, serving.handler(options))
    except posix_ipc.SignalError:
        pass  # it was interrupted; SystemExit follows
    finally:
        if options.worker == 0:
            queue.unlink()


if __name__ == "__main__":
    main()
