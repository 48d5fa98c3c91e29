# SPDX-License-Identifier: Apache-2.0
"""A service as the application writes it down: its name, its methods, its hooks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from carom.binding import METHOD_NAME_BYTES, SERVICE_NAME_BYTES

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)
Hook = TypeVar("Hook", bound=Callable[..., object])

OPTIONAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Method:
    """A function that callers can call by name."""

    name: str
    handler: Handler
    takes_context: bool
    idempotent: bool = False
    timeout: float | None = None


class Service:
    """A named set of methods, and what is to be done before they can be called.

        service = carom.Service("photo")

        @service.method
        def size(request: memoryview) -> bytes: ...

        @service.on_load
        def load_model() -> None: ...

    name  how callers find it: 1 to 63 bytes; with a "/" in it, the path of its socket
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError("a service needs a name, such as carom.Service('photo')")
        if "/" not in name:
            refuse_long("service", name, SERVICE_NAME_BYTES)
        self.name = name
        self.methods: dict[str, Method] = {}
        self.load_hooks: list[Callable[[], object]] = []
        self.start_hooks: list[Callable[[], object]] = []
        self.warmup_hooks: list[Callable[..., object]] = []

    def __repr__(self) -> str:
        return f"carom.Service({self.name!r}, methods: {', '.join(self.methods) or 'none'})"

    @overload
    def method(self, handler: H, /) -> H: ...
    @overload
    def method(
        self,
        handler: None = None,
        /,
        *,
        name: str | None = None,
        idempotent: bool = False,
        timeout: float | None = None,
    ) -> Callable[[H], H]: ...
    def method(
        self,
        handler: H | None = None,
        /,
        *,
        name: str | None = None,
        idempotent: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Decorator: makes a function callable under its name, or under `name`.

            @service.method
            def size(request: memoryview) -> bytes: ...

            @service.method(name="blur.fast", idempotent=True, timeout=2.0)
            def blur(request: memoryview, context: carom.Context) -> bytes: ...

        name        what callers call it
        idempotent  it may be run twice for one call: callers repeat a call whose worker died
        timeout     seconds after which `carom serve` takes a call for stuck and interrupts it,
                    instead of what --timeout says

        The function gets the request as a read-only memoryview of shared memory, and a
        `carom.Context` if it has a second parameter without a default. It returns any contiguous
        bytes-like object, or None for an empty reply. A view that it keeps after returning
        becomes a private copy. It runs in one thread of each worker, one call at a time; with
        `carom serve --threads N` in N.
        """

        def decorate(handler: H) -> H:
            self._add(handler, name, idempotent, timeout)
            return handler

        return decorate if handler is None else decorate(handler)

    def on_load(self, hook: Hook) -> Hook:
        """Decorator: a function to be called once after the application's import, for models and
        tables. What it leaves in memory is shared by all workers of `carom serve`, which forks
        them afterwards; with --no-preload each worker calls it for itself.

            @service.on_load
            def load_model() -> None:
                global model
                model = numpy.load("model.npy")

        Generators of random numbers that it makes are the same in every worker: make them in
        on_start. (`random` and numpy's global generator are seeded anew in each worker.) Threads,
        connections and CUDA do not survive the fork either.
        """
        self.load_hooks.append(checked_hook("on_load", hook, ()))
        return hook

    def on_start(self, hook: Hook) -> Hook:
        """Decorator: a function to be called in each worker process, before it takes calls.

        @service.on_start
        def connect_database() -> None: ...
        """
        self.start_hooks.append(checked_hook("on_start", hook, ()))
        return hook

    def warmup(self, hook: Hook) -> Hook:
        """Decorator: a function that makes calls which a new worker runs before callers see it,
        through the whole path. Its client is connected to that one worker.

            @service.warmup
            def first_calls(client: carom.Client) -> None:
                client.call("blur", bytes(1000))

        A worker whose warm-up raises is not used.
        """
        self.warmup_hooks.append(checked_hook("warmup", hook, ("client",)))
        return hook

    def _add(
        self, handler: Handler, name: str | None, idempotent: bool, timeout: float | None
    ) -> None:
        if not callable(handler):
            raise TypeError(f"a method is a function, not {type(handler).__name__}")
        if name is None:
            name = getattr(handler, "__name__", "")
            if not name.isidentifier():
                raise ValueError(f"{handler!r} has no name to be called by: use method(name=...)")
        refuse_long("method", name, METHOD_NAME_BYTES)
        if name in self.methods:
            raise ValueError(f"service {self.name!r} already has a method {name!r}")
        refuse_bad_timeout(name, timeout)
        if not isinstance(idempotent, bool):
            raise TypeError(f"method {name!r}: idempotent is True or False, not {idempotent!r}")
        context = takes_context(name, handler)
        self.methods[name] = Method(name, handler, context, idempotent, timeout)


def refuse_bad_timeout(name: str, timeout: object) -> None:
    """Raises for what is no time in seconds above 0; None is one."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"method {name!r}: a timeout is a number of seconds, not {timeout!r}")
    if not 0 < timeout < math.inf:
        raise ValueError(f"method {name!r}: a timeout is more than 0 seconds, not {timeout}")


def checked_hook(kind: str, hook: Hook, arguments: tuple[str, ...]) -> Hook:
    """The hook itself. TypeError when it cannot be called with these arguments."""
    if not callable(hook):
        raise TypeError(f"{kind} needs a function, not {type(hook).__name__}")
    name = hook_name(hook)
    if inspect.iscoroutinefunction(hook) or inspect.isasyncgenfunction(hook):
        raise TypeError(f"{kind} hook {name!r} is async: only plain functions are called")
    if inspect.isgeneratorfunction(hook):
        raise TypeError(f"{kind} hook {name!r} is a generator: calling it would not run it")
    try:
        signature = inspect.signature(hook)
    except ValueError:  # built in, without a signature
        return hook
    try:
        signature.bind(*arguments)
    except TypeError:
        wanted = f"({', '.join(arguments)})"
        raise TypeError(f"{kind} hook {name!r} must take {wanted}, not {signature}") from None
    return hook


def hook_name(hook: object) -> str:
    """What a hook is called in messages."""
    return str(getattr(hook, "__name__", None) or repr(hook))


def refuse_long(kind: str, name: str, limit_bytes: int) -> None:
    """Raises for a name that the library cannot hold."""
    length = len(name.encode())
    if not 1 <= length <= limit_bytes or "\0" in name:
        raise ValueError(
            f"the {kind} name {name!r} has {length} bytes: 1 to {limit_bytes} without NUL will do"
        )


def takes_context(name: str, handler: Handler) -> bool:
    """Whether a handler asks for the context: a second positional parameter without a default."""
    if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
        raise TypeError(f"method {name!r} is async: a worker calls plain functions only")
    try:
        parameters = inspect.signature(handler).parameters.values()
    except ValueError:  # built in, without a signature
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    required = [p for p in parameters if p.default is p.empty and p.kind not in OPTIONAL]
    accepts = len(positional) >= 1 or variadic
    if not accepts or len(required) > 2 or any(p.kind is p.KEYWORD_ONLY for p in required):
        raise TypeError(
            f"method {name!r} must take (request) or (request, context), "
            f"not {inspect.signature(handler)}"
        )
    return len(required) == 2
