# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import click
import pytest

from noslop_driver.cli.given_flags import list_given
from noslop_driver.cli.main import app


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], []),
        (["-y", "-vv"], [("--yes",), ("--verbose",), ("--verbose",)]),
        (["--host", "a", "--host", "b"], [("--host", "a"), ("--host", "b")]),
        (["--no-smb", "--firewall"], [("--firewall",), ("--no-smb",)]),
        (["--wishes", "a b.yml", "--port", "2222"], [("--port", "2222"), ("--config", "a b.yml")]),
    ],
)
def test_flags_that_were_given_are_listed_in_the_order_of_the_help(
    words: list[str], given: list[tuple[str, ...]]
) -> None:
    program = click.Context(app, **app.context_settings)
    context = app.commands["plan"].make_context("plan", list(words), parent=program)
    assert list_given(context) == given
