# SPDX-License-Identifier: Apache-2.0
"""The supervisor's event loop: descriptors, timers and signals, a function for each.

Signals arrive as bytes of a wakeup descriptor (signal.set_wakeup_fd), so that what they mean is
done between two events and never inside one. An exception of a function leaves turn(): who runs
the loop decides what it means.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Protocol

Function = Callable[[], None]
RING = 0
"""The byte of ring(): no signal has this number."""


class HasFileno(Protocol):
    """What can be watched."""

    def fileno(self) -> int: ...


Source = int | HasFileno


class Timer:
    """A function that is due at a time, unless cancelled before."""

    def __init__(self, function: Function) -> None:
        self.function: Function | None = function

    def cancel(self) -> None:
        """It is not due any more. Any time, also when it has run."""
        self.function = None


class Loop:
    """To be made, run and closed by the main thread; ring() may come from any.

    signals    these are caught and given to on_signal, one by one
    on_ring    what ring() asks for
    """

    def __init__(
        self, signals: Iterable[int], on_signal: Callable[[int], None], on_ring: Function
    ) -> None:
        self._on_signal = on_signal
        self._on_ring = on_ring
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self.watch(self._bell, self._rung)
        self._old_fd = signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, lambda *_: None) for number in signals}

    def watch(self, source: Source, function: Function) -> None:
        """Calls a function whenever a descriptor is readable or has reached its end."""
        self._selector.register(source, selectors.EVENT_READ, function)

    def unwatch(self, source: Source) -> None:
        """Before its descriptor is closed."""
        self._selector.unregister(source)

    def after(self, delay_s: float, function: Function) -> Timer:
        """Calls a function once, in so many seconds."""
        timer = Timer(function)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), timer))
        return timer

    def ring(self) -> None:
        """Makes the loop call on_ring."""
        self._ringer.send(bytes([RING]))

    def turn(self) -> None:
        """Waits for what comes next and calls its functions."""
        for key, _ in self._selector.select(self._timeout_s()):
            if self._is_watched(key):  # an earlier function may have ended it
                key.data()
        while self._timers and self._timers[0][0] <= time.monotonic():
            function = heapq.heappop(self._timers)[2].function
            if function is not None:
                function()

    def close(self) -> None:
        """Gives the signals back."""
        signal.set_wakeup_fd(self._old_fd)
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._selector.close()
        self._bell.close()
        self._ringer.close()

    def _timeout_s(self) -> float | None:
        while self._timers and self._timers[0][2].function is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _is_watched(self, key: selectors.SelectorKey) -> bool:
        now = self._selector.get_map().get(key.fd)
        return now is not None and now.data is key.data

    def _rung(self) -> None:
        for number in dict.fromkeys(self._bell.recv(4096)):
            if number == RING:
                self._on_ring()
            else:
                self._on_signal(number)
