# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the version of a service is read from its unit file."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.services.versions import read_version


@pytest.mark.parametrize(
    ("service", "program", "version"),
    [
        ("ollama", "ollama/0.32.7/bin/ollama serve", "0.32.7"),
        ("comfyui", "comfyui/0.33.0/main.py", "0.33.0"),
        ("comfyui", "comfyui/0123456789ab0123456789ab/main.py", "0123456789ab0123456789ab"),
        ("backend", "backend/0.1.0-0123456789ab/venv/bin/python -I -m noslop_backend.cli serve", "0.1.0"),
    ],
)
def test_version_is_that_of_the_command(tmp_path: Path, service: str, program: str, version: str) -> None:
    unit = tmp_path / studio.SERVICES[service].unit
    unit.write_text(f"[Service]\nExecStart=/opt/noslop/{program}\n")
    assert read_version(service, str(tmp_path)) == version


def test_service_without_a_unit_has_no_version(tmp_path: Path) -> None:
    assert read_version("ollama", str(tmp_path)) == ""
