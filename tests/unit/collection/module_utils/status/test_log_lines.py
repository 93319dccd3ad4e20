# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the errors of a journal are shown without secrets and control characters."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.status import log_lines


def test_last_three_errors_are_selected() -> None:
    lines = ["error one", "info", "Error two", "cannot three", "", "Permission denied four", "bye"]
    assert log_lines.select(lines, []) == ["Error two", "cannot three", "Permission denied four"]


def test_last_lines_are_selected_where_none_is_an_error() -> None:
    assert log_lines.select(["a", "b", "", "c", "d"], []) == ["b", "c", "d"]


def test_state_that_systemd_repeats_is_left_out() -> None:
    lines = [
        "ImportError: no module torch",
        "noslop-comfyui.service: Main process exited, code=exited, status=1/FAILURE",
        "noslop-comfyui.service: Failed with result 'exit-code'.",
        "noslop-comfyui.service: Scheduled restart job, restart counter is at 5.",
    ]
    assert log_lines.select(lines, []) == ["ImportError: no module torch"]


def test_lines_are_printable_and_short() -> None:
    (line,) = log_lines.select(["\x1b[31mError\x07: " + "x" * 500], [])
    assert line.isprintable()
    assert len(line) == 200


@pytest.mark.parametrize(
    "line",
    [
        "error: postgresql+psycopg://noslop:HIDDEN/x@db/name refused",
        "error: HF_TOKEN=HIDDEN is invalid",
        'error: {"api_key": "HIDDEN"}',
        "error: Authorization: Bearer HIDDEN",
        "error: password HIDDEN-of-a-file was refused",
        "cannot open https://hooks.example/services/HIDDEN-of-a-file",
        "error: bearer HIDDEN.abcdef",
        "error: --password='HIDDEN'",
        "error: X-Api-Key: HIDDEN; retry",
    ],
)
def test_secrets_are_replaced(line: str) -> None:
    (shown,) = log_lines.select([line], ["HIDDEN-of-a-file"])
    assert "HIDDEN" not in shown
    assert log_lines.REMOVED in shown


def test_values_of_files_of_secrets_are_secrets(tmp_path: Path) -> None:
    environment, webhook, alone = (tmp_path / name for name in ("environment", "webhook.json", "token"))
    environment.write_text('CIVITAI_TOKEN="abcdefgh"\nDEBUG="1"\n')
    webhook.write_text('{"url": "https://hooks.example/SECRET", "format": "slack"}\n')
    alone.write_text("hf_123456789\n")
    secrets = log_lines.read_secrets(map(str, (environment, webhook, alone)))
    assert {"abcdefgh", "https://hooks.example/SECRET", "hf_123456789"} <= set(secrets)
    assert "1" not in secrets
