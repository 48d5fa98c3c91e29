# SPDX-License-Identifier: Apache-2.0
"""Exceptions that are hard to describe, to drop or to survive, and hold a view."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Generator
from typing import Any, NoReturn

import carom

Raise = Callable[[memoryview], object]
LINKS = 2000


class Escape(BaseException):
    """No Exception: `except Exception` lets it through."""


class Alarm(Exception):
    """Raised by a signal's handler, anywhere."""


def value_error(view: memoryview) -> NoReturn:
    raise ValueError("a plain one")


def base_exception(view: memoryview) -> NoReturn:
    raise Escape(view)


def generator_exit(view: memoryview) -> NoReturn:
    raise GeneratorExit


def stop_iteration(view: memoryview) -> NoReturn:
    raise StopIteration(view)


def keyboard_interrupt(view: memoryview) -> NoReturn:
    raise KeyboardInterrupt(view)


def system_exit(view: memoryview) -> NoReturn:
    sys.exit(view)  # type: ignore[arg-type]


def class_only(view: memoryview) -> NoReturn:
    raise LookupError


def with_view(view: memoryview) -> NoReturn:
    raise KeyError(view, view[:1])


def without_text(view: memoryview) -> NoReturn:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError(view)

        __repr__ = __str__

    raise Mute(view)


def interrupting_text(view: memoryview) -> NoReturn:
    class Leaving(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    raise Leaving(view)


def no_text_at_all(view: memoryview) -> NoReturn:
    class Number(Exception):
        def __str__(self) -> Any:
            return 5  # noqa: PLE0307  # that is the point

    raise Number


def text_of_its_own(view: memoryview) -> NoReturn:
    class Text(str):
        def replace(self, *_: Any) -> Any:
            return Text(self)

        def encode(self, *_: Any) -> Any:
            return view

    class Subtle(Exception):
        def __str__(self) -> str:
            return Text("text")

    raise Subtle


def cyclic_cause(view: memoryview) -> NoReturn:
    first, second = ValueError(view), KeyError(view)
    first.__cause__, second.__cause__ = second, first
    first.__context__ = first
    raise first


def many_causes(view: memoryview) -> NoReturn:
    last: Exception = ValueError(view)
    for number in range(LINKS):
        following = KeyError(number)
        following.__context__ = last
        last = following
    raise last


def recursion(view: memoryview) -> object:
    return recursion(view[:1]) and view


def recursion_in_text(view: memoryview) -> NoReturn:
    class Deep(Exception):
        def __str__(self) -> str:
            return str(self)

    raise Deep


def no_memory(view: memoryview) -> object:
    return bytearray(sys.maxsize // 2)


def memory_error(view: memoryview) -> NoReturn:
    raise MemoryError(view)


def surrogates(view: memoryview) -> NoReturn:
    raise ValueError("\ud800 a lone one \udfff", "\0", chr(0x10FFFF))


def zeros(view: memoryview) -> NoReturn:
    raise ValueError("\0" * 1000)


def huge_message(view: memoryview) -> NoReturn:
    raise ValueError("\u20ac" * 1_500_000)


def chosen_status(view: memoryview) -> NoReturn:
    raise carom.Error(carom.Status(len(view) % 15 + 1), "chosen")


def odd_status(view: memoryview) -> NoReturn:
    error = carom.Error(carom.Status.ABORTED, "no status")
    error.status = view  # type: ignore[assignment]
    raise error


def status_zero(view: memoryview) -> NoReturn:
    error = carom.Error(carom.Status.ABORTED, "OK is none")
    error.status = 0  # type: ignore[assignment]
    raise error


def odd_module(view: memoryview) -> NoReturn:
    class Meta(type):
        @property
        def __module__(cls) -> str:  # type: ignore[override]
            raise ValueError(view)

    raise Meta("Homeless", (Exception,), {})(view)


def odd_attributes(view: memoryview) -> NoReturn:
    class Closed(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise ValueError(name)

    raise Closed(view)


def odd_notes(view: memoryview) -> NoReturn:
    error = ValueError("noted")
    vars(error)["__notes__"] = view
    raise error


def odd_syntax(view: memoryview) -> NoReturn:
    error = SyntaxError("here", ("file", 1, 1, "text"))
    error.lineno = error.text = error.offset = view  # type: ignore[assignment]
    raise error


def unicode_error(view: memoryview) -> object:
    return str(b"\xff" + view, "utf-8")


def failing_constructor(view: memoryview) -> NoReturn:
    class Unborn(Exception):
        def __init__(self) -> None:
            raise LookupError(view)

    raise Unborn


def in_finally(view: memoryview) -> NoReturn:
    try:
        raise ValueError(view)
    finally:
        raise KeyError(view)


def while_view_is_open(view: memoryview) -> NoReturn:
    with view[:]:
        raise ValueError(view)


def in_generator(view: memoryview) -> object:
    def give() -> Generator[memoryview]:
        try:
            yield view
        finally:
            raise RuntimeError("raised while it is closed")

    running = give()
    next(running)
    running.close()
    return None


def while_deleted(view: memoryview) -> NoReturn:
    class Sore:
        def __del__(self) -> None:
            raise ValueError(view)

    error = ValueError("its holder complains when it goes")
    error.sore = Sore()  # type: ignore[attr-defined]
    raise error


def holding_itself(view: memoryview) -> NoReturn:
    error = ValueError(view)
    error.args = (error, sys._getframe(), view)
    raise error


def group(view: memoryview) -> NoReturn:
    if sys.version_info < (3, 11):
        raise ValueError(view)
    inner = builtins.ExceptionGroup("inner", [ValueError(view), carom.Cancelled()])
    raise builtins.BaseExceptionGroup("outer", [inner, KeyboardInterrupt()])


def not_an_exception(view: memoryview) -> NoReturn:
    raise view  # type: ignore[misc]


def os_error(view: memoryview) -> NoReturn:
    raise OSError(2, view, view)


RAISES: dict[str, Raise] = {
    raising.__name__: raising
    for raising in (
        value_error,
        base_exception,
        generator_exit,
        stop_iteration,
        keyboard_interrupt,
        system_exit,
        class_only,
        with_view,
        without_text,
        interrupting_text,
        no_text_at_all,
        text_of_its_own,
        cyclic_cause,
        many_causes,
        recursion,
        recursion_in_text,
        no_memory,
        memory_error,
        surrogates,
        zeros,
        huge_message,
        chosen_status,
        odd_status,
        status_zero,
        odd_module,
        odd_attributes,
        odd_notes,
        odd_syntax,
        unicode_error,
        failing_constructor,
        in_finally,
        while_view_is_open,
        in_generator,
        while_deleted,
        holding_itself,
        group,
        not_an_exception,
        os_error,
    )
}
