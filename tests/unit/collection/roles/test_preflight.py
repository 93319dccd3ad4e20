# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that roles refuse versions that cannot work before they change anything, in real plays."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.collection.lookup.test_studio import REPOSITORY, ROLES, run_playbook

ACCEPTED = "every assertion passed"


@pytest.mark.parametrize(
    ("role", "variables", "message"),
    [
        ("comfyui", {}, ACCEPTED),
        ("comfyui", {"noslop_comfyui_version": "0.3.64", "comfyui_torch_packages": ["torch==2.6.0"]}, ACCEPTED),
        ("comfyui", {"comfyui_torch_packages": ["torch==2.7.1", "torchvision==0.22.1"]}, ACCEPTED),
        (
            "comfyui",
            {"comfyui_torch_packages": ["torch==2.6.0+cpu"]},
            "torch_packages pins 2.6.0. Do this: pin",
        ),
        ("comfyui", {"noslop_comfyui_version": "master"}, "noslop_comfyui_version: 'master' is no version of ComfyUI"),
        ("ollama", {}, ACCEPTED),
        ("ollama", {"noslop_ollama_version": "0.20.2"}, "Ollama 0.20.2 lets every host that reaches it write files ("),
        ("ollama", {"noslop_ollama_version": "0.20.2", "ollama_allow_vulnerable": True}, ACCEPTED),
        ("ollama", {"noslop_ollama_version": "0.17.0"}, "read memory and write files (CVE-2026-7482, CVE-2026-7020)"),
    ],
)
def test_version_that_cannot_work_is_refused(
    tmp_path: Path, role: str, variables: dict[str, object], message: str
) -> None:
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.setup": {"gather_subset": ["!all", "min"]}},
        {"ansible.builtin.import_role": {"name": f"noslop.studio.{role}", "tasks_from": "preflight"}},
        {"ansible.builtin.debug": {"msg": ACCEPTED}},
    ]
    host = {"noslop_studio_id": "test", "ansible_python_interpreter": sys.executable}
    output = run_playbook(tmp_path, tasks, **host, **variables)

    assert message in output
    assert (ACCEPTED in output) == (message == ACCEPTED)


def test_preflight_asks_for_the_python_that_the_backend_needs() -> None:
    (line,) = [
        line for line in (REPOSITORY / "backend/pyproject.toml").read_text().splitlines() if "requires-python" in line
    ]
    defaults = yaml.safe_load((ROLES / "studio_preflight/defaults/main.yml").read_text("utf-8"))
    assert json.loads(line.partition(" = ")[2]) == f">={defaults['studio_preflight_pythons']['backend']['oldest']}"
