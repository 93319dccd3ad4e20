# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the evidence of the clock, the cards, the certificates and what ComfyUI computes on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.evidence import system


def test_clock_says_whether_a_service_corrects_it() -> None:
    text = "Timezone=Etc/UTC\nLocalRTC=no\nCanNTP=no\nNTP=no\nNTPSynchronized=no\n"
    assert system.parse_clock(text) == {"can_ntp": False, "ntp": False, "synchronized": False}
    assert system.parse_clock("") == {"can_ntp": None, "ntp": None, "synchronized": None}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"devices": [{"name": "cuda:0 RTX", "type": "cuda"}]}, ["cuda"]),
        ({"devices": [{"name": "cpu", "type": "cpu"}]}, ["cpu"]),
        ({"devices": "none"}, []),
        ({"devices": [1, {"type": 2}, {"type": "x" * 500}]}, ["x" * 20]),
        ("text", []),
        (None, []),
    ],
)
def test_devices_of_comfyui_are_read_from_any_answer(answer: Any, expected: list[str]) -> None:  # noqa: ANN401 - JSON
    assert system.parse_devices(answer) == expected


def test_days_of_a_certificate_are_counted(tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"{name}.pem") for name in ("authority", "certificate", "key")}
    for name in ("authority", "certificate"):
        words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "12")
        paths = ("-keyout", files["key"], "-out", files[name])
        subprocess.run(["openssl", *words, *paths], check=True, capture_output=True)
    read = system.read_certificates({"transport": "tls", "provider": "nfs", "tls_files": files})
    assert [(entry["path"], entry["made"]) for entry in read] == [
        (files["certificate"], False),
        (files["authority"], False),
    ]
    assert all(11 < entry["days"] <= 12 for entry in read)
    assert system.read_certificates({"provider": "nfs", "tls_files": {}}) == []
