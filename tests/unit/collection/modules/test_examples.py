# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the EXAMPLES of all modules: their options are documented and of the right type, and they run where they can."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.noslop.studio.plugins.module_utils import studio

from tests.support.module_runner import run_module

REPOSITORY = Path(__file__).parents[4]
MODULES = REPOSITORY / "collections/ansible_collections/noslop/studio/plugins/modules"
NAMES = sorted(path.stem for path in MODULES.glob("*.py"))
PREFIX = "noslop.studio."
ENVIRONMENT = {
    **os.environ,
    "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_LOCALHOST_WARNING": "no",
}
#: Modules whose example changes the kernel or systemd of the host, or judges a whole studio, and what runs them.
RUN_ON_THE_LAB = {
    "check_report": "molecule/studio_verify",
    "nfs_exports": "molecule/nfs_server",
    "nfs_mounts": "molecule/nfs_client",
    "node_trial": "molecule/comfyui",
    "nft_table": "molecule/studio_firewall",
    "studio_check": "molecule/studio_verify",
    "service_switch": "molecule/ollama",
    "web_service": "molecule/studio_backend",
}
#: A value of each type, in place of a template in an example.
VALUES: dict[str, Any] = {"str": "x", "path": "/x", "bool": True, "int": 1, "float": 1.0, "list": [], "dict": {}}

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="the examples become root")


