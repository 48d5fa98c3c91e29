# SPDX-License-Identifier: Apache-2.0
"""A service as the application writes it down: its name and its methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from carom.binding import METHOD_NAME_BYTES, SERVICE_NAME_BYTES

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)

OPTIONAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Method:
    """A function that callers can call by name."""

    name: str
    handler: Handler
    takes_context: bool


class Service:
    """A named set of methods.

        service = carom.Service("photo")

        @service.method
        def size(request: memoryview) -> bytes: ...

    name  how callers find it: 1 to 63 bytes; with a "/" in it, the path of its socket
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError("a service needs a name, such as carom.Service('photo')")
        if "/" not in name:
            refuse_long("service", name, SERVICE_NAME_BYTES)
        self.name = name
        self.methods: dict[str, Method] = {}

    def __repr__(self) -> str:
        return f"carom.Service({self.name!r}, methods: {', '.join(self.methods) or 'none'})"

    @overload
    def method(self, handler: H, /) -> H: ...
    @overload
    def method(self, handler: None = None, /, *, name: str) -> Callable[[H], H]: ...
    def method(self, handler: H | None = None, /, *, name: str | None = None) -> Any:
        """Decorator: makes a function callable under its name, or under `name`.

        The function gets the request as a read-only memoryview of shared memory, and a
        `carom.Context` if it has a second parameter without a default. It returns any contiguous
        bytes-like object, or None for an empty reply. A view that it keeps after returning
        becomes a private copy. It runs in one thread of each worker, one call at a time.
        """
        if handler is not None:
            self._add(handler, name)
            return handler

        def decorate(handler: H) -> H:
            self._add(handler, name)
            return handler

        return decorate

    def _add(self, handler: Handler, name: str | None) -> None:
        if not callable(handler):
            raise TypeError(f"a method is a function, not {type(handler).__name__}")
        if name is None:
            name = getattr(handler, "__name__", "")
            if not name.isidentifier():
                raise ValueError(f"{handler!r} has no name to be called by: use method(name=...)")
        refuse_long("method", name, METHOD_NAME_BYTES)
        if name in self.methods:
            raise ValueError(f"service {self.name!r} already has a method {name!r}")
        self.methods[name] = Method(name, handler, takes_context(name, handler))


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
