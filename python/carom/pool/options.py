# SPDX-License-Identifier: Apache-2.0
"""Every option of `carom serve`, once: for the command line, pyproject.toml and the environment.

An option's name is that of its field in Settings. On the command line it is --max-requests, in
[tool.carom] of pyproject.toml max-requests or max_requests, in the environment
CAROM_MAX_REQUESTS. Values are read in sources.py, so that a bad one gets the same answer wherever
it was said.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

from carom.pool import kinds
from carom.pool.kinds import Kind
from carom.pool.settings import Settings

DEFAULTS = {field.name: field.default for field in fields(Settings)}
LEAST_RSS_BYTES = 1 << 20


@dataclass(frozen=True)
class Option:
    """One option.

    default  as shown, if Settings does not say it all
    private  for the command line only, and not in its help: said by other parts of carom
    """

    name: str
    kind: Kind
    group: str
    metavar: str
    help: str
    default: str | None = None
    private: bool = False

    @property
    def flag(self) -> str:
        """On the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def key(self) -> str:
        """In [tool.carom]."""
        return self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """In the environment."""
        return "CAROM_" + self.name.upper()

    def help_text(self) -> str:
        """For --help, with the default."""
        shown = self.default or self.kind.show(DEFAULTS[self.name])
        return f"{self.help} ({shown})".replace("%", "%%")


TARGET = Option("target", kinds.TARGET, "", "MODULE:SERVICE", "what is served")

COUNT = kinds.whole(1, 256)
COUNT_OR_NONE = kinds.or_none(kinds.whole(0))
TIME_OR_NONE = kinds.or_none(kinds.span(zero=True))
SIZE_OR_NONE = kinds.or_none(kinds.size(LEAST_RSS_BYTES))
TIME = kinds.span(zero=False)
TIME_OR_0 = kinds.span(zero=True)

OPTIONS = (
    Option("workers", COUNT, "Workers", "N", "processes, at the start and while nothing scales"),
    Option("threads", COUNT, "Workers", "N", "of each worker; for handlers that release the GIL"),
    Option(
        "name", kinds.TEXT, "Workers", "NAME",
        "of the service; then its socket is there before the application has loaded",
        "what the application says",
    ),
    Option(
        "allow_uid", kinds.UIDS, "Workers", "UID",
        "another user who may connect; may be repeated",
    ),
    Option(
        "preload", kinds.FLAG, "Start and reload", "",
        "import the application once and fork workers; no: each worker imports it",
    ),
    Option(
        "start_timeout", TIME, "Start and reload", "TIME",
        "for import and load hooks, and again for start and warm-up of a worker",
    ),
    Option(
        "graceful_timeout", TIME_OR_0, "Start and reload", "TIME",
        "for calls in progress when the service or a worker ends",
    ),
    Option(
        "watch", kinds.FLAG, "Start and reload", "",
        "reload when a file of the application changes; for development",
    ),
    Option(
        "timeout", TIME_OR_NONE, "Limits and recycling", "TIME",
        "longest call, for methods without a limit of their own; 0 is none",
    ),
    Option(
        "timeout_grace", TIME_OR_0, "Limits and recycling", "TIME",
        "from the exception in a stuck worker to SIGKILL",
    ),
    Option(
        "max_requests", COUNT_OR_NONE, "Limits and recycling", "N",
        "exchange a worker after so many calls; 0 is never",
    ),
    Option(
        "max_requests_jitter", kinds.whole(0), "Limits and recycling", "N",
        "up to so many calls more, drawn for each worker", "a tenth of --max-requests",
    ),
    Option(
        "max_rss", SIZE_OR_NONE, "Limits and recycling", "SIZE",
        "exchange a worker that uses more memory; 0 is never",
    ),
    Option(
        "max_age", TIME_OR_NONE, "Limits and recycling", "TIME",
        "exchange a worker that is older; 0 is never",
    ),
    Option(
        "min_workers", COUNT, "Scaling", "N",
        "never fewer; needs --max-workers", "--workers",
    ),
    Option(
        "max_workers", COUNT, "Scaling", "N",
        "more workers when calls wait, up to so many", "--workers",
    ),
    Option(
        "target_wait", TIME, "Scaling", "TIME",
        "more workers when calls wait longer than this",
    ),
    Option(
        "idle_time", TIME, "Scaling", "TIME",
        "one fewer after this time in which one fewer would have done",
    ),
    Option(
        "max_crashes", COUNT_OR_NONE, "Failures", "N",
        "so many deaths within --crash-window make the service answer UNAVAILABLE; 0 is never",
    ),
    Option("crash_window", TIME, "Failures", "TIME", "see --max-crashes"),
    Option(
        "quarantine", kinds.FOLDER, "Failures", "DIR",
        "folder for requests that killed two workers",
    ),
    Option(
        "spin", kinds.SPIN, "Waiting", "TIME",
        "longest time that an idle worker looks for calls before it sleeps",
        "as long as it pays",
    ),
    Option("log_format", kinds.choice("text", "json"), "Output", "FORMAT", "text or json"),
    Option("report_fd", kinds.whole(0), "Output", "FD", "one line when ready", private=True),
    Option("parent", kinds.whole(1), "Output", "PID", "end when it does", private=True),
)  # fmt: skip
BY_NAME = {option.name: option for option in (TARGET, *OPTIONS)}


def add_options(command: argparse.ArgumentParser) -> None:
    """To the command line: words as they are, and nothing for what is not said."""
    command.add_argument(
        "target",
        nargs="?",
        metavar=TARGET.metavar,
        default=argparse.SUPPRESS,
        help="such as photo:service (target in [tool.carom] of pyproject.toml)",
    )
    groups = {
        name: command.add_argument_group(name)
        for name in dict.fromkeys(option.group for option in OPTIONS)
    }
    for option in OPTIONS:
        add_option(groups[option.group], option)


def add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    """One option to its group."""
    text = argparse.SUPPRESS if option.private else option.help_text()
    if option.kind.flag:
        group.add_argument(
            option.flag,
            action=argparse.BooleanOptionalAction,
            dest=option.name,
            default=argparse.SUPPRESS,
            help=text,
        )
        return
    target = group
    if option.kind is kinds.SPIN:
        target = group.add_mutually_exclusive_group()
        target.add_argument(
            f"--no-{option.key}",
            action="store_const",
            const=False,
            dest=option.name,
            default=argparse.SUPPRESS,
            help="sleep at once when idle",
        )
    target.add_argument(
        option.flag,
        action="append" if option.kind.list else "store",
        dest=option.name,
        metavar=option.metavar,
        default=argparse.SUPPRESS,
        help=text,
    )
