# SPDX-License-Identifier: Apache-2.0
"""Finding the application's service by "module:attribute", running its hooks, saying why if
either cannot be done."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import TypeGuard, TypeVar

from carom.errors import ApplicationError
from carom.service import Service, hook_name

E = TypeVar("E", bound=BaseException)


def load(target: str) -> Service:
    """The service that `target` names. Raises ApplicationError.

    target  "package.module:attribute"; the attribute may be dotted
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ApplicationError(f"{target!r} names no service: write module:service")
    module = import_module(module_name)
    try:
        found = find(module, attribute)
    except ApplicationError:
        raise
    except BaseException as error:  # whatever a module or class does when asked for an attribute
        raise ApplicationError(
            f"cannot get {attribute!r} of {module_name}: {what_was_raised(error)}", own_part(error)
        ) from None
    if not isinstance(found, Service):
        raise ApplicationError(f"{target} is of type {type(found).__name__}, not a carom.Service")
    if not found.methods:
        raise ApplicationError(f"{target} has no methods: decorate functions with @service.method")
    return found


def run_load_hooks(service: Service, target: str) -> None:
    """Once after load(). Raises ApplicationError."""
    for hook in service.load_hooks:
        run_hook("load", target, hook)


def run_hook(kind: str, target: str, hook: Callable[..., object], *arguments: object) -> None:
    """Calls a hook; ApplicationError for whatever it raises."""
    try:
        hook(*arguments)
    except BaseException as error:  # whatever the application does there
        raise hook_error(kind, target, hook, error) from None


def hook_error(kind: str, target: str, hook: object, error: BaseException) -> ApplicationError:
    """Says which hook raised what."""
    return ApplicationError(
        f"{kind} hook {hook_name(hook)!r} of {target} {what_it_did(error)}", own_part(error)
    )


def search_here() -> None:
    """Puts the current folder first on the module search path, where people expect it."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)


def import_module(name: str) -> ModuleType:
    """Imports the application, or raises ApplicationError with the traceback of its own code."""
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the application does on import
        if is_a(error, ModuleNotFoundError) and is_within(error.name, name):
            raise ApplicationError(
                f"there is no module {error.name!r} in {os.getcwd()} or on the module search path"
            ) from None
        raise ApplicationError(
            f"cannot import {name}: {what_was_raised(error)}", own_part(error)
        ) from None


def is_within(missing: str | None, name: str) -> bool:
    """Whether what is missing is the module that was asked for, or a package around it."""
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def find(module: ModuleType, attribute: str) -> object:
    """An attribute of a module, dotted or not."""
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            services = [k for k, v in vars(module).items() if isinstance(v, Service)]
            hint = f"; its services are: {', '.join(services)}" if services else ""
            raise ApplicationError(f"module {module.__name__} has no {attribute!r}{hint}")
        found = getattr(found, part)
    return found


def is_a(error: BaseException, kind: type[E]) -> TypeGuard[E]:
    """isinstance() asks the exception for its class as well, which may raise."""
    return issubclass(type(error), kind)


def what_it_did(error: BaseException) -> str:
    """What a hook did, to go on with after its name."""
    if is_a(error, SystemExit):
        return f"called sys.exit({exit_code(error)})"
    return f"raised {what_was_raised(error)}"


def what_was_raised(error: BaseException) -> str:
    """Type and first line of an exception, in one line."""
    if is_a(error, SystemExit):
        return f"it called sys.exit({exit_code(error)})"
    line = first_line(error)
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def exit_code(error: SystemExit) -> str:
    """The argument of sys.exit."""
    return "" if error.code is None else made_by(repr, error.code)


def made_by(make: Callable[[object], str], value: object) -> str:
    """Text of something of the application's, even if it cannot say it."""
    try:
        return make(value)
    except BaseException:  # the application's code again; what it raises helps nobody
        return "<the text could not be made>"


def failure_text(error: ApplicationError) -> str:
    """The traceback, if there is one, and the line below it."""
    above = error.traceback.rstrip("\n")
    return f"{above}\n{error}" if above else str(error)


def first_line(error: BaseException) -> str:
    """First line of an exception's text."""
    return next(iter(made_by(str, error).splitlines()), "")


def own_part(error: BaseException) -> str:
    """The traceback of an import from the application's first frame on."""
    return made_by(lambda _: "".join(own_lines(error)), error)


def own_lines(error: BaseException) -> list[str]:
    """The same; fails with exceptions that are odd enough."""
    frames = error.__traceback__
    while frames is not None and is_machinery(frames):
        frames = frames.tb_next
    return traceback.format_exception(type(error), error, frames)


def is_machinery(frames: TracebackType) -> bool:
    """Whether a frame belongs to carom or to Python's import."""
    name = str(frames.tb_frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] in ("carom", "importlib", "_frozen_importlib")
