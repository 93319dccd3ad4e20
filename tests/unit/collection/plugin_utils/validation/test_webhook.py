# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which addresses of a webhook a studio accepts, and that no refusal shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.plugin_utils import token_file
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import variable_rules, webhook
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.webhook import Webhook

URL = "https://hooks.example.com/services/SECRET"


@pytest.mark.parametrize("value", [None, "", {}])
def test_no_webhook_is_none(value: object) -> None:
    assert webhook.parse_webhook(value) is None


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ({"url": URL}, Webhook(URL, "", "json")),
        ({"url": "http://192.168.1.4:9095/", "format": "json"}, Webhook("http://192.168.1.4:9095/", "", "json")),
        ({"secret_file": "~/hook", "format": "slack"}, Webhook("", "~/hook", "slack")),
        ({"secret_file": "~/hook", "url": "", "format": ""}, Webhook("", "~/hook", "json")),
    ],
)
def test_webhook_is_parsed(value: object, parsed: Webhook) -> None:
    assert webhook.parse_webhook(value) == parsed


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (URL, "write url, secret_file, format with a text each"),
        ({"url": 5}, "with a text each"),
        ({"URL": URL}, "there is no URL; there are url"),
        ({"format": "slack"}, "write url, or secret_file"),
        ({"url": URL, "secret_file": "~/hook"}, "write url, or secret_file"),
        ({"url": URL, "format": "teams"}, "format is one of json, slack, discord"),
        ({"url": URL, "format": "discord"}, "is a secret"),
        ({"url": "http://hooks.example.com/SECRET"}, "the URL cannot be used: it begins with http://"),
    ],
)
def test_unusable_webhook_is_refused_without_its_secret(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^noslop_monitor_webhook: ") as refusal:
        webhook.parse_webhook(value)
    assert problem in str(refusal.value)
    assert "SECRET" not in str(refusal.value)


def judge(value: object) -> str:
    """Return what preflight reports; empty where it passes."""
    checks = Checks("studio")
    variable_rules.judge_webhook(checks, value, token_file.read)
    (check,) = checks.list
    return "" if check["ok"] else check["seen"]


def test_preflight_reads_the_file_and_refuses_one_that_others_may_read(tmp_path: Path) -> None:
    file = tmp_path / "hook"
    value = {"secret_file": str(file), "format": "slack"}
    assert f"{file} cannot be read" in judge(value)
    file.write_text(f"{URL}\n")
    file.chmod(0o644)
    assert f"chmod 600 {file}" in judge(value)
    file.chmod(0o600)
    assert judge(value) == ""
    file.write_text("http://hooks.example.com/SECRET")
    assert "it begins with http://" in judge(value)
    assert "SECRET" not in judge(value)
    file.write_text("")
    assert "is empty" in judge(value)
    assert judge({}) == ""
