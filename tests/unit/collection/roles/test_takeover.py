# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what the takeover of an existing Ollama and ComfyUI adopts and reports, with the roles' own tasks in a play."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[4]
ROLES = REPOSITORY / "collections/ansible_collections/noslop/studio/roles"
ADOPTED: dict[str, list[Any]] = {
    "carried": [{"src": "/data/models", "renamed_to": "", "renamed_on_share": [], "kept_on_share": []}],
    "stopped": ["unit ollama.service"],
    "not_adopted": [],
    "absent": [],
}
UNIT = {
    "name": "ollama.service",
    "user": "ollama",
    "home": "/usr/share/ollama",
    "sources": ["/etc/systemd/system/ollama.service", "/etc/systemd/system/ollama.service.d/big.conf"],
    "environment": {"OLLAMA_MODELS": "/data/models/", "OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_HOST": "0.0.0.0"},
    "hidden": ["HF_TOKEN", "PATH"],
    "unread": ["/home/artist/env: an account other than root can change it"],
}
PATHS = "disk: {base_path: /mnt/disk, loras: loras}\nown: {vae: models/vae}\n"


def run_tasks(directory: Path, role: str, tasks: list[dict[str, Any]], **variables: object) -> str:
    """Run tasks with the variables of a role, and return what was printed."""
    play = {
        "name": "A play",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROLES / role / part / "main.yml") for part in ("defaults", "vars")],
        "vars": {"noslop_studio_id": "here"},
        "tasks": tasks,
    }
    (directory / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    command = [program, "--extra-vars", json.dumps(variables), str(directory / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.replace('\\"', '"').split())


def read_reports(role: str) -> list[dict[str, Any]]:
    """Return the tasks of a role's takeover that report something."""
    tasks = yaml.safe_load((ROLES / role / "tasks/takeover.yml").read_text("utf-8"))
    return [task for task in tasks if "ansible.builtin.debug" in task]


def test_models_of_the_existing_units_are_adopted(tmp_path: Path) -> None:
    cases: list[tuple[list[dict[str, Any]], list[str]]] = [
        ([], []),
        ([UNIT], ["/data/models"]),
        ([{**UNIT, "environment": {}}], []),  # the vendor's own directory, which is adopted anyway
        ([{**UNIT, "environment": {}, "home": "/home/artist"}], ["/home/artist/.ollama/models"]),
        ([{**UNIT, "environment": {"OLLAMA_MODELS": "/mnt/noslop/ollama/models"}}], []),
        ([{**UNIT, "environment": {"OLLAMA_MODELS": "models"}, "home": ""}], []),
    ]
    results = [tmp_path / f"{number}.json" for number in range(len(cases))]
    tasks = [
        {
            "ansible.builtin.copy": {"content": "{{ __ollama_pairs | to_json }}", "dest": str(result)},
            "vars": {"__ollama_existing": {"units": units}},
        }
        for result, (units, _) in zip(results, cases, strict=True)
    ]

    run_tasks(tmp_path, "ollama", tasks)

    for result, (_, expected) in zip(results, cases, strict=True):
        pairs = json.loads(result.read_text("utf-8"))
        assert [pair["src"] for pair in pairs] == ["/usr/share/ollama/.ollama/models", *expected]
        assert {(pair["dest"], pair["share"]) for pair in pairs} == {("/mnt/noslop/ollama/models", "ollama_models")}
        assert [pair.get("contains") for pair in pairs] == [None, *[["blobs", "manifests"]] * len(expected)]


def test_settings_of_the_existing_ollama_are_reported(tmp_path: Path) -> None:
    variables = {"__ollama_existing": {"units": [UNIT]}, "__ollama_adopted": ADOPTED}

    printed = run_tasks(tmp_path, "ollama", read_reports("ollama"), **variables)

    assert 'ollama_settings: {"OLLAMA_FLASH_ATTENTION": true}.' in printed
    assert "OLLAMA_HOST is not adopted: set ollama_listen_address and ollama_port." in printed
    assert "only their names are shown: HF_TOKEN. Write those that Ollama needs into ollama_environment" in printed
    assert "Not read: /home/artist/env: an account other than root can change it." in printed


def test_further_directories_of_the_existing_comfyui_are_reported(tmp_path: Path) -> None:
    home = "/home/artist/ComfyUI"
    adopted = {**ADOPTED, "carried": [{**ADOPTED["carried"][0], "followed": ["upscale/elsewhere"], "dangling": []}]}
    files = [
        {"path": f"{home}/extra_model_paths.yaml", "text": PATHS, "problem": ""},
        {"path": "/broken", "text": "- a", "problem": ""},
    ]

    printed = run_tasks(
        tmp_path,
        "comfyui",
        read_reports("comfyui"),
        comfyui_existing_dir=home,
        __comfyui_existing={"files": files},
        __comfyui_adopted=adopted,
    )

    assert "whose content was copied: upscale/elsewhere." in printed, printed
    assert f"Adopted together with models: {home}/models/vae. Not copied" in printed
    assert "not used by the studio''s ComfyUI: /mnt/disk/loras (loras). Copy what the studio should have" in printed
    assert "/broken on localhost could not be read (it has no sections)." in printed
