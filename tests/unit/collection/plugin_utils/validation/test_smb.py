# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rules about SMB users and what a studio chooses about SMB."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import variable_rules
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.smb import (
    SmbSettings,
    SmbUser,
    find_password_problem,
    parse_smb_users,
)

SECRET = "correct-horse"  # noqa: S105 - a password of this test
GOOD = SmbSettings(enabled=True, provider="nfs", servers=["server"], networks=["192.168.1.0/24"])


def test_users_are_read_in_order() -> None:
    value = [{"name": "anna", "password_file": "~/anna"}, {"name": "bert"}]
    assert parse_smb_users(value) == [SmbUser("anna", "~/anna"), SmbUser("bert")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("anna", "noslop_smb_users is no list"),
        ([SECRET], "entry 1 is no user"),
        ([{"name": "Anna"}], "the name of entry 1 is no name of an account"),
        ([{"name": "a" * 33}], "no name of an account"),
        ([{"name": "root"}], "root, an account of the system"),
        ([{"name": "noslop-backend"}], "an account of the system or of the studio"),
        ([{"name": "anna"}, {"name": "anna"}], "two entries are called anna"),
        ([{"name": "anna", "password": SECRET}], "anna has a password in it, which records and output would show"),
        ([{"name": "anna", "file": SECRET}], "anna has the key file"),
        ([{"name": "anna", "password_file": [SECRET]}], "password_file of anna is no path"),
    ],
)
def test_unusable_entry_is_refused_without_showing_a_secret(value: object, message: str) -> None:
    with pytest.raises(ValueError, match="noslop_smb_users") as refused:
        parse_smb_users(value)
    assert message in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "password", ["", None, 12345678, "short", "x" * 128, "line\nbreak", "tab\tbed now", "nul\0byte!!"]
)
def test_unusable_password_is_refused_without_showing_it(password: object) -> None:
    problem = find_password_problem("anna", password)
    assert problem.startswith("The password of the SMB user anna")
    assert not isinstance(password, str) or len(password) < 8 or password not in problem


@pytest.mark.parametrize("password", ["12345678", "Grüße, 8 Stück!", " spaces around ", "x" * 127])
def test_usable_password_is_accepted(password: str) -> None:
    assert find_password_problem("anna", password) == ""


def judge(**changes: object) -> dict[str, str]:
    """Return what was seen, by the name of each check that failed."""
    checks = Checks("studio")
    variable_rules.judge_smb(checks, SmbSettings(**{**vars(GOOD), **changes}))
    return {check["check"]: check["seen"] for check in checks.list if not check["ok"]}


def test_good_settings_pass_and_a_studio_without_smb_is_not_judged() -> None:
    assert judge() == {}
    assert judge(enabled=False, networks=[], user_problems=["anna has no password"]) == {}


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"provider": "existing"}, "studio.smb_server"),
        ({"servers": []}, "studio.smb_server"),
        ({"networks": []}, "studio.smb_networks"),
        ({"networks": ["0.0.0.0/0"]}, "studio.smb_networks"),
        ({"encryption": "on"}, "studio.smb_encryption"),
        ({"models_writable": True, "models_writers": "server"}, "studio.smb_models"),
        ({"user_problems": ["anna has no password."]}, "studio.smb_users"),
    ],
)
def test_each_bad_setting_fails_its_own_check(changes: dict[str, object], check: str) -> None:
    assert list(judge(**changes)) == [check]
