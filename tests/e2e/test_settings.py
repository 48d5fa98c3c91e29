# SPDX-License-Identifier: Apache-2.0
"""What `carom serve` is asked for: where it is said, what a bad value gets, contradictions."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from carom.pool import sources
from carom.pool.options import BY_NAME, OPTIONS, add_options
from carom.pool.settings import Settings
from carom.pool.sources import DEFAULT, Effective, SettingsError, effective
from processes import carom as command

TARGET = {"target": "photo:service"}
DERIVED = ("max_requests_jitter", "min_workers")
"""Not to be said without another one."""


def settings(folder: Path, arguments: Mapping[str, Any] = TARGET, **environment: str) -> Settings:
    return effective(arguments, folder, environment).settings


def project(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(f"[tool.carom]\n{text}\n")
    return folder


def refused(folder: Path, arguments: Mapping[str, Any] = TARGET, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(folder, arguments, **environment)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ---- precedence


def test_nothing_said_is_the_defaults(tmp_path: Path) -> None:
    found = effective(TARGET, tmp_path, {})
    assert found.settings == Settings("photo:service")
    assert {found.origins[option.name] for option in OPTIONS} == {DEFAULT}


def test_every_setting_is_an_option_and_every_option_a_setting() -> None:
    assert {field.name for field in fields(Settings)} == set(BY_NAME)


def test_every_default_can_be_said_as_it_is_shown(tmp_path: Path) -> None:
    for option in OPTIONS:
        default = getattr(Settings("photo:service"), option.name)
        if option.name in DERIVED or default is None or default == ():
            continue
        found = settings(tmp_path, {**TARGET, option.name: option.kind.show(default)})
        assert getattr(found, option.name) == default, option.name


def test_command_line_before_pyproject_before_environment(tmp_path: Path) -> None:
    said = {"CAROM_WORKERS": "2", "CAROM_THREADS": "2", "CAROM_MAX_RSS": "2G"}
    project(tmp_path, "workers = 3\nthreads = 3")
    found = effective({**TARGET, "workers": "4"}, tmp_path, said)
    assert (found.settings.workers, found.settings.threads) == (4, 3)
    assert found.settings.max_rss == 2 << 30
    origins = [found.origins[name] for name in ("workers", "threads", "max_rss", "spin")]
    assert origins == ["--workers", "pyproject.toml [tool.carom] threads", "CAROM_MAX_RSS", DEFAULT]


def test_a_bad_value_that_is_overruled_does_no_harm(tmp_path: Path) -> None:
    project(tmp_path, "workers = 2")
    assert settings(tmp_path, CAROM_WORKERS="many").workers == 2


def test_the_target_can_be_said_in_each_place(tmp_path: Path) -> None:
    assert settings(tmp_path, {}, CAROM_TARGET="a:b").target == "a:b"
    project(tmp_path, 'target = "c:d"')
    assert settings(tmp_path, {}, CAROM_TARGET="a:b").target == "c:d"
    assert settings(tmp_path, {"target": "e:f"}, CAROM_TARGET="a:b").target == "e:f"


def test_no_target_at_all_says_where_to_put_one(tmp_path: Path) -> None:
    text = refused(tmp_path, {})
    assert "carom serve module:service" in text
    assert 'target = "photo:service"' in text


def test_the_environment_may_hold_other_variables_and_empty_ones(tmp_path: Path) -> None:
    others = {"CAROM_DIR": "/x", "CAROM_PYTHON": "python3", "CAROM_STRICT": "1", "CAROM_X": "y"}
    found = settings(tmp_path, CAROM_WORKERS="", CAROM_PARENT="1", CAROM_REPORT_FD="1", **others)
    assert found == Settings("photo:service")


# ---- pyproject.toml


def test_names_with_minus_and_with_underscore(tmp_path: Path) -> None:
    project(tmp_path, 'max-requests = 1000\nmax_rss = "512M"')
    found = settings(tmp_path)
    assert (found.max_requests, found.max_rss) == (1000, 512 << 20)


def test_the_nearest_file_with_the_table_counts(tmp_path: Path) -> None:
    project(tmp_path, "workers = 3")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\nworkers = 5\n")
    found = effective(TARGET, inner, {})
    assert found.settings.workers == 3
    assert found.origins["workers"] == f"{tmp_path}/pyproject.toml [tool.carom] workers"
    project(inner, "workers = 2")
    assert settings(inner).workers == 2


def test_above_the_current_folder_nobody_else_says_what_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, "workers = 3")
    (tmp_path / "inner").mkdir()
    assert sources.trusted_owners(tmp_path) == {0, os.getuid(), tmp_path.stat().st_uid}
    monkeypatch.setattr(sources, "trusted_owners", lambda folder: {12345})
    assert settings(tmp_path / "inner").workers == 1
    assert settings(tmp_path).workers == 3


def test_types_of_toml_are_taken_as_they_are(tmp_path: Path) -> None:
    project(
        tmp_path,
        "preload = false\nwatch = true\ntimeout = 2.5\nmax-rss = 1073741824\n"
        "allow-uid = [1000, 1001]\nspin = false\nmax-age = 3600",
    )
    found = settings(tmp_path)
    assert (found.preload, found.watch, found.timeout) == (False, True, 2.5)
    assert (found.max_rss, found.allow_uid, found.spin) == (1 << 30, (1000, 1001), False)
    assert found.max_age == 3600


def test_a_folder_in_a_file_is_relative_to_the_file(tmp_path: Path) -> None:
    project(tmp_path, 'quarantine = "poison"')
    (tmp_path / "poison").mkdir()
    (tmp_path / "inner").mkdir()
    assert settings(tmp_path / "inner").quarantine == tmp_path / "poison"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('max_rss = "2 apples"', ["max_rss", "'2 apples' is not an amount of memory such as"]),
        ("workers = true", ["workers", "True is not a whole number from 1"]),
        ("workers = 1.5", ["workers", "1.5 is not a whole number"]),
        ("workers = [1]", ["workers", "[1] is not a whole number"]),
        ("wokers = 2", ["there is no option 'wokers'", "did you mean workers?"]),
        ("max_request = 2", ["there is no option 'max_request'", "did you mean max-requests?"]),
        ("zzz = 2", ["there is no option 'zzz'", "there are target, workers"]),
        ("parent = 1", ["there is no option 'parent'"]),
        ('dir = "/tmp"', ["dir cannot be set here", "CAROM_DIR"]),
        ("max-rss = 0\nmax_rss = 0", ["max-rss is there twice"]),
        ("timeout = nan", ["timeout", "nan is not a time"]),
        ("max-age = inf", ["max-age", "inf is not a time"]),
        ("preload = 1", ["preload", "1 is neither yes nor no"]),
        ("allow-uid = [-1]", ["allow-uid", "-1 is not a user id"]),
        ("target = 5", ["target", "5 names no service"]),
        ("name = 5", ["name", "5 is not a name"]),
        ("quarantine = 5", ["quarantine", "5 is not the name of a folder"]),
        ('log-format = "xml"', ["log-format", "'xml' is not text or json"]),
    ],
)
def test_a_bad_value_in_pyproject_is_named_with_its_place(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    arguments = {} if text.startswith("target") else TARGET
    message = refused(project(tmp_path, text), arguments)
    assert message.startswith("pyproject.toml [tool.carom]")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[tool.carom\n", "pyproject.toml: "),
        ("[tool]\ncarom = 5\n", "tool.carom is not a table"),
        ("\xff", "pyproject.toml: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text, "latin-1")
    assert part in refused(tmp_path)


def test_a_tool_table_of_another_shape_is_somebody_elses_business(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool = 5\n")
    assert settings(tmp_path) == Settings("photo:service")


# ---- values in words


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("max_rss", "512M", 512 << 20),
        ("max_rss", "2G", 2 << 30),
        ("max_rss", "1.5g", 3 << 29),
        ("max_rss", "2 GiB", 2 << 30),
        ("max_rss", "100MB", 100 << 20),
        ("max_rss", "2097152", 2 << 20),
        ("max_rss", "1T", 1 << 40),
        ("max_rss", "0", 0),
        ("timeout", "500ms", 0.5),
        ("timeout", "2m", 120.0),
        ("timeout", "1h", 3600.0),
        ("timeout", "1.5", 1.5),
        ("timeout", ".5s", 0.5),
        ("timeout", "0", None),
        ("timeout", "none", None),
        ("max_rss", "none", 0),
        ("max_age", "None", 0.0),
        ("max_crashes", "none", 0),
        ("max_age", "1d", 86400.0),
        ("graceful_timeout", "0", 0.0),
        ("preload", "0", False),
        ("preload", "No", False),
        ("preload", "off", False),
        ("preload", "FALSE", False),
        ("preload", "1", True),
        ("preload", "yes", True),
        ("watch", "on", True),
        ("watch", "true", True),
        ("spin", "no", False),
        ("spin", "yes", True),
        ("spin", "1", 1.0),
        ("spin", "50ms", 0.05),
        ("allow_uid", "1000", (1000,)),
        ("allow_uid", "1000, 1001", (1000, 1001)),
        ("name", "photo", "photo"),
        ("log_format", "json", "json"),
        ("workers", " 4 ", 4),
    ],
)
def test_words_are_read(tmp_path: Path, name: str, word: str, value: object) -> None:
    found = getattr(settings(tmp_path, TARGET, **{BY_NAME[name].variable: word}), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "word", "part"),
    [
        ("workers", "0", "'0' is not a whole number from 1 to 256"),
        ("workers", "-1", "'-1' is not a whole number"),
        ("workers", "many", "'many' is not a whole number"),
        ("workers", "257", "'257' is not a whole number"),
        ("workers", "²", "'²' is not a whole number"),
        ("threads", "0", "'0' is not a whole number from 1"),
        ("max_requests", "-5", "'-5' is not a whole number from 0 on"),
        ("max_requests", "9" * 5000, "is not a whole number from 0 on"),
        ("max_rss", "512", "is 512 bytes, less than any Python process needs"),
        ("max_rss", "-1", "'-1' is not an amount of memory"),
        ("max_rss", "5X", "'5X' is not an amount of memory"),
        ("max_rss", "G", "'G' is not an amount of memory"),
        ("timeout", "-1", "'-1' is not a time such as 500ms, 30s or 2m"),
        ("timeout", "soon", "'soon' is not a time"),
        ("timeout", "nan", "'nan' is not a time"),
        ("timeout", "inf", "'inf' is not a time"),
        ("timeout", "1e400", "'1e400' is not a time"),
        ("timeout", "5 weeks", "'5 weeks' is not a time"),
        ("start_timeout", "0", "it must be longer than 0"),
        ("target_wait", "0", "it must be longer than 0"),
        ("idle_time", "0s", "it must be longer than 0"),
        ("crash_window", "0ms", "it must be longer than 0"),
        ("preload", "maybe", "'maybe' is neither yes nor no"),
        ("spin", "0", "'0' is not a time longer than 0 and up to 1h"),
        ("spin", "2h", "'2h' is not a time longer than 0 and up to 1h"),
        ("allow_uid", "root", "'root' is not a user id"),
        ("allow_uid", "4294967295", "'4294967295' is not a user id"),
        ("log_format", "xml", "'xml' is not text or json"),
        ("target", "photo", "'photo' names no service: write module:service"),
        ("target", ":service", "':service' names no service"),
        ("quarantine", "/no/such/folder", "'/no/such/folder' does not exist"),
        ("quarantine", "/dev/null", "'/dev/null' is not a folder"),
    ],
)
def test_bad_words_are_refused_with_their_place(
    tmp_path: Path, name: str, word: str, part: str
) -> None:
    option = BY_NAME[name]
    arguments = {} if name == "target" else TARGET
    message = refused(tmp_path, arguments, **{option.variable: word})
    assert message.startswith(f"{option.variable}: ")
    assert part in message
    place = "command line" if name == "target" else option.flag
    assert refused(tmp_path, {**TARGET, name: word}).startswith(f"{place}: ")


def test_a_quarantine_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    text = refused(tmp_path, {**TARGET, "quarantine": str(tmp_path)})
    assert text == f"--quarantine: '{tmp_path}' cannot be written to by this user"


# ---- what follows from others


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ({}, (1, 1, 1)),
        ({"workers": "4"}, (4, 4, 4)),
        ({"max_workers": "4"}, (1, 1, 4)),
        ({"workers": "2", "max_workers": "4"}, (2, 2, 4)),
        ({"min_workers": "2", "max_workers": "4"}, (2, 2, 4)),
        ({"workers": "3", "min_workers": "2", "max_workers": "4"}, (3, 2, 4)),
        ({"workers": "3", "min_workers": "3", "max_workers": "3"}, (3, 3, 3)),
    ],
)
def test_numbers_of_workers(
    tmp_path: Path, said: dict[str, str], numbers: tuple[int, int, int]
) -> None:
    found = settings(tmp_path, TARGET | said)
    assert (found.workers, found.min_workers, found.max_workers) == numbers


@pytest.mark.parametrize(
    ("said", "jitter"),
    [
        ({"max_requests": "1000"}, 100),
        ({"max_requests": "5"}, 0),
        ({"max_requests": "1000", "max_requests_jitter": "0"}, 0),
        ({"max_requests": "1000", "max_requests_jitter": "50"}, 50),
        ({"max_requests": "0", "max_requests_jitter": "50"}, 0),
    ],
)
def test_jitter_is_a_tenth(tmp_path: Path, said: dict[str, str], jitter: int) -> None:
    assert settings(tmp_path, TARGET | said).max_requests_jitter == jitter


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (
            {"min_workers": "4", "max_workers": "2"},
            "--max-workers 2 is less than --min-workers 4",
        ),
        ({"min_workers": "2"}, "--min-workers 2: needs --max-workers, the number it may grow to"),
        ({"workers": "8", "max_workers": "4"}, "--workers 8 is more than --max-workers 4"),
        (
            {"workers": "1", "min_workers": "2", "max_workers": "4"},
            "--workers 1 is less than --min-workers 2",
        ),
        ({"max_requests_jitter": "5"}, "--max-requests-jitter: needs --max-requests"),
        (
            {"workers": "64", "threads": "4"},
            "64 workers of 4 threads need 261 places (one worker more for exchanges, one place "
            "for the stand-in); a service has 256",
        ),
    ],
)
def test_contradictions(tmp_path: Path, said: dict[str, str], text: str) -> None:
    assert refused(tmp_path, TARGET | said) == text


def test_a_contradiction_between_two_places_names_both(tmp_path: Path) -> None:
    project(tmp_path, "max-workers = 4")
    text = refused(tmp_path, CAROM_WORKERS="8")
    assert text == "CAROM_WORKERS 8 is more than pyproject.toml [tool.carom] max-workers 4"


# ---- the command line


def parsed(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return vars(parser.parse_args(words))


def test_the_command_line_says_only_what_it_says() -> None:
    assert parsed() == {}
    assert parsed("a:b", "--no-preload", "--allow-uid", "1", "--allow-uid", "2", "--no-spin") == {
        "target": "a:b",
        "preload": False,
        "allow_uid": ["1", "2"],
        "spin": False,
    }


def test_every_option_is_on_the_command_line(tmp_path: Path) -> None:
    for option in OPTIONS:
        if option.kind.flag:
            assert parsed(option.flag) == {option.name: True}
            assert parsed(f"--no-{option.key}") == {option.name: False}
        else:
            value = parsed(option.flag, "x")[option.name]
            assert value in ("x", ["x"])


def test_help_groups_every_option_with_its_default() -> None:
    text = command("serve", "--help").stdout
    groups = ["Workers", "Start and reload", "Limits and recycling", "Scaling", "Failures"]
    places = [text.index(f"\n{group}:\n") for group in [*groups, "Waiting", "Output"]]
    assert places == sorted(places)
    for option in OPTIONS:
        assert (option.flag in text) is not option.private
    assert "processes, at the start and while nothing scales (1)" in " ".join(text.split())
    assert "as gunicorn" not in text


def test_the_table_in_the_documentation_is_this_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith("| `--")]
    shown = [option for option in OPTIONS if not option.private]
    assert len(rows) == len(shown)
    for option, row in zip(shown, rows, strict=True):
        flags, variable, default, words = (cell.strip() for cell in row.strip("|").split("|"))
        assert flags.startswith(f"`{option.flag}")
        assert variable == f"`{option.variable}`"
        assert f"{words} ({default})" == option.help_text().replace("%%", "%")


def test_a_wrong_setting_is_status_2_and_one_line(folder: Path) -> None:
    project(folder, 'max_rss = "2 apples"')
    ended = command("serve", "photo:service", cwd=folder)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [
        "usage: carom serve [OPTION...] [MODULE:SERVICE]",
        "carom serve: error: pyproject.toml [tool.carom] max_rss: '2 apples' is not an amount of "
        "memory such as 512M or 2G",
    ]


def test_a_program_that_waits_for_a_report_gets_the_reason(folder: Path) -> None:
    reader, writer = os.pipe()
    arguments = ["serve", "photo:service", "--workers", "0", "--report-fd", str(writer)]
    ended = command(*arguments, pass_fds=[writer])
    os.close(writer)
    with open(reader) as report:
        assert report.read() == "failed\n--workers: '0' is not a whole number from 1 to 256"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")


# ---- carom serve --check


APPLICATION = """
import sys
import carom
service = carom.Service("photo")
print("noise")

