# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of the playbooks: those that the collection's README documents, each of which reaches its tasks."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[4]
COLLECTION = ROOT / "collections/ansible_collections/noslop/studio"
_TASK = re.compile(r"^ {6}(?:noslop\.studio\.(?P<role>\w+) : )?(?P<name>.+?)\tTAGS: \[(?P<tags>.*)\]$")
_TAG = re.compile(r"`([a-z_]+)`")


def run_playbook(
    name: str, *words: str, inventory: Path = ROOT / "inventories/example"
) -> subprocess.CompletedProcess[str]:
    """Run one of the root playbooks in a checkout."""
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [program, "-i", inventory, ROOT / "playbooks" / f"{name}.yml", *words],
        cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@functools.cache
def tasks_by_tag() -> dict[str, set[tuple[str, str]]]:
    """Return role and name of the tasks that each tag reaches, without those of an argument specification."""
    tasks: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for playbook in ("site", "models", "teardown"):
        listed = run_playbook(playbook, "--list-tasks")
        assert listed.returncode == 0, listed.stderr
        for match in map(_TASK.match, listed.stdout.splitlines()):
            if match and not match["name"].startswith("Validating arguments"):
                for tag in match["tags"].split(", "):
                    tasks[tag].add((match["role"] or "", match["name"]))
    return tasks


def documented_tags() -> set[str]:
    """Return the tags in the first column of the README's table of tags."""
    table = (COLLECTION / "README.md").read_text("utf-8").partition("| tag | what runs |")[2].partition("\n\n")[0]
    return {tag for line in table.splitlines() for tag in _TAG.findall(line.split("|")[1] if "|" in line else "")}


def test_each_tag_is_documented_and_each_documented_tag_has_tasks() -> None:
    assert documented_tags() == set(tasks_by_tag()) - {"always", ""}


def list_tasks(role: str, file: str = "main.yml") -> set[tuple[str, str]]:
    """Return role and name of the tasks in a file of a role and in what it imports, without those that run always."""
    tasks: set[tuple[str, str]] = set()
    for task in yaml.safe_load((COLLECTION / "roles" / role / "tasks" / file).read_text("utf-8")):
        if imported := task.get("ansible.builtin.import_tasks"):
            tasks |= list_tasks(role, imported)
        elif other := task.get("ansible.builtin.import_role"):
            tasks |= list_tasks(other["name"].rpartition(".")[2], other.get("tasks_from", "main") + ".yml")
        elif "block" in task:
            tasks |= {(role, inner["name"]) for inner in task["block"]}
        else:
            tasks.add((role, task["name"]))
    return tasks


@pytest.mark.parametrize("role", sorted(path.name for path in (COLLECTION / "roles").iterdir()))
def test_a_roles_tag_reaches_every_task_of_the_role(role: str) -> None:
    assert list_tasks(role) - tasks_by_tag()[role] == set()


@pytest.mark.parametrize("role", sorted(path.parents[1].name for path in COLLECTION.glob("roles/*/tasks/install.yml")))
def test_an_install_tag_reaches_the_tasks_that_install(role: str) -> None:
    assert list_tasks(role, "install.yml") <= tasks_by_tag()[f"{role}_install"]


def test_tasks_are_imported_so_that_tags_reach_them() -> None:
    files = [*(COLLECTION / "roles").glob("*/tasks/*.yml"), *(COLLECTION / "playbooks").glob("*.yml")]
    including = {file.name for file in files if re.search(r"include_tasks|include_role", file.read_text("utf-8"))}
    # A teardown and a move run whole: no tag selects a part of them.
    assert including == {"teardown.yml", "move_storage.yml"}


def test_verification_without_hosts_fails(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all:\n  hosts: {}\n", encoding="ascii")
    done = run_playbook("verify", inventory=inventory)
    assert done.returncode == 2
    assert "No check ran" in done.stdout
