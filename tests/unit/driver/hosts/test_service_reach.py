# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what is said of the firewall, and the SSH command that gets to a service."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest

from noslop_driver.hosts.service_reach import compose_tunnel, explain_firewall
from noslop_driver.inventory.directory import Member


def make_members(**variables: object) -> list[Member]:
    return [Member("one", "10.0.0.1", 22, "artist", frozenset({"comfyui"}), variables)]


@pytest.mark.parametrize(
    ("source", "variables", "text"),
    [
        ("10.0.0.1", {}, "lets 10.0.0.1 in"),
        ("10.0.0.9", {"noslop_allowed_networks": ["10.0.0.0/24"]}, "lets 10.0.0.9 in"),
        ("10.0.1.9", {"noslop_allowed_networks": ["10.0.0.0/24", "none"]}, "refuses 10.0.1.9"),
        ("10.0.1.9", {}, "refuses 10.0.1.9: it is no member"),
        ("", {}, "refuses this computer"),
        ("10.0.0.1", {"noslop_firewall_enabled": False}, "firewall is off"),
        ("10.0.0.1", {"noslop_firewall_enabled": "no"}, "firewall is off"),
    ],
)
def test_firewall_is_explained_by_the_inventory(source: str, variables: dict[str, object], text: str) -> None:
    assert text in explain_firewall(source, make_members(**variables))


def test_command_names_key_port_and_accepted_keys(tmp_path: Path) -> None:
    known_hosts = tmp_path / "a b" / "known_hosts"
    known_hosts.parent.mkdir()
    known_hosts.touch()
    variables = {"ansible_ssh_private_key_file": "/home/me/my key", "comfyui_listen_address": "::"}
    member = Member("one", "10.0.0.1", 2222, "artist", frozenset(), variables)
    command, url = compose_tunnel(member, "comfyui", 8188, known_hosts)
    local = int(url.rpartition(":")[2])
    assert shlex.split(command) == [
        *("ssh", "-N", "-L", f"{local}:[::1]:8188", "-o", f'UserKnownHostsFile="{known_hosts}"'),
        *("-i", "/home/me/my key", "-p", "2222", "artist@10.0.0.1"),
    ]


def test_command_uses_another_port_where_one_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command, url = compose_tunnel(make_members()[0], "ollama", port, tmp_path / "none")
    assert not url.endswith(f":{port}")
    assert f":127.0.0.1:{port} artist@10.0.0.1" in command
