# SPDX-License-Identifier: Apache-2.0
"""Shared memory where the kernel has no memfd: without a name, or with one for a moment only.

A process is killed in the very moment in which its memory would have a name, and none may be left.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from kernels import contained, denied, why_not
from stage import Peer, Stage, require

NO_MEMFD = denied("memfd", error=errno.ENOSYS)
NO_TMPFILE = (*NO_MEMFD, *denied("tmpfile", error=errno.EOPNOTSUPP))


def ours() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("carom")}


def at_removal(stage: Stage) -> None:
    """Killed when it would remove the name: there is none, so it is not killed at all."""
    before = ours()
    try:
        stage.host("nameless")
        stage.worker("nameless", (*NO_MEMFD, "--kill-at", "unlink"))
        stage.client("nameless", (*NO_MEMFD, "--kill-at", "unlink")).calls(4)
    finally:
        left = ours() - before
        for name in left:
            os.unlink(f"/dev/shm/{name}")
    require(not left, f"left behind in /dev/shm: {left}")


def with_a_name(stage: Stage) -> None:
    """A file system that cannot make files without names: the name is removed at once."""
    before = ours()
    stage.host("named", box=NO_TMPFILE)
    stage.worker("named", NO_TMPFILE)
    stage.client("named", NO_TMPFILE).calls(20)
    require(ours() == before, f"a name stays: {ours() - before}")


def says(stage: Stage, box: tuple[str, ...], text: str) -> None:
    """Nobody can begin, and each says why."""
    for role in (["host"], ["client", "1"]):
        service = "silent"
        if role[0] != "host":
            stage.host(service)
        command = [stage.program("peer"), role[0], service, *role[1:]]
        answer = stage.start(*command, box=box).refused()
        require(text in answer, f"it does not say '{text}': {answer}")


def without_anything(stage: Stage) -> None:
    says(stage, contained(stage, *NO_MEMFD, "--shm", "none"), "cannot create shared memory")


def without_proc(stage: Stage) -> None:
    says(stage, contained(stage, "--proc", "none"), "is /proc mounted?")


def launch(stage: Stage) -> None:
    """carom_launch watches its supervisor by a pidfd; without, it says so."""
    words = [stage.program("peer"), "launch", "application:service"]
    peer: Peer = stage.start(*words).ready()
    peer.calls(4)
    peer.leave()
    for error in (errno.ENOSYS, errno.EPERM):
        answer = stage.start(*words, box=denied("pidfd", error=error)).refused()
        require("cannot watch" in answer and os.strerror(error) in answer, answer)


def run_memory(stage: Stage) -> None:
    checks: dict[str, tuple[str, Callable[[Stage], None]]] = {
        "killed": ("memory never has a name that a kill could leave behind", at_removal),
        "named": ("where it must have a name, that is gone at once", with_a_name),
        "none": ("without memfd and /dev/shm everybody says so", without_anything),
        "proc": ("without /proc everybody says so", without_proc),
        "launch": ("carom_launch without pidfd says so", launch),
    }
    if not os.access("/dev/shm", os.W_OK):
        stage.skip("memory", "no /dev/shm")
        return
    no_container = why_not(stage, contained(stage))
    for name, (text, body) in checks.items():
        if not stage.report.wants(f"memory.{name}"):
            continue
        if name in ("none", "proc") and no_container:
            stage.skip(f"memory.{name}", no_container)
        elif name != "launch" or stage.report.scale != "planted":
            with stage.check(f"memory.{name}", text):
                body(stage)
