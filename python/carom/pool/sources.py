# SPDX-License-Identifier: Apache-2.0
"""Where settings come from: the command line, else pyproject.toml, else the environment.

An option's value is the first one said in that order. Each is read by its kind, so a bad value is
answered in the same words wherever it stands, with the place in front; then what was said is
checked for contradictions. No part of this starts anything.

pyproject.toml is that of the current folder, or of the nearest folder above it that has a table
[tool.carom]. Above the current folder a file is taken only if it belongs to root, to this user or
to the owner of the current folder: nobody else decides what is run here.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carom.pool import kinds
from carom.pool.options import BY_NAME, DEFAULTS, OPTIONS, TARGET, Option
from carom.pool.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = "pyproject.toml"
DEFAULT = "default"
PLACES = 256
"""Most workers of a host (include/carom.h, carom_host_options)."""


class SettingsError(ValueError):
    """What was asked for cannot be; the text is one line for a person."""


@dataclass(frozen=True)
class Said:
    """A value as it was said, and where."""

    value: Any
    place: str


@dataclass(frozen=True)
class Effective:
    """All settings, and for each option's name where it was said."""

    settings: Settings
    origins: Mapping[str, str]

    def lines(self) -> list[tuple[str, str, str]]:
        """Option, value as it would be written, origin."""
        options = [TARGET, *(option for option in OPTIONS if not option.private)]
        return [
            (o.key, o.kind.show(getattr(self.settings, o.name)), self.origins[o.name])
            for o in options
        ]


def effective(
    arguments: Mapping[str, Any], folder: Path, environment: Mapping[str, str]
) -> Effective:
    """The settings that hold. Raises SettingsError.

    arguments    what the command line said, by the option's name
    folder       the current one
    environment  such as os.environ
    """
    said = from_environment(environment)
    said |= from_project(folder)
    said |= from_arguments(arguments)
    if "target" not in said:
        raise SettingsError(
            "what is to be served? write carom serve module:service, such as photo:service, or "
            f'target = "photo:service" under [tool.carom] in {PROJECT}'
        )
    values = {name: read(BY_NAME[name], one) for name, one in said.items()}
    values |= derived(values, said)
    origins = {name: said[name].place if name in said else DEFAULT for name in BY_NAME}
    return Effective(Settings(**values), origins)


def read(option: Option, said: Said) -> Any:
    """The value. Raises SettingsError."""
    try:
        return option.kind.read(said.value)
    except ValueError as error:
        raise SettingsError(f"{said.place}: {error}") from None


# ---- the three places


def from_arguments(arguments: Mapping[str, Any]) -> dict[str, Said]:
    """Of the command line."""
    found = {}
    for name, value in arguments.items():
        place = "command line" if name == "target" else BY_NAME[name].flag
        if value is False:
            place = place.replace("--", "--no-", 1)
        found[name] = Said(value, place)
    return found


def from_environment(environment: Mapping[str, str]) -> dict[str, Said]:
    """Variables of options; others may begin with CAROM_ too. An empty one says nothing."""
    return {
        option.name: Said(environment[option.variable], option.variable)
        for option in (TARGET, *OPTIONS)
        if not option.private and environment.get(option.variable, "").strip()
    }


def from_project(folder: Path) -> dict[str, Said]:
    """[tool.carom] of the nearest pyproject.toml. Raises SettingsError."""
    found = find_table(folder.absolute())
    if found is None:
        return {}
    path, table = found
    where = f"{near(path, folder)} [tool.carom]"
    said: dict[str, Said] = {}
    for key, value in table.items():
        option = known(key, where)
        if option.name in said:
            raise SettingsError(f"{where}: {option.key} is there twice, with - and with _")
        said[option.name] = Said(located(option, value, path.parent), f"{where} {key}")
    return said


def located(option: Option, value: Any, folder: Path) -> Any:
    """A relative path in a file is relative to that file."""
    if option.kind is kinds.FOLDER and isinstance(value, str) and value:
        return folder / Path(value).expanduser()
    return value


