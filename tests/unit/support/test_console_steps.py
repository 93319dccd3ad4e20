# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test reading commands and their output from a document."""

from __future__ import annotations

import pytest

from tests.support.console_steps import Step, read_steps


def test_steps_are_the_commands_with_their_output() -> None:
    document = "```\n$ make no\n```\n```console\n$ make venv\npip ...\n$ git diff\n```\n"
    assert read_steps(document) == [Step("make venv", ["pip ..."]), Step("git diff")]


@pytest.mark.parametrize(("text", "printed"), [("1 passed in 0.3s\n", True), ("x\n1 passed in 9s", True), ("", False)])
def test_three_dots_stand_for_any_text(text: str, printed: bool) -> None:
    assert Step("pytest", ["1 passed in ...s"]).is_printed(text) is printed
