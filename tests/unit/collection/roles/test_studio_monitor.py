# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the program that the role studio_verify installs: its files are complete, and it runs without Ansible."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.lookup import program_files

REPOSITORY = Path(__file__).parents[4]
COLLECTION = REPOSITORY / "collections/ansible_collections/noslop/studio"
ROLE = COLLECTION / "roles/studio_verify"
PACKAGE = "ansible_collections/noslop/studio/plugins/module_utils"
URL = "https://hooks.example.com/services/T0/SECRET"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may write files for root, and check a share")


def run_play(directory: Path, tasks: list[dict[str, Any]], *options: str, **variables: object) -> str:
    """Run tasks with the variables of the role on this host, and return what Ansible printed."""
    play = {
        "name": "A play",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        "tasks": tasks,
    }
    (directory / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    extra = {"noslop_studio_id": "studio", "ansible_python_interpreter": sys.executable, **variables}
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "--extra-vars", json.dumps(extra), *options, str(directory / "play.yml")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read_task(file: str, name: str) -> dict[str, Any]:
    """Return a task of the role, with the path of its template."""
    tasks = yaml.safe_load((ROLE / "tasks" / file).read_text("utf-8"))
    task: dict[str, Any] = next(task for task in tasks if task["name"] == name)
    text = json.dumps(task)
    return dict(json.loads(re.sub(r"'src': '([^']+)'", rf"'src': '{ROLE}/templates/\1'", text)))


def write_settings(root: Path, **variables: object) -> Path:
    """Write the settings of a studio of this host alone with the role's template."""
    settings = root / "settings.json"
    task = {
        "name": "Write the settings",
        "ansible.builtin.template": {"src": str(ROLE / "templates/settings.json.j2"), "dest": str(settings)},
    }
    values = {
        "noslop_storage_provider": "local",
        "noslop_firewall_enabled": False,
        "noslop_storage_root": str(root / "storage"),
        "studio_verify_server": True,
        "studio_verify_monitor_textfile_directory": str(root / "node-exporter"),
    }
    run_play(root, [task], **values, **variables)
    return settings


def install(directory: Path) -> None:
    """Copy the program as the role writes it."""
    for name in program_files.list_files(["monitor/program"]):
        target = directory / PACKAGE / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(COLLECTION / f"plugins/module_utils/{name}.py", target)
    shutil.copyfile(ROLE / "templates/__main__.py.j2", directory / "__main__.py")


@root_only
@pytest.mark.slow
def test_program_runs_alone_with_the_settings_of_the_role(tmp_path: Path) -> None:
    install(tmp_path / "program")
    (tmp_path / "node-exporter").mkdir()
    # Values of an inventory or of --extra-vars may be texts.
    path = write_settings(
        tmp_path, studio_verify_ollama="true", studio_verify_ollama_port="1", noslop_min_free_gb="7.5"
    )
    settings = json.loads(path.read_text("utf-8"))
    options = settings["options"]
    assert (options["ollama"], options["ollama_port"], options["min_free_gb"]) == (True, 1, 7.5)
    settings["status_directory"] = str(tmp_path / "status")
    (tmp_path / "status").mkdir()
    path.write_text(json.dumps(settings), encoding="utf-8")
    command = ["/usr/bin/python3", "-I", "-X", f"pycache_prefix={tmp_path}/cache", str(tmp_path / "program"), str(path)]

    done = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "bad: storage.mounted projects: " in done.stdout
    status = json.loads((tmp_path / "status/status.json").read_text("utf-8"))
    assert {check["share"] for check in status["checks"]} > {"projects", "ollama_models", "media_cache"}
    assert "services.ollama_unit" in {check["check"] for check in status["checks"]}
    assert (tmp_path / "node-exporter/noslop.prom").exists()
    assert list((tmp_path / "program").rglob("__pycache__")) == [], "root compiles into its own directory"
    again = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", ""), "what did not turn is not printed"


@root_only
@pytest.mark.slow
def test_address_of_the_webhook_is_written_for_root_and_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")
    (tmp_path / "url").chmod(0o600)
    file = tmp_path / "credentials/unit/webhook.json"
    task = read_task("monitor_install.yml", "monitor_install | Write or remove the address of the webhook")
    variables = {
        "__studio_verify_monitor_webhook_file": str(file),
        "noslop_monitor_webhook": {"secret_file": str(tmp_path / "url"), "format": "slack"},
    }

    printed = run_play(tmp_path, [task], "-vvvv", "--diff", **variables)

    written = json.loads(file.read_text("utf-8"))
    assert (written["url"], written["format"]) == (URL, "slack")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "SECRET" not in printed
    assert "changed=0" in run_play(tmp_path, [task], **variables)
    assert "changed=1" in run_play(tmp_path, [task], **{**variables, "noslop_monitor_webhook": {}})
    assert not file.exists()