def near(path: Path, folder: Path) -> str:
    """Just its name if it is where one looks first."""
    return path.name if path.parent == folder.absolute() else str(path)


def find_table(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The nearest file that has the table, and the table."""
    owners = trusted_owners(folder)
    for place in (folder, *folder.parents):
        path = place / PROJECT
        if not path.is_file() or (place != folder and path.stat().st_uid not in owners):
            continue
        table = load(path)
        if table is not None:
            return path, table
    return None


def trusted_owners(folder: Path) -> set[int]:
    """Whose files above the current folder may say what is run in it."""
    return {0, os.getuid(), folder.stat().st_uid}


def load(path: Path) -> dict[str, Any] | None:
    """The table of a file, None if it has none."""
    try:
        tool = tomllib.loads(path.read_text("utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    table = tool.get("carom") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise SettingsError(f"{path}: tool.carom is not a table: write [tool.carom]")
    return table


def known(key: str, where: str) -> Option:
    """The option of a key. Raises SettingsError with the nearest one."""
    option = BY_NAME.get(key.replace("-", "_"))
    if option is not None and not option.private:
        return option
    if key == "dir":
        raise SettingsError(
            f"{where}: dir cannot be set here, because clients must find the same folder: "
            "use --dir or CAROM_DIR"
        )
    valid = [option.key for option in (TARGET, *OPTIONS) if not option.private]
    nearest = difflib.get_close_matches(key.replace("_", "-"), valid, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(valid)}"
    raise SettingsError(f"{where}: there is no option {key!r}; {hint}")


# ---- what follows from others, and what contradicts them


def derived(values: Mapping[str, Any], said: Mapping[str, Said]) -> dict[str, Any]:
    """Values that depend on others. Raises SettingsError for what cannot go together."""
    numbers = numbers_of_workers(values, said)
    refuse_crowd(numbers["max_workers"], values.get("threads", DEFAULTS["threads"]))
    return numbers | jitter(values, said) | {"timeout": values.get("timeout") or None}


def numbers_of_workers(values: Mapping[str, Any], said: Mapping[str, Said]) -> dict[str, int]:
    """workers, min_workers, max_workers."""

    def phrase(name: str) -> str:
        return f"{said[name].place} {values[name]}"

    if "min_workers" in values and "max_workers" not in values:
        raise SettingsError(
            f"{phrase('min_workers')}: needs --max-workers, the number it may grow to"
        )
    default = values.get("min_workers", DEFAULTS["workers"])
    workers = values.get("workers", default)
    least = values.get("min_workers", workers)
    most = values.get("max_workers", workers)
    if "min_workers" in values and most < least:
        raise SettingsError(f"{phrase('max_workers')} is less than {phrase('min_workers')}")
    if workers > most:
        raise SettingsError(f"{phrase('workers')} is more than {phrase('max_workers')}")
    if workers < least:
        raise SettingsError(f"{phrase('workers')} is less than {phrase('min_workers')}")
    return {"workers": workers, "min_workers": least, "max_workers": most}


def refuse_crowd(workers: int, threads: int) -> None:
    """Every thread of a worker takes a place at the host; an exchange needs those of one more."""
    needed = (workers + 1) * threads + 1
    if needed > PLACES:
        raise SettingsError(
            f"{workers} workers of {threads} thread{'s' if threads > 1 else ''} need {needed} "
            f"places (one worker more for exchanges, one place for the stand-in); "
            f"a service has {PLACES}"
        )


def jitter(values: Mapping[str, Any], said: Mapping[str, Said]) -> dict[str, int]:
    """max_requests_jitter: a tenth, or nothing where nothing is limited."""
    if "max_requests_jitter" in values and "max_requests" not in values:
        raise SettingsError(f"{said['max_requests_jitter'].place}: needs --max-requests")
    limit = values.get("max_requests", 0)
    chosen = values.get("max_requests_jitter", limit // 10)
    return {"max_requests_jitter": chosen if limit else 0}
