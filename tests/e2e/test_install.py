# SPDX-License-Identifier: Apache-2.0
"""What `make install` copies is enough to build a program against, static and shared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
#include <carom.h>
#include <stdio.h>

int main(void)
{
    puts(carom_version());
    return carom_client_open("nobody-serves-this", 0, NULL, &(struct carom_client *){NULL}) == 0;
}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    command = ["make", "-C", str(ROOT), "install", "PREFIX=/opt/carom", f"DESTDIR={folder}"]
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=50)
    return folder / "opt" / "carom"


@pytest.mark.parametrize("kind", ["static", "shared"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_program_builds_against_the_installed_library(
    installed: Path, tmp_path: Path, compiler: str, kind: str
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    source = tmp_path / "program.c"
    source.write_text(PROGRAM)
    library = "-l:libcarom.a" if kind == "static" else "-lcarom"
    flags = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{installed}/include"]
    command = [compiler, *flags, "-o", str(tmp_path / "program"), str(source)]
    subprocess.run([*command, f"-L{installed}/lib", library, "-pthread"], check=True)
    ran = subprocess.run(
        [str(tmp_path / "program")],
        capture_output=True,
        text=True,
        check=True,
        env={"LD_LIBRARY_PATH": f"{installed}/lib", "CAROM_DIR": str(tmp_path)},
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", ran.stdout)


def test_the_shared_library_carries_its_soname_behind_two_links(installed: Path) -> None:
    library = installed / "lib" / "libcarom.so"
    assert library.readlink() == Path("libcarom.so.0")
    assert (installed / "lib" / "libcarom.so.0").readlink().name.startswith("libcarom.so.0.")
    headers = subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True)
    assert re.search(r"SONAME\s+libcarom\.so\.0\n", headers.stdout)


def test_the_pkg_config_file_names_where_it_was_installed(installed: Path) -> None:
    text = (installed / "lib" / "pkgconfig" / "carom.pc").read_text()
    assert "prefix=/opt/carom\n" in text
    assert re.search(r"^Version: \d+\.\d+\.\d+$", text, re.MULTILINE)
    assert "@" not in text
