# SPDX-License-Identifier: Apache-2.0
"""What the runner knows of a peer: every folder peers/NAME has a peer.py with a tuple `PEERS`.

A folder is one way to reach a server; a `Peer` is one row of the report: that way in one
configuration. Several rows may share a folder (its client program, its server).

Command lines are tuples in which these words are replaced: {python} the interpreter of the bench
environment, {peer} the peer's folder in the source tree, {build} its folder under
build/bench/peers, {at} where server and client meet (a path in a fresh folder; a peer that needs a
port or a name derives it from this path or prints it, see `Peer.server`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """One row: who calls whom, how, with which settings."""

    name: str
    """For the command line and the results: lower case, digits and hyphens."""
    title: str
    """For tables and plots: at most 32 characters."""
    group: str
    """"carom", "kernel", "library", "embedded" or "floor"."""
    caller: str
    """The caller's language: "C", "C++", "Rust", "Python"."""
    server_language: str
    """The server's."""
    settings: str
    """One or two sentences for the report: which API, which options, how each side waits. What a
    peer's author has to know to call the comparison fair."""

    server: tuple[str, ...] = ()
    """Starts the server; prints one line on stdout when ready, "ready" or "ready ADDRESS": then
    ADDRESS is what the client gets as `at`. Understands --at PATH, --cpu N (pin, also its
    children), --compute ITERATIONS (work.compute per call), and --workers N when `workers_max` > 1;
    ends on SIGTERM with all its children. Empty: the client starts what it needs."""
    client: tuple[str, ...] = ("{build}/client",)
    """The driver (name=value arguments follow), or for a Python caller ("{python}",
    "{peer}/caller.py"), which takes the same arguments and prints the same."""
    option: str = ""
    """Passed to the client as option=..."""

    build: tuple[str, ...] = ()
    """Builds client and server, run in the peer's folder with BUILD and BENCH in the environment;
    empty: nothing to build, or `libraries`/`client_sources` say how make builds the driver."""
    client_sources: tuple[str, ...] = ("transport.c",)
    """C sources of the folder linked with the driver; C++ by suffix .cc."""
    libraries: tuple[str, ...] = ()
    """For the linker: "-lzmq"."""
    server_sources: tuple[str, ...] = ()
    """C sources of a server program, built as {build}/server with the same libraries."""
    packages: tuple[str, ...] = ()
    """Debian packages needed to build and run."""
    needs: tuple[str, ...] = ()
    """Commands that must exist and are not installed by us, as "cargo"."""

    bytes_max: int = 16 << 20
    """No larger request can be sent."""
    depth_max: int = 1
    """Calls in flight on one connection."""
    clients_max: int = 16
    """Client processes at a time."""
    workers_max: int = 1
    """Server processes; more than 1 when `server` understands --workers."""
    spins: bool = False
    """Both sides spin and need a CPU each: not run on one CPU, nor with more processes than
    CPUs."""
    slow: bool = False
    """A call takes milliseconds: fewer rounds and sizes."""
    optional: bool = False
    """Large to install: measured when its Python packages are there already or when it was asked
    for by name, else skipped with that reason."""
