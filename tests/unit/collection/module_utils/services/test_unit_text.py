# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what is read from unit files: of this version, of the version before, and of others."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.services import unit_text

from tests.unit.collection.roles.test_units import unit

BASE = "/opt/noslop/comfyui"
BEFORE = f"""
[Service]
ExecStartPre=/bin/sh -c 'test -e {BASE}/not-this/main.py'
ExecStart={BASE}/venvs/v0.3.64-cpu/bin/python {BASE}/v0.3.64/main.py \\
    --listen 0.0.0.0 --port 8188 \\
    --database-url sqlite:////var/lib/noslop/comfyui/user/comfyui.db --cpu
Restart=always
"""


@pytest.mark.parametrize(
    ("text", "base", "programs", "version", "database"),
    [
        (
            BEFORE,
            BASE,
            {"venvs/v0.3.64-cpu", "v0.3.64"},
            "v0.3.64",
            "/var/lib/noslop/comfyui/user/comfyui.db",
        ),
        ("ExecStart=/opt/noslop/ollama/0.32.7/bin/ollama serve\n", "/opt/noslop/ollama", {"0.32.7"}, "0.32.7", ""),
        ("ExecStart=/bin/sleep infinity\n", BASE, set(), "", ""),
        ("", BASE, set(), "", ""),
    ],
)
def test_unit_names_version_and_database(text: str, base: str, programs: set[str], version: str, database: str) -> None:
    assert unit_text.find_programs(text, base) == programs
    assert unit_text.find_version(text, base) == version
    assert unit_text.find_database(text) == database


def test_each_version_has_a_database_of_its_own() -> None:
    versions = [unit("noslop-comfyui.service", comfyui_revision=revision) for revision in ("v0.3.64", "v0.33.0")]
    assert [unit_text.find_version(text, BASE) for text in versions] == ["v0.3.64", "v0.33.0"]
    assert len({unit_text.find_database(text) for text in versions} - {""}) == 2


def test_other_packages_are_another_program() -> None:
    locks = [unit("noslop-comfyui.service", __comfyui_lock={"lock": lock}) for lock in ("a==1", "a==2")]
    assert unit_text.find_programs(locks[0], BASE) != unit_text.find_programs(locks[1], BASE)
