# SPDX-License-Identifier: Apache-2.0
"""Builds the extension module carom._native with cffi in API mode.

The C library's own sources are compiled into the module, so that `pip install ./python` from a
checkout needs nothing but a C compiler. API mode makes the compiler check native/declarations.h
against include/carom.h: a declaration that has drifted is a build error, not a wrong struct.

The limited API is off because PyObject_Vectorcall is not part of it before Python 3.12.
"""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

HERE = Path(os.path.abspath("build_native.py")).parent
LIBRARY = HERE.parent / "lib"

# What API mode is for is always an error: declarations that differ from the header. Another
# warning, of a compiler we have not met, must not keep a user from installing; our Makefile is
# strict.
STRICT = (
    ["-Werror"]
    if os.environ.get("CAROM_STRICT")
    else ["-Werror=incompatible-pointer-types", "-Werror=implicit-function-declaration"]
)


def relative(path: Path) -> str:
    """Setuptools wants sources relative to the project folder."""
    return os.path.relpath(path, HERE)


ffibuilder = FFI()
ffibuilder.cdef((HERE / "native" / "declarations.h").read_text())
ffibuilder.set_source(
    "carom._native",
    '#include "native.h"',
    sources=[relative(path) for path in sorted((HERE / "native").glob("*.c"))]
    + [relative(path) for path in sorted(LIBRARY.glob("*.c"))],
    depends=[
        relative(path)
        for folder in (HERE / "native", LIBRARY, HERE.parent / "include")
        for path in sorted(folder.glob("*.h"))
    ],
    include_dirs=["native", "../include", "../lib"],
    define_macros=[("_CFFI_NO_LIMITED_API", None), ("CAROM_BUILD", None), ("_GNU_SOURCE", None)],
    extra_compile_args=[
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        *STRICT,
        "-fvisibility=hidden",
    ],
    # Bound at once: looking symbols up would be a good part of the first call.
    extra_link_args=["-Wl,-Bsymbolic", "-Wl,-z,now"],
    py_limited_api=False,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
