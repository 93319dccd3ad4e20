# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the entry of one host changes, and no other character of an inventory."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
import yaml

from noslop_driver.errors import UsageError
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.inventory.host_edit import add_variable, plan_removal, plan_variables, remove_host, set_variable
from noslop_driver.inventory.yaml_edit import EditError

HOSTS = """\
---
# Our machines.
all:
  hosts:
    server:
      ansible_host: 10.0.0.11
    # under the desk
    worker2:   # the loud one
      ansible_host: 10.0.0.12   # by DHCP
      noslop_address: "10.0.0.12"
    worker3:
      ansible_host: 10.0.0.13
  children:
    storage_server:
      hosts:
        server:
    storage_clients:  # Mount them over the network.
      hosts:
        worker2:
        worker3:
    comfyui:
      hosts:   # with a card
        worker2:
      vars:
        comfyui_port: 8188
# the end
"""


def list_changes(before: str, after: str) -> list[str]:
    """Return the lines that came and went."""
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


@pytest.fixture
def studio(tmp_path: Path) -> StudioDirectory:
    (tmp_path / "hosts.yml").write_text(HOSTS, encoding="utf-8")
    return StudioDirectory(tmp_path)


def test_removed_host_leaves_every_group_and_no_comment() -> None:
    assert list_changes(HOSTS, remove_host(HOSTS, "worker2")) == [
        "-     worker2:   # the loud one",
        "-       ansible_host: 10.0.0.12   # by DHCP",
        '-       noslop_address: "10.0.0.12"',
        "-         worker2:",
        "-       hosts:   # with a card",
        "+       hosts: {}   # with a card",
        "-         worker2:",
    ]


def test_changed_variable_keeps_its_comment() -> None:
    changed = set_variable(HOSTS, "worker2", "ansible_host", "10.0.0.23")
    assert changed is not None
    assert list_changes(HOSTS, changed) == [
        "-       ansible_host: 10.0.0.12   # by DHCP",
        "+       ansible_host: 10.0.0.23   # by DHCP",
    ]
    assert set_variable(HOSTS, "worker2", "ansible_port", 23) is None


def test_added_variable_stands_in_the_entry_of_the_host() -> None:
    added = add_variable(HOSTS, "worker2", "ansible_port", 2222)
    assert added is not None
    assert list_changes(HOSTS, added) == ["+       ansible_port: 2222"]
    assert yaml.safe_load(added)["all"]["hosts"]["worker2"]["ansible_port"] == 2222


@pytest.mark.parametrize(
    "text",
    [
        "all:\n  hosts:\n    worker2: &one\n      ansible_host: 1\n    worker3: *one\n",
        "all:\n  hosts:\n    worker2:\n      ansible_host: !vault |\n        abc\n",
        "all:\n  hosts:\n    worker2: {ansible_host: >\n      10.0.0.12}\n",
    ],
)
def test_other_forms_are_errors(text: str) -> None:
    with pytest.raises(EditError):
        remove_host(text, "worker2")
    with pytest.raises(EditError):
        set_variable(text, "worker2", "ansible_host", "10.0.0.23")


def test_list_in_brackets_loses_no_host() -> None:
    with pytest.raises(EditError, match="in brackets"):
        remove_host("all: {hosts: {worker2: {ansible_host: 10.0.0.12}}}\n", "worker2")


def test_own_file_of_a_host_is_changed_before_the_inventory(studio: StudioDirectory) -> None:
    own = studio.path / "host_vars/worker2.yml"
    own.parent.mkdir()
    own.write_text("# mine\nansible_host: 10.0.0.12  # here\n", encoding="utf-8")
    changes = plan_variables(studio, "worker2", {"ansible_host": "10.0.0.23", "noslop_address": "10.0.0.23"})
    assert changes["host_vars/worker2.yml"] == "# mine\nansible_host: 10.0.0.23  # here\n"
    assert list_changes(HOSTS, changes["hosts.yml"]) == [
        '-       noslop_address: "10.0.0.12"',
        "+       noslop_address: 10.0.0.23",
    ]


def test_host_that_only_a_pattern_names_is_not_removed(studio: StudioDirectory) -> None:
    (studio.path / "hosts.yml").write_text("all:\n  hosts:\n    worker[1:3]:\n", encoding="utf-8")
    with pytest.raises(UsageError, match="worker2 has no entry of its own"):
        plan_removal(studio, "worker2")
    with pytest.raises(UsageError, match=r"Write ansible_host: 10.0.0.23 for worker2 there by hand"):
        plan_variables(studio, "worker2", {"ansible_host": "10.0.0.23"})


def test_files_keep_their_owner(studio: StudioDirectory) -> None:
    texts = plan_removal(studio, "worker2")
    assert studio.change_files(texts) == {"hosts.yml": HOSTS}
    assert studio.is_edited("hosts.yml"), "it was a user's before"
    studio.write_state("written.json", "{}")
    before = (studio.path / "hosts.yml").read_text(encoding="utf-8")
    assert before == texts["hosts.yml"]
