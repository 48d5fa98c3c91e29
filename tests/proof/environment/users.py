# SPDX-License-Identifier: Apache-2.0
"""Another user: refused unless the host allows it, and then trusted no further than it must be.

Needs root, to become somebody else. An abstract socket has no file that could keep anybody out:
there the host itself must refuse.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from kernels import denied, why_not
from stage import PYTHON, Stage, carom_mappings, open_fds, require

NOBODY = 65534
BOX = ("--uid", str(NOBODY))
ROLES = ("client 1", "worker", "observer")


def peer(stage: Stage, role: str, service: str, box: tuple[str, ...] = BOX) -> str:
    """What a peer says that is to be refused."""
    words = role.split()
    command = [stage.program("peer"), words[0], service, *words[1:]]
    return stage.start(*command, box=box).refused()


def must_say(answer: str, error: int, *texts: str) -> None:
    require(answer.startswith(f"failed {error} "), f"another error: {answer}")
    for text in texts:
        require(text in answer, f"it does not say '{text}': {answer}")


def refused_by_host(stage: Stage) -> None:
    service = f"@environment-{os.getpid()}"
    host = stage.host(service)
    stage.worker(service)
    client = stage.client(service)
    before = (open_fds(host.pid), carom_mappings(host.pid))
    for role in ROLES:
        must_say(peer(stage, role, service), errno.EACCES, f"uid {NOBODY} is not allowed", "uid 0")
    client.calls(4)
    require((open_fds(host.pid), carom_mappings(host.pid)) == before, "the refused left something")


def refused_if_not_listed(stage: Stage) -> None:
    stage.host("unlisted", 12345)
    for role in ROLES:
        must_say(peer(stage, role, "unlisted"), errno.EACCES, "allowed_uids")


def kept_out_by_files(stage: Stage) -> None:
    """The socket is its owner's, and so is the folder."""
    stage.host("closed")
    for role in ROLES:
        must_say(peer(stage, role, "closed"), errno.EACCES, "belongs to another user")
    stage.sockets.chmod(0o700)
    try:
        stage.host("listed", NOBODY)
        for role in ROLES:
            must_say(peer(stage, role, "listed"), errno.EACCES, "no permission")
    finally:
        stage.sockets.chmod(0o755)


def admitted(stage: Stage) -> None:
    stage.host("open", NOBODY)
    observer = stage.observer("open")
    theirs, ours = stage.worker("open", BOX), stage.worker("open")
    clients = [stage.client("open", BOX), stage.client("open")]
    for client, uid in zip(clients, (NOBODY, os.getuid()), strict=True):
        client.calls(20)
        answer = client.ask("who").split()
        require(answer[3] == str(uid), f"user {uid} is taken for {answer}")
    seen = observer.look()
    require({w["uid"] for w in seen["workers"]} == {NOBODY, os.getuid()}, f"workers: {seen}")
    for client in clients:
        client.kill()
    theirs.kill()
    ours.kill()
    observer.wait_clients(0)
    observer.wait_workers(0)


def served_by_another(stage: Stage) -> None:
    """Its host: other users' folders are not trusted, and root is a user like others to it."""
    folder = stage.folder / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    path = str(folder / "theirs.sock")
    stage.host(path, box=BOX)
    stage.worker(path, BOX)
    stage.client(path, BOX).calls(4)
    for role in ROLES:
        must_say(peer(stage, role, path, ()), errno.EACCES, "uid 0 is not allowed")
        box = ("--folder", str(folder))
        must_say(peer(stage, role, "theirs", box), errno.EACCES, "belongs to you")


def unsafe_folder(stage: Stage) -> None:
    stage.host("trusted")
    for mode in (0o777, 0o775, 0o757, 0o1777):
        stage.sockets.chmod(mode)
        try:
            for role in (*ROLES, "host"):
                must_say(
                    peer(stage, role, "trusted", ()),
                    errno.EACCES,
                    "nobody else can write to",
                    str(stage.sockets),
                )
        finally:
            stage.sockets.chmod(0o755)


def unsealed_memory(stage: Stage) -> None:
    """Another user could cut it while a worker reads it. Of the host's own user it is accepted."""
    unsealed = denied("memfd", error=errno.ENOSYS)
    host = stage.host("sealed", NOBODY)
    stage.worker("sealed")
    before = open_fds(host.pid)
    must_say(peer(stage, "client 1", "sealed", (*BOX, *unsealed)), errno.EPROTO, "not sealed")
    require(open_fds(host.pid) == before, "the refused left something")
    stage.client("sealed", unsealed).calls(4)
    stage.client("sealed", BOX).calls(4)


def python_pool(stage: Stage) -> None:
    words = ["serve", "application:service", "--name", "shared", "--allow-uid", str(NOBODY)]
    stage.start(PYTHON, "-m", "carom", *words).line()
    stage.client("shared", BOX).calls(20)
    must_say(
        peer(stage, "client 1", "shared", ("--uid", "12345")), errno.EACCES, "uid 12345 is not"
    )


def python_client(stage: Stage) -> None:
    stage.host("python", NOBODY)
    stage.worker("python")
    stage.caller("python", BOX).calls(20)


CHECKS: dict[str, tuple[str, Callable[[Stage], None]]] = {
    "refused": ("another user is refused by the host", refused_by_host),
    "unlisted": ("a user who is not in the list is refused", refused_if_not_listed),
    "files": ("socket and folder keep other users out", kept_out_by_files),
    "admitted": ("a user in the list is served", admitted),
    "theirs": ("root is refused by another user's host", served_by_another),
    "folder": ("a folder that others can write to is refused", unsafe_folder),
    "unsealed": ("another user's memory must be sealed", unsealed_memory),
    "python-pool": ("a user in the list is served by Python", python_pool),
    "python-client": ("a user in the list is served who uses Python", python_client),
}


def run_users(stage: Stage) -> None:
    if not any(stage.report.wants(f"users.{name}") for name in CHECKS):
        return
    if os.geteuid() != 0:
        stage.skip("users", "only root can become another user")
        return
    no_python = why_not(stage, BOX, PYTHON, "-c", "import carom")[-80:]
    for name, (text, body) in CHECKS.items():
        if name.startswith("python") and stage.report.scale == "planted":
            continue
        if name == "python-client" and no_python:
            stage.skip(f"users.{name}", f"user {NOBODY} cannot run it: {no_python}")
            continue
        if stage.report.wants(f"users.{name}"):
            with stage.check(f"users.{name}", text):
                body(stage)
