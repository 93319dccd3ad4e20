# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from noslop_driver.inventory.directory import Member
from noslop_driver.models import Host, Plan, StudioSettings
from noslop_driver.planning.inventory_changes import (
    BY_HARDWARE,
    Change,
    ChangeKind,
    format_side,
    list_host_changes,
    list_setting_changes,
)
from noslop_driver.planning.planner import make_plan

SERVER, WORKER = ("storage_server", "backend"), ("storage_clients", "ollama")


def member(name: str, groups: Sequence[str]) -> Member:
    return Member(name, "10.0.0.9", 22, "artist", frozenset(groups), {"noslop_address": f"10.0.0.{name[-1]}"})


def plan(roles: Mapping[str, Sequence[str]], server: str | None = "host1", more: Sequence[str] = ()) -> Plan:
    settings = StudioSettings(studio_id="abc", server=server, roles={name: list(own) for name, own in roles.items()})
    names = [*roles, *more]
    hosts = [Host(name=name, address=f"10.0.0.{name[-1]}", user="artist", named=True) for name in names]
    return make_plan(hosts, settings)


def test_plan_of_the_inventory_itself_changes_nothing() -> None:
    members = [member("host1", SERVER), member("host2", WORKER)]
    assert list_host_changes(plan({"host1": ["backend"], "host2": ["ollama"]}), members, {}) == []


def test_roles_addresses_and_hosts_that_differ_are_changes() -> None:
    members = [member("host1", SERVER), member("host2", WORKER), member("host4", WORKER)]
    changes = list_host_changes(
        plan({"host1": ["backend"], "host2": ["comfyui"], "host3": []}), members, {"host2": "10.0.0.7"}
    )
    assert changes == [
        Change(ChangeKind.ROLES, "host2", old="storage_clients, ollama", new="storage_clients, comfyui"),
        Change(ChangeKind.HOST_ADDED, "host3", new="10.0.0.3"),
        Change(ChangeKind.ROLES, "host3", old="nothing", new="storage_clients"),
        Change(ChangeKind.VARIABLE, "host2", "ansible_host", "10.0.0.9", "10.0.0.7"),
        Change(ChangeKind.HOST_REMOVED, "host4", old="10.0.0.4"),
    ]


@pytest.mark.parametrize(("server", "storage"), [("host1", "storage_clients, "), (None, "")])
def test_what_facts_decide_is_not_guessed(server: str | None, storage: str) -> None:
    members = [member("host1", SERVER)]
    changes = list_host_changes(plan({"host1": ["backend"]}, server, more=["host2"]), members, {})
    assert [change.new for change in changes if change.host == "host2"] == ["10.0.0.2", f"{storage}{BY_HARDWARE}"]


@pytest.mark.parametrize(
    ("previous", "changes"),
    [
        ({}, [("noslop_min_free_gb", 50, 7)]),
        ({"min_free_gb": 7}, []),
        ({"min_free_gb": "plenty"}, [("noslop_min_free_gb", "plenty", 7)]),
        # Another form of the same value is no change.
        ({"min_free_gb": 7, "allowed_networks": []}, []),
        ({"min_free_gb": 7, "users": ["ann"]}, [("noslop_users", ["ann"], [])]),
        ({"min_free_gb": 7, "media_cache_dir": "/srv/x"}, [("noslop_media_cache_dir", "/srv/x", None)]),
        ({"min_free_gb": 7, "server": "host1", "roles": {}}, []),
    ],
)
def test_settings_with_another_value_are_changes(previous: dict[str, Any], changes: list[tuple[object, ...]]) -> None:
    settings = StudioSettings(studio_id="abc", min_free_gb=7)
    assert [(one.variable, one.old, one.new) for one in list_setting_changes(settings, previous)] == changes


def test_network_in_another_form_is_no_change() -> None:
    settings = StudioSettings(studio_id="abc", allowed_networks=["192.168.1.7/24"])
    assert list(list_setting_changes(settings, {"allowed_networks": ["192.168.1.7/24"]})) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not set"), ("", "''"), ("nfs", "nfs"), (True, "true"), (50.0, "50"), (["a"], "[a]"), ([], "[]")],
)
def test_side_of_a_change_is_text(value: object, text: str) -> None:
    assert format_side(value) == text
