# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that passwords of SMB users are read from private files and from a vault, and shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils import smb_passwords
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.smb import SmbUser

SECRET = "correct-horse"  # noqa: S105 - a password of this test


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_password_of_a_file_keeps_spaces_and_loses_one_line_end(tmp_path: Path) -> None:
    write(tmp_path / "anna", " Grüße, 8 Stück! \r\n".encode())
    users = [SmbUser("anna", "anna"), SmbUser("bert")]
    passwords = smb_passwords.read_passwords(users, {"bert": SECRET}, str(tmp_path))
    assert passwords == {"anna": " Grüße, 8 Stück! ", "bert": SECRET}


def test_user_without_a_password_is_named_with_both_ways_to_give_one(tmp_path: Path) -> None:
    (problem,) = smb_passwords.list_problems([{"name": "anna"}], {}, str(tmp_path))
    assert "anna has no password" in problem
    assert "password_file" in problem
    assert "smb_server_passwords" in problem


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (f"{SECRET}\n".encode(), 0o644, "chmod 600"),
        (f"{SECRET}\n".encode(), 0o640, "chmod 600"),
        (b"short\n", 0o600, "has 5 characters"),
        (b"\n", 0o600, "is empty"),
        (f"{SECRET}\n{SECRET}\n".encode(), 0o600, "second line"),
        (b"\xff\xfe" + SECRET.encode(), 0o600, "no text in UTF-8"),
        (None, 0, "No such file or directory"),
    ],
)
def test_unusable_file_is_refused_without_showing_its_content(
    tmp_path: Path, content: bytes | None, mode: int, words: str
) -> None:
    if content is not None:
        write(tmp_path / "anna", content, mode)
    (problem,) = smb_passwords.list_problems([{"name": "anna", "password_file": "anna"}], {}, str(tmp_path))
    assert words in problem
    assert SECRET not in problem


def test_two_passwords_a_password_of_nobody_and_no_user_are_problems(tmp_path: Path) -> None:
    write(tmp_path / "anna", b"long-enough\n")
    entry = {"name": "anna", "password_file": str(tmp_path / "anna")}
    assert "Remove one of them." in smb_passwords.list_problems([entry], {"anna": SECRET}, "/")[0]
    assert "carl, who is not in noslop_smb_users" in smb_passwords.list_problems([entry], {"carl": SECRET}, "/")[0]
    assert "nobody could use the shares" in smb_passwords.list_problems([], {}, "/")[0]
    assert smb_passwords.list_problems([entry], {}, "/") == []
