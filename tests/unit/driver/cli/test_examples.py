# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the help of each command ends with examples that its flags parse."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from noslop_driver.cli.examples import EXAMPLES
from noslop_driver.cli.main import app
from tests.support.driver_cli import run


def list_commands(group: click.Group = app, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is no group, with its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from list_commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(list_commands())


def test_every_command_has_one_or_two_examples() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys()
    assert {len(lines) for lines in EXAMPLES.values()} == {1, 2}


@pytest.mark.parametrize(("words", "line"), [(words, line) for words, lines in EXAMPLES.items() for line in lines])
def test_flags_of_an_example_exist(words: str, line: str) -> None:
    command = ["noslop-driver", *words.split()]
    given = shlex.split(line)
    assert given[: len(command)] == command
    # click rejects an unknown flag, a value of another type, and a word that is missing or too many.
    # A command keeps the help option of its first context, which therefore has the settings of the program.
    program = click.Context(app, **app.context_settings)
    COMMANDS[words].make_context(words, given[len(command) :], parent=program)


@pytest.mark.parametrize("words", COMMANDS)
def test_help_ends_with_the_examples(words: str) -> None:
    done = run(*words.split(), "--help")
    assert done.returncode == 0
    shown = [line.strip() for line in done.stdout.splitlines()]
    assert shown[-len(EXAMPLES[words]) :] == list(EXAMPLES[words])
