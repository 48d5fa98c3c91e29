# SPDX-License-Identifier: Apache-2.0
"""Tells systemd how the service is: the protocol of the manual page sd_notify(3).

    One datagram of lines VARIABLE=VALUE to the AF_UNIX socket $NOTIFY_SOCKET, which is a path, or
    with an @ in front the name of an abstract socket. READY=1 start-up (or a reload) is finished;
    RELOADING=1 with MONOTONIC_USEC= it begins; STOPPING=1 the end begins; STATUS= a line for
    people; WATCHDOG=1 still alive. The manual page of sd_watchdog_enabled(3): $WATCHDOG_USEC is the
    time within which that is wanted, for the process $WATCHDOG_PID if that is set; it is said every
    half of it.

Without the variable every function does nothing. A manager that is gone or does not read is no
reason to wait or to end.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """The connection to the service manager, if there is one.

    The variables are taken out of the environment, so that workers do not speak for the service.

    watchdog_s  how often watchdog() is to be called; None: never
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        address = variables.pop("NOTIFY_SOCKET", "")
        limit_us = variables.pop("WATCHDOG_USEC", "")
        pid = variables.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address.startswith(("/", "@")) and len(address) > 1:  # others are for later protocols
            self._socket = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            )
        self.watchdog_s = watchdog_interval(limit_us, pid) if self._socket else None

    def ready(self, status: str = "") -> None:
        """Start-up or reload is finished."""
        self._send("READY=1", status)

    def status(self, status: str) -> None:
        """A line for `systemctl status`."""
        self._send("", status)

    def reloading(self, status: str = "") -> None:
        """A reload begins; ready() ends it, also when it failed."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", status)

    def stopping(self, status: str = "") -> None:
        """The end begins."""
        self._send("STOPPING=1", status)

    def watchdog(self) -> None:
        """Still alive."""
        self._send("WATCHDOG=1", "")

    def close(self) -> None:
        """Says nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, lines: str, status: str) -> None:
        if self._socket is None:
            return
        said = [lines] if lines else []
        if status:
            said.append(f"STATUS={' '.join(status.split())}")
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join(said).encode("utf-8", "replace"), self._address)


def watchdog_interval(limit_us: str, pid: str) -> float | None:
    """Half of the time within which the manager wants to hear something."""
    meant = not pid or pid == str(os.getpid())
    if not meant or not limit_us.isdecimal() or int(limit_us) == 0:
        return None
    return int(limit_us) / 2e6
