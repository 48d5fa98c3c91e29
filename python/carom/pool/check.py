# SPDX-License-Identifier: Apache-2.0
"""`carom serve --check`: loads the application in a process of its own and says what is in it.

The process is `python -m carom.pool.check TARGET --result FD`; it writes JSON to the descriptor,
a file in memory, so that whatever the application leaves running keeps nobody waiting. What the
application prints goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from carom.application import failure_text
from carom.errors import ApplicationError
from carom.listing import table
from carom.pool.channel import DUMP_SIGNAL
from carom.pool.kinds import show_flag
from carom.pool.sources import Effective
from carom.text import exact_span, show_words

DUMP_S = 0.2
"""What a process that hangs gets to write where."""
WITHOUT_THIS_FOLDER = (
    "import sys; del sys.path[0]; from carom.pool import check; sys.exit(check.main())"
)


def check(found: Effective) -> int:
    """Prints what `carom serve` would serve, and how. Exit status: 0 it could, 1 it could not."""
    settings = found.settings
    start_s = time.monotonic()
    result = loaded(settings.target, settings.start_timeout, preload=settings.preload)
    took_s = time.monotonic() - start_s
    if "failed" in result:
        print(result["failed"], file=sys.stderr)
        return 1
    print(f"{settings.target}: service {settings.name or result['name']!r}", end="")
    print(f", loaded in {took_s:.2f} s\n")
    print(methods(result["methods"]))
    print(f"\n{hooks(result['hooks'])}\n")
    if result["warning"]:
        print(f"{warnings(result['warning'])}\n")
    print(table(["SETTING", "VALUE", "FROM"], found.lines(), words=(0, 1, 2)))
    return 0


def methods(found: dict[str, dict[str, Any]]) -> str:
    """A table."""
    rows = [
        (show_words(name), show_flag(traits["idempotent"]), limit(traits["timeout"]))
        for name, traits in found.items()
    ]
    return table(["METHOD", "IDEMPOTENT", "TIMEOUT"], rows, words=(0, 1, 2))


def limit(timeout_s: float | None) -> str:
    """Of a method."""
    return "none" if timeout_s is None else exact_span(timeout_s)


def hooks(found: dict[str, list[str]]) -> str:
    """A line for each kind."""
    return "\n".join(f"{kind}: {', '.join(names) or 'none'}" for kind, names in found.items())


def warnings(text: str) -> str:
    """A line for each."""
    return "\n".join(f"warning: {line}" for line in text.splitlines())


def loaded(target: str, limit_s: float, *, preload: bool) -> dict[str, Any]:
    """What a process of its own says of the application; "failed" and a text if it cannot."""
    result = os.memfd_create("check")
    try:
        arguments = command(target, result, preload=preload)
        with subprocess.Popen(arguments, pass_fds=[result], stdout=2) as process:
            late = not ends(process, limit_s)
        text = os.pread(result, os.fstat(result).st_size, 0)
    finally:
        os.close(result)
    if late:
        limit = exact_span(limit_s)
        return {"failed": f"carom: {target} did not finish loading in {limit} (--start-timeout)"}
    if not text:
        end = end_of(process.returncode)
        return {"failed": f"carom: the process {end} while it loaded {target}"}
    said: dict[str, Any] = json.loads(text)
    return said


def ends(process: subprocess.Popen[bytes], limit_s: float) -> bool:
    """Waits for it; after the limit has it write its stacks, and kills it."""
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.send_signal(DUMP_SIGNAL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(DUMP_S)
        process.kill()
        return False
    except KeyboardInterrupt:
        process.kill()
        raise
    return True


def end_of(status: int) -> str:
    """How it ended."""
    if status >= 0:
        return f"exited with status {status}"
    return f"was killed by {signal.Signals(-status).name}"


def command(target: str, result: int, *, preload: bool) -> list[str]:
    """How it is started. Our own imports must not find the application's files."""
    python = [sys.executable, "-P", "-m", "carom.pool.check"]
    if sys.version_info < (3, 11):  # has no -P
        python = [sys.executable, "-c", WITHOUT_THIS_FOLDER]
    return [*python, target, "--result", str(result), *(["--preload"] if preload else [])]


# ---- in the process


def main() -> int:
    """Loads and says what there is, or why it cannot be loaded. Exit status 0 or 1."""
    from carom.pool import fork  # noqa: PLC0415  # only here, not for the parent
    from carom.pool import loaded as loading  # noqa: PLC0415
    from carom.service import hook_name  # noqa: PLC0415

    faulthandler.register(DUMP_SIGNAL, all_threads=True)
    parser = argparse.ArgumentParser(prog="python -m carom.pool.check")
    parser.add_argument("target")
    parser.add_argument("--result", type=int, required=True)
    parser.add_argument("--preload", action="store_true")
    options = parser.parse_args()
    said: dict[str, Any]
    try:
        service = loading.load(options.target)
        message = loading.message(service, fork.dangers() if options.preload else ())
        found = {
            "on_load": service.load_hooks,
            "on_start": service.start_hooks,
            "warmup": service.warmup_hooks,
        }
        named = {kind: [hook_name(hook) for hook in each] for kind, each in found.items()}
        said = {"name": service.name, "hooks": named}
        said |= {name: message[name] for name in ("methods", "warning")}
    except ApplicationError as error:
        above = failure_text(error).removesuffix(str(error))
        said = {"failed": f"{above}carom: {error}"}
    write(options.result, json.dumps(said).encode())
    return int("failed" in said)


def write(fd: int, whole: bytes) -> None:
    """All of it."""
    while whole:
        whole = whole[os.write(fd, whole) :]


if __name__ == "__main__":
    sys.exit(main())
