# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the manual pages with the driver's commands."""

from __future__ import annotations

import re

import click
import pytest

from noslop_driver.cli.examples import EXAMPLES
from noslop_driver.cli.main import app
from tests.lint import man_pages


def list_names(group: click.Group = app, prefix: str = "noslop-driver") -> list[str]:
    names = [prefix]
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            names += list_names(command, f"{prefix}-{name}")
        else:
            names.append(f"{prefix}-{name}")
    return names


def read_plain(name: str) -> str:
    """Return the text of a page as a reader has it, without troff's signs."""
    text = (man_pages.PAGES / f"{name}.1").read_text("utf-8")
    for sign, plain in {"\\-": "-", "\\&": "", "\\(ti": "~", "\\(ha": "^", "\\e": "\\"}.items():
        text = text.replace(sign, plain)
    return text


def test_pages_are_up_to_date() -> None:
    written = {path.name: path.read_text("utf-8") for path in man_pages.PAGES.iterdir()}
    assert written == man_pages.render_pages(), "docs/man is stale: run `make docs`"


def test_every_command_has_a_page() -> None:
    assert {path.stem for path in man_pages.PAGES.iterdir()} == set(list_names())


@pytest.mark.parametrize("words", EXAMPLES)
def test_page_has_the_examples_and_the_flags(words: str) -> None:
    text = read_plain(f"noslop-driver-{words.replace(' ', '-')}")
    for line in EXAMPLES[words]:
        assert f"\n{line}\n" in text
    command: click.Command = app
    for word in words.split():
        assert isinstance(command, click.Group)
        command = command.commands[word]
    flags = {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts}
    flags -= {"--wishes"}  # a deprecated name, which help does not show either
    assert flags <= set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", text))


def test_text_is_no_request_of_troff() -> None:
    for path in man_pages.PAGES.iterdir():
        requests = set(re.findall(r"^[.'](\S*)", path.read_text("utf-8"), re.MULTILINE))
        assert requests <= {"TH", "SH", "B", "BR", "TP", "PP", "nf", "fi"}, path.name
        assert all(line.strip() for line in path.read_text("utf-8").splitlines()), path.name
