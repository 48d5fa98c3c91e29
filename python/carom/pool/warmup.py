# SPDX-License-Identifier: Apache-2.0
"""Warm-up hooks: calls through the whole path, before anybody else can call this worker.

The worker joins a private service of its own: a host in this process, the loop in the main thread,
the hooks in another. Rings, dispatch, handlers and replies are the real ones.
"""

from __future__ import annotations

import os
from threading import Thread

from carom.application import hook_error, what_it_did, what_was_raised
from carom.client import connect
from carom.dispatch import Worker
from carom.errors import ApplicationError
from carom.host import Host
from carom.pool.loops import end_forked_child
from carom.pool.manners import FAILED, Held, say_closed
from carom.service import Service


def warm_up(service: Service, target: str, held: Held, *, spin: bool | float = True) -> None:
    """Runs the warm-up hooks. Raises ApplicationError; nothing of it is left in either case.

    held  a descriptor of this process, to notice when a method or a hook closes them all
    """
    if not service.warmup_hooks:
        return
    name = f"@warmup-{os.urandom(16).hex()}"
    try:
        with Host(name) as host, Worker(service, name=name, spin=spin) as worker:
            hooks = Hooks(service, target, name, worker)
            hooks.start()
            try:
                run_calls(worker, target)
            finally:
                if not held.is_ours():  # the host cannot be told to end any more
                    say_closed(target)
                    os._exit(FAILED)
                host.close()  # calls that are still made fail now
                hooks.join()
    except (OSError, MemoryError, RuntimeError) as error:
        raise ApplicationError(f"cannot warm up {target}: {error}") from None
    if hooks.error is not None:
        raise hooks.error


def run_calls(worker: Worker, target: str) -> None:
    """Until the hooks have stopped the worker."""
    pid = os.getpid()
    error = None
    try:
        worker.run()
    except BaseException as raised:  # a handler's SystemExit, a lost connection
        error = raised
    if os.getpid() != pid:  # a handler has forked, and this is its child
        end_forked_child(error)
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        what = what_it_did(error)
        raise ApplicationError(f"a method of {target} {what} during the warm-up") from None
    if error is not None:
        raise error


class Hooks(Thread):
    """The warm-up hooks, in order; the first that raises is the last. Then the worker stops."""

    def __init__(self, service: Service, target: str, name: str, worker: Worker) -> None:
        super().__init__(name="carom-warmup", daemon=True)
        self.error: ApplicationError | None = None
        self._service = service
        self._target = target
        self._private_name = name
        self._worker = worker

    def run(self) -> None:
        """Makes the calls."""
        try:
            with connect(self._private_name, timeout=None, reconnect_timeout=0) as client:
                for hook in self._service.warmup_hooks:
                    self._call(hook, client)
        except ApplicationError as error:
            self.error = error
        except BaseException as error:  # or the worker would be taken for warm
            self.error = ApplicationError(
                f"cannot warm {self._target} up: {what_was_raised(error)}"
            )
        finally:
            self._worker.stop()

    def _call(self, hook: object, client: object) -> None:
        assert callable(hook)
        try:
            hook(client)
        except BaseException as error:  # whatever the application does there
            raise hook_error("warm-up", self._target, hook, error) from None
