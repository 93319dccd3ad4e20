# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe a command of the command line, and define the flags that several commands have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from noslop_driver.cli.completion import complete_studio

FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path)


@dataclass(frozen=True)
class Command:
    """A command of the command line."""

    name: str
    help: str
    flags: Sequence[click.Parameter] = ()
    subcommands: Sequence[Command] = ()
    """The commands of a group. The function of the group runs each, with the name as `action` of its options."""


def make_switch(flag: str, help_text: str, *names: str) -> click.Option:
    """Return a flag without a value."""
    return click.Option([flag, *names], is_flag=True, help=help_text)


LOGIN = (
    click.Option(["--user"], metavar="ACCOUNT", help="Log in with this account. Default: yours."),
    click.Option(["--ssh-key"], type=FILE, help="Log in with this private key and no other."),
    make_switch("--ask-pass", "Ask for the SSH password."),
    click.Option(["--pass-file"], type=FILE, help="Read the SSH password from a file."),
    make_switch("--ask-become-pass", "Ask for the sudo password."),
    click.Option(
        ["--become-pass-file"], type=FILE, help="Read the sudo password from a file; from NAME.yml one for each host."
    ),
)
STUDIO = (
    click.Option(
        ["--studio"],
        metavar="NAME",
        shell_complete=complete_studio,
        help="Use the studio inventories/NAME. Default: the only one.",
    ),
    click.Option(["--inventory"], type=_DIRECTORY, help="Use the studio in this directory."),
)
HOST_KEYS = (
    click.Option(["--host-keys"], type=FILE, help="Accept new hosts whose SSH key this file lists (SHA256:...)."),
    make_switch("--accept-new-keys", "Accept the SSH key of every new host, unchecked."),
)
CHECK = make_switch("--check", "Predict the changes, make none.")
VERBOSE = click.Option(
    ["-v", "--verbose", "verbosity"],
    count=True,
    help="Print what Ansible prints about each task. Repeatable: -vv, -vvv.",
)
NO_INPUT = make_switch("--no-input", "Ask no question: a missing answer is an error.")
PROMPTS = (
    make_switch("-y", "Answer yes to every question. Accepts no new host.", "--yes"),
    NO_INPUT,
)
OUTPUT = (
    make_switch("--json", "Print the result as JSON on standard output.", "json_output"),
    make_switch("--debug", "Print the traceback of an error."),
)
RUN = (*LOGIN, *STUDIO, *PROMPTS, VERBOSE, *OUTPUT)