@service.on_load
def tables(): ...

@service.on_start
def connect(): ...

@service.method(idempotent=True, timeout=2.0)
def size(request): ...

@service.method
def plain(request): ...
"""


def test_check_says_what_is_there_and_which_settings_hold(folder: Path) -> None:
    (folder / "app.py").write_text(APPLICATION)
    project(folder, 'target = "app:service"\nmax-rss = "1G"')
    ended = command("serve", "--check", "--workers", "3", cwd=folder)
    assert (ended.returncode, ended.stderr) == (0, "noise\n")
    head, methods, hooks, table = ended.stdout.split("\n\n")
    assert head.startswith("app:service: service 'photo', loaded in ")
    assert [row.split() for row in methods.splitlines()] == [
        ["METHOD", "IDEMPOTENT", "TIMEOUT"],
        ["size", "yes", "2s"],
        ["plain", "no", "none"],
    ]
    assert hooks.splitlines() == ["on_load: tables", "on_start: connect", "warmup: none"]
    rows = {row.split()[0]: row.split()[1:] for row in table.splitlines()}
    assert rows["workers"] == ["3", "--workers"]
    assert rows["max-rss"] == ["1G", "pyproject.toml", "[tool.carom]", "max-rss"]
    assert rows["timeout"] == ["none", "default"]
    assert not list(folder.glob("*.sock*"))


@pytest.mark.parametrize(
    ("source", "traceback", "text"),
    [
        ("import nonsuch_module", True, "cannot import app: ModuleNotFoundError"),
        (
            APPLICATION.replace("tables(): ...", "tables(): 1 / 0"),
            True,
            "load hook 'tables' of app:service raised ZeroDivisionError",
        ),
        ("import os\nos._exit(7)", False, "exited with status 7 while it loaded app:service"),
        ("import os\nos._exit(0)", False, "exited with status 0 while it loaded app:service"),
        ("import os\nos.abort()", False, "was killed by SIGABRT while it loaded app:service"),
        ("x = 1", False, "has no 'service'"),
    ],
)
def test_check_says_why_it_cannot_be_served(
    folder: Path, source: str, traceback: bool, text: str
) -> None:
    (folder / "app.py").write_text(source)
    ended = command("serve", "--check", "app:service", cwd=folder)
    assert ended.returncode == 1
    assert ended.stdout == ""
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("carom: ") and text in last
    assert ("Traceback (most recent call last):" in ended.stderr) is traceback


def test_check_warns_of_what_cannot_be_forked(folder: Path) -> None:
    thread = "import threading\nthreading.Thread(target=lambda: threading.Event().wait(), "
    (folder / "app.py").write_text(f"{thread}daemon=True, name='ticker').start()\n{APPLICATION}")
    ended = command("serve", "--check", "app:service", cwd=folder)
    assert ended.returncode == 0
    assert "\nwarning: the application has started 1 thread (ticker)" in ended.stdout
    ended = command("serve", "--check", "app:service", "--no-preload", cwd=folder)
    assert ended.returncode == 0
    assert "warning" not in ended.stdout


def test_check_of_an_application_that_hangs_shows_where(folder: Path) -> None:
    (folder / "app.py").write_text("import time\ndef forever():\n    time.sleep(600)\nforever()\n")
    ended = command("serve", "--check", "app:service", "--start-timeout", "1s", cwd=folder)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last == "carom: app:service did not finish loading in 1s (--start-timeout)"
    assert "in forever" in ended.stderr


def test_the_command_imports_only_what_it_needs() -> None:
    code = "import json, sys, carom.cli; json.dump(sorted(sys.modules), sys.stdout)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(json.loads(ended.stdout))
    assert not loaded & {"carom.bench", "carom.listing", "carom.pool.supervisor", "tomllib"}


def test_effective_settings_are_shown_as_they_would_be_written(tmp_path: Path) -> None:
    said = {"max_rss": "1536M", "timeout": "90s", "target_wait": "2.5ms", "spin": "50ms"}
    found: Effective = effective(TARGET | said, tmp_path, {})
    shown = {name: value for name, value, _ in found.lines()}
    assert shown["max-rss"] == "1536M"
    assert shown["timeout"] == "90s"
    assert (shown["target-wait"], shown["spin"]) == ("2.5ms", "50ms")
    assert shown["allow-uid"] == shown["quarantine"] == shown["name"] == "none"
