# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which lines of sudo and sudo-rs the become plugin recognizes. tests/unit/driver/hosts runs it with both."""

from __future__ import annotations

import pytest
import yaml
from ansible.plugins.become import sudo as builtin
from ansible_collections.noslop.studio.plugins.become import sudo

PROMPT = "[sudo via ansible, key=abc] password:"


@pytest.fixture
def plugin() -> sudo.BecomeModule:
    made = sudo.BecomeModule()
    made.prompt = PROMPT
    return made


@pytest.mark.parametrize(
    ("line", "is_prompt"),
    [
        (PROMPT, True),
        (f"  {PROMPT}", True),
        (f"[sudo: {PROMPT}] Password: ", True),
        ("[sudo: authenticate] Password: ", False),
        ("Last login: today", False),
    ],
)
def test_prompt_of_both_is_recognized(plugin: sudo.BecomeModule, line: str, is_prompt: bool) -> None:
    assert plugin.check_password_prompt(line.encode()) is is_prompt


@pytest.mark.parametrize("line", ["Sorry, try again.", "sudo: Authentication failed, try again."])
def test_refused_password_of_both_is_recognized(plugin: sudo.BecomeModule, line: str) -> None:
    assert plugin.check_incorrect_password(line.encode())


def test_without_a_prompt_no_line_is_one() -> None:
    assert sudo.BecomeModule().check_password_prompt(b"anything") is False


def test_options_are_those_of_the_builtin_plugin() -> None:
    ours, theirs = (yaml.safe_load(module.DOCUMENTATION)["options"] for module in (sudo, builtin))
    assert list(ours) == list(theirs)
    for name, option in theirs.items():
        same = ("vars", "env", "ini", "keyword", "default")
        assert {key: ours[name].get(key) for key in same} == {key: option.get(key) for key in same}
