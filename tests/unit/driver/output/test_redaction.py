# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that secrets are found in an inventory and the files that it names, and replaced wherever they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from noslop_driver.output.redaction import Redaction, list_secrets
from noslop_driver.secrets import SCRUBBED, Secrets

PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----"


def test_secrets_of_variables_and_of_the_files_that_they_name_are_listed(tmp_path: Path) -> None:
    for name, text in (
        ("hub-token", "hub-value\n"),
        ("webhook", "https://chat.lan/services/the-secret-path\n"),
        ("anna", "anna-pw\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    variables = {
        "smb_server_passwords": {"bert": "bert-pw"},
        "noslop_smb_users": [{"name": "anna", "password_file": "anna"}],
        "noslop_models_tokens": {"https://hub.lan": str(tmp_path / "hub-token")},
        "noslop_monitor_webhook": {"secret_file": "webhook", "format": "discord"},
        "ansible_become_pass": "sudo-pw",
        "noslop_storage_root": "/mnt/noslop",
        "a_flag_password": "no",
    }
    address = "https://chat.lan/services/the-secret-path"
    expected = {"bert-pw", "anna-pw", "hub-value", address, "the-secret-path", "sudo-pw"}
    assert list_secrets(variables, tmp_path) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the value is planted-1",
        "postgres://user:planted-1@10.0.0.1/db",
        "Authorization: Bearer abc.planted-2",
        "token=planted-2&x=1",
        '{"api_key": "planted-2"}',
        "HF_TOKEN=planted-2",
        "hf_planted2planted2",
        "https://hooks.slack.com/services/T0/planted-2",
        "https://discord.com/api/webhooks/1/planted-2",
        "$ANSIBLE_VAULT;1.1;AES256\n3132333435363738393031323334\n3132333435363738393031323334",
        PEM,
    ],
)
def test_secret_is_replaced_in_a_text(text: str) -> None:
    cleaned = Redaction(Secrets(), ["planted-1"]).clean_text(text)
    assert SCRUBBED in cleaned
    assert not any(word in cleaned for word in ("planted", "b3BlbnNzaC1rZXk", "31323334"))


def test_text_without_a_secret_and_addresses_stay() -> None:
    text = "worker1 10.0.0.2: sudo needs the password of artist\nnext line, 192.168.1.0/24"
    assert Redaction(Secrets(), []).clean_text(text) == text


def test_all_below_a_key_of_a_secret_is_replaced_and_the_rest_stays() -> None:
    data = {"password": "x1", "tokens": {"https://hub.lan": "x2"}, "name": "anna", "list": [{"secret": ["x3"]}], "n": 1}
    assert Redaction(Secrets(), []).clean(data) == {
        "password": SCRUBBED,
        "tokens": {"https://hub.lan": SCRUBBED},
        "name": "anna",
        "list": [{"secret": [SCRUBBED]}],
        "n": 1,
    }


def test_secret_with_control_characters_is_replaced_however_it_is_written() -> None:
    redaction = Redaction(Secrets(), ['a"b$c d'])
    for written in ('a"b$c d', 'a\\"b$c d', "'a\"b$c d'"):
        assert "c d" not in redaction.clean_text(written)