def run_ansible(program: str, *words: str) -> str:
    command = [str(Path(sys.executable).with_name(program)), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    """Return the documentation of all modules as Ansible reads it, with fragments."""
    text = run_ansible("ansible-doc", "--type", "module", "--json", *(f"{PREFIX}{name}" for name in NAMES))
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def argument_spec(options: dict[str, Any]) -> dict[str, Any]:
    """Return documented options in the form of an argument spec."""
    kept = ("type", "elements", "required", "choices", "default")
    return {
        name: {
            **{key: option[key] for key in kept if option.get(key) is not None},
            **({"options": argument_spec(option["suboptions"])} if "suboptions" in option else {}),
        }
        for name, option in options.items()
    }


def without_templates(arguments: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: VALUES[options[name]["type"]] if "{{" in str(value) and name in options else value
        for name, value in (arguments or {}).items()
    }


def tasks_of(documents: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Yield the arguments of each task with this module in its examples."""
    for task in yaml.safe_load(documents[PREFIX + name]["examples"]):
        if PREFIX + name in task:
            yield task[PREFIX + name]


@pytest.mark.parametrize("name", NAMES)
def test_examples_use_documented_options(name: str, documents: dict[str, Any]) -> None:
    options = documents[PREFIX + name]["doc"].get("options", {})
    examples = list(tasks_of(documents, name))
    assert examples
    for arguments in examples:
        result = ArgumentSpecValidator(argument_spec(options)).validate(without_templates(arguments, options))
        assert result.error_messages == []


@pytest.mark.parametrize("name", NAMES)
def test_examples_run_in_a_test_or_their_module_on_the_lab(name: str) -> None:
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob(f"test_{name}.py"))
    here = f"def test_example_of_{name}_runs" in Path(__file__).read_text("utf-8")
    assert here + ("def test_documented_example_runs" in tests) + (name in RUN_ON_THE_LAB) == 1
    if name in RUN_ON_THE_LAB:
        assert (REPOSITORY / RUN_ON_THE_LAB[name] / "molecule.yml").is_file()


def run_play(directory: Path, tasks: list[dict[str, Any]], **variables: object) -> str:
    """Run tasks on this computer."""
    play = {"name": "A play", "hosts": "localhost", "connection": "local", "gather_facts": False}
    values = {"ansible_python_interpreter": sys.executable, **variables}
    (directory / "play.yml").write_text(json.dumps([{**play, "vars": values, "tasks": tasks}]), "utf-8")
    return run_ansible("ansible-playbook", str(directory / "play.yml"))


def run_example(name: str, examples: str, **more: object) -> dict[str, Any]:
    """Run the only task of these examples, with more arguments, and return the result."""
    (task,) = yaml.safe_load(examples)
    return run_module(name, {**task[PREFIX + name], **more})


def test_example_of_service_versions_runs(documents: dict[str, Any]) -> None:
    answer = run_example("service_versions", documents["noslop.studio.service_versions"]["examples"])
    (entry,) = answer["service_versions"]
    assert (entry["service"], entry["wanted"]) == ("ollama", "0.32.7")
    assert answer["switched"] == [], "a service that is installed for the first time is not switched"


def test_example_of_studio_status_runs(documents: dict[str, Any]) -> None:
    status = run_example("studio_status", documents["noslop.studio.studio_status"]["examples"])["studio_status"]
    assert [service["service"] for service in status["services"]] == ["ollama"]
    assert [room["name"] for room in status["room"]] == ["/"]


def test_example_of_gpu_facts_runs(tmp_path: Path, documents: dict[str, Any]) -> None:
    output = run_play(tmp_path, yaml.safe_load(documents["noslop.studio.gpu_facts"]["examples"]))
    assert "failed=0" in output
    assert re.search(r"ok=2 +changed=0", output), output


def test_example_of_existing_settings_runs(documents: dict[str, Any]) -> None:
    answer = run_example("existing_settings", documents["noslop.studio.existing_settings"]["examples"])
    assert (answer["changed"], answer["files"]) == (False, [])


@root_only
def test_example_of_managed_files_runs(tmp_path: Path, documents: dict[str, Any]) -> None:
    text = documents["noslop.studio.managed_files"]["examples"].replace("/etc/", f"{tmp_path}/etc/")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/server.service.j2").write_text("# Managed by NoSlop\n[Unit]\n")
    (tmp_path / "templates/environment.j2").write_text("# Managed by NoSlop\nTOKEN={{ hidden }}\n")
    old = tmp_path / "etc/systemd/system/old.service"
    old.parent.mkdir(parents=True)
    old.write_text("# Managed by NoSlop\n")

    output = run_play(tmp_path, yaml.safe_load(text), hidden="of the unit")

    assert re.search(r"ok=2 +changed=2", output), output
    assert not old.exists()
    secret = tmp_path / "etc/noslop/credentials/server.service/environment"
    assert secret.read_text() == "# Managed by NoSlop\nTOKEN=of the unit\n"
    assert (secret.stat().st_mode & 0o777, secret.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@root_only
def test_example_of_studio_lease_runs(tmp_path: Path, documents: dict[str, Any]) -> None:
    (task,) = yaml.safe_load(documents["noslop.studio.studio_lease"]["examples"])
    lease = {"directory": str(tmp_path / "lease")}
    acquire = {**task, "noslop.studio.studio_lease": lease}
    release = {**task, "noslop.studio.studio_lease": {**lease, "state": "released"}}

    output = run_play(tmp_path, [acquire, {"ansible.builtin.command": f"ls {tmp_path}/lease"}, release])

    assert re.search(r"ok=3 +changed=1", output), output


@root_only
def test_example_of_state_directories_runs(tmp_path: Path, documents: dict[str, Any]) -> None:
    text = documents["noslop.studio.state_directories"]["examples"].replace("/var/lib/noslop", str(tmp_path / "state"))
    # Accounts of every Debian in place of NoSlop's, and a unit that is not on this computer.
    text = text.replace(studio.SERVICES["comfyui"].unit, "noslop-none-such.service")
    text = text.replace("owner: noslop-comfyui", "owner: games").replace("owner: noslop", "owner: news")
    state = tmp_path / "state/comfyui"
    state.parent.mkdir()

    result = run_example("state_directories", text)

    assert result["changed"], result
    assert (state.owner(), state.stat().st_mode & 0o7777) == ("games", 0o2770)


def test_example_of_adopt_directory_runs(tmp_path: Path, documents: dict[str, Any]) -> None:
    text = documents["noslop.studio.adopt_directory"]["examples"]
    text = text.replace("/mnt/noslop", str(tmp_path / "shares")).replace("/home/artist", str(tmp_path / "home"))
    text = text.replace("{{ noslop_studio_id }}", "here")
    models, share = tmp_path / "home/ComfyUI/models", tmp_path / "shares/comfyui/models"
    for directory in (models, share):
        directory.mkdir(parents=True)
    (models / "flux.safetensors").write_text("weights")
    marker = {"studio_id": "here", "share": "comfyui_models", "share_id": "1"}
    (share / studio.MARKER).write_text(json.dumps(marker))

    result = run_example("adopt_directory", text, account=getpass.getuser())  # in place of noslop

    assert result["changed"], result
    assert models.readlink() == share
    assert (share / "flux.safetensors").read_text() == "weights"
