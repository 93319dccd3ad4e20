# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that server and client change places in an inventory, and that no other character of it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from noslop_driver.errors import UsageError
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.inventory.storage_groups import add_client, exchange, plan_exchange
from noslop_driver.inventory.yaml_edit import EditError
from tests.unit.driver.inventory.test_host_edit import HOSTS, list_changes


def test_server_and_client_change_places_and_comments_stay() -> None:
    changed = exchange(HOSTS, "server", "worker2")
    assert list_changes(HOSTS, changed) == [
        "-         server:",
        "+         worker2:",
        "-         worker2:",
        "+         server:",
    ]
    groups = yaml.safe_load(changed)["all"]["children"]
    assert groups["storage_server"]["hosts"] == {"worker2": None}
    assert groups["storage_clients"]["hosts"] == {"server": None, "worker3": None}
    assert groups["comfyui"]["hosts"] == {"worker2": None}, "what else a host does is not changed"
    assert exchange(changed, "worker2", "server") == HOSTS


def test_comment_behind_an_entry_stays() -> None:
    text = HOSTS.replace(
        "        server:\n    storage_clients", "        server:  # with the disks\n    storage_clients"
    )
    assert "        worker2:  # with the disks\n" in exchange(text, "server", "worker2")


@pytest.mark.parametrize(
    ("hosts", "line"),
    [
        ("      hosts:\n        worker3:\n", "        server:\n"),
        ("      hosts: {}  # none\n", "      hosts:  # none\n"),
    ],
)
def test_server_becomes_a_client_where_the_new_one_was_none(tmp_path: Path, hosts: str, line: str) -> None:
    text = HOSTS.replace("      hosts:\n        worker2:\n        worker3:\n", hosts)
    (tmp_path / "hosts.yml").write_text(text)
    changed = plan_exchange(StudioDirectory(tmp_path), "server", "worker2")["hosts.yml"]
    assert line in changed
    assert "server" in yaml.safe_load(changed)["all"]["children"]["storage_clients"]["hosts"]


def test_groups_in_two_files_are_changed_in_both(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    more = "all:\n  children:\n    storage_clients:\n      hosts:\n        worker4:  # new\n"
    (tmp_path / "more_hosts.yml").write_text(more)
    changes = plan_exchange(StudioDirectory(tmp_path), "server", "worker4")
    assert list_changes(HOSTS, changes["hosts.yml"]) == ["-         server:", "+         worker4:"]
    assert changes["more_hosts.yml"] == more.replace("worker4:  # new", "server:  # new")


@pytest.mark.parametrize(
    "text",
    [
        HOSTS.replace(
            "    storage_server:\n      hosts:\n        server:\n", "    storage_server: {hosts: {server: {a: 1}}}\n"
        ),
        HOSTS.replace("        server:\n", "        server:\n          noslop_address: 10.0.0.11\n"),
    ],
)
def test_entry_with_variables_is_not_changed(tmp_path: Path, text: str) -> None:
    with pytest.raises(EditError, match="variables in the entry of its group"):
        exchange(text, "server", "worker2")
    (tmp_path / "hosts.yml").write_text(text)
    with pytest.raises(UsageError, match="Put worker2 into the group storage_server and server into storage_clients"):
        plan_exchange(StudioDirectory(tmp_path), "server", "worker2")


def test_inventory_without_the_group_is_named(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all:\n  hosts:\n    server:\n")
    with pytest.raises(UsageError, match="no entry in the group storage_server"):
        plan_exchange(StudioDirectory(tmp_path), "server", "worker2")
    with pytest.raises(EditError, match="no group storage_clients"):
        add_client("all:\n  hosts:\n    server:\n", "server")
