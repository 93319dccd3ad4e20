# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the roles of the services refuse settings before they change anything, in a real play."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[4]
REFUSED = {
    "ollama": {"ollama_settings": {"OLLAMA_NUM_PARALEL": 2, "OLLAMA_MODELS": "/srv"}},
    "comfyui": {"comfyui_flags": {"lowvram": "no"}, "comfyui_torch_index": "cpu"},
}
EXPECTED = (
    "Did you mean OLLAMA_NUM_PARALLEL?",
    "ollama_settings.OLLAMA_MODELS is set by NoSlop: set noslop_ollama_models_dir for the whole studio.",
    "comfyui_flags.lowvram is the text 'no'; ComfyUI wants true or false, without quotes.",
)


def test_unusable_settings_are_refused_with_what_to_do(tmp_path: Path) -> None:
    tasks = [
        {
            "ansible.builtin.include_role": {"name": f"noslop.studio.{role}", "tasks_from": "preflight"},
            "vars": variables,
        }
        for role, variables in REFUSED.items()
    ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": True,
        "gather_subset": ["!all", "min"],
        "vars": {"noslop_studio_id": "here", "ansible_python_interpreter": sys.executable},
        "tasks": [{"block": [task], "rescue": [{"ansible.builtin.meta": "clear_host_errors"}]} for task in tasks],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    command = [program, str(tmp_path / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)

    for words in EXPECTED:
        assert words in done.stdout, done.stdout + done.stderr
