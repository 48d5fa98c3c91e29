# SPDX-License-Identifier: Apache-2.0
"""Builds the caller with the library of the interpreter that runs this script.

The flags are those of `python3-config --embed`, asked of the interpreter itself: the program of
that name may belong to another one, or be missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

DEBIAN = "on Debian they are in python3-dev, and in python3.X-dev for another version"


def variable(name: str) -> str:
    return str(sysconfig.get_config_var(name) or "")


def compiler_flags() -> str:
    """Headers are the system's: they may do what our warnings forbid."""
    folders = dict.fromkeys(sysconfig.get_path(kind) for kind in ("include", "platinclude"))
    if not any(Path(folder, "Python.h").exists() for folder in folders):
        sys.exit(f"embed: {sys.executable} has no headers (Python.h): {DEBIAN}")
    return " ".join(f"-isystem {folder}" for folder in folders)


def linker_flags() -> str:
    """The shared library where the interpreter has one, else the static one."""
    system = f"{variable('LIBS')} {variable('SYSLIBS')}"
    shared = Path(variable("LIBDIR"), variable("LDLIBRARY"))
    static = Path(variable("LIBPL"), variable("LIBRARY"))
    if variable("Py_ENABLE_SHARED") == "1" and shared.exists():
        return f"{shared} -Wl,-rpath,{shared.parent} {system}"
    if static.exists():
        return f"{static} -Wl,--export-dynamic {system}"
    sys.exit(f"embed: {sys.executable} has no library (lib{static.stem[3:]}): {DEBIAN}")


def main() -> int:
    build, root = Path(os.environ["BUILD"]), Path(os.environ["BENCH"]).parent
    flags = [f"PEER_FLAGS={compiler_flags()}", f"PEER_LIBS={linker_flags()}"]
    built_with = build / "flags"
    if not built_with.exists() or built_with.read_text() != "\n".join(flags):
        for stale in (build / "transport.c.o", build / "client"):
            stale.unlink(missing_ok=True)
        built_with.write_text("\n".join(flags))
    make = [os.environ.get("MAKE", "make"), "--no-print-directory", "-s", "-C", str(root)]
    target = os.path.relpath(build / "client", root)
    return subprocess.run([*make, target, "PEER_SOURCES=transport.c", *flags]).returncode


if __name__ == "__main__":
    sys.exit(main())
