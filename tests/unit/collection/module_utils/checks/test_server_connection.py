# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the checks of a client's way to the storage server, on real sockets."""

from __future__ import annotations

import socket

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks import server_connection
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks

CLIENTS = ["10.77.42.12", "10.77.42.13", "fd00:0::13"]


def judge_source(source: str, own: str = "10.77.42.13", clients: list[str] | None = None) -> list[Check]:
    checks = Checks("worker2")
    server_connection.judge_source_address(checks, own, source, CLIENTS if clients is None else clients)
    return checks.list


@pytest.mark.parametrize("source", ["10.77.42.13", "fd00::13"])
def test_client_that_asks_from_its_address_passes(source: str) -> None:
    (check,) = judge_source(source)

    assert (check["ok"], check["todo"]) == (True, "")
    assert source in check["seen"]


def test_client_with_another_address_is_named_with_both_and_with_the_way_to_deploy_it() -> None:
    (check,) = judge_source("10.77.42.99")

    assert (check["host"], check["check"], check["ok"]) == ("worker2", "storage.address", False)
    assert check["seen"] == (
        "packets to the storage server come from 10.77.42.99, which it refuses: in the inventory worker2 is 10.77.42.13"
    )
    assert "set ansible_host of worker2" in check["todo"]
    assert "to 10.77.42.99 in the inventory" in check["todo"]
    assert "`noslop-driver deploy`" in check["todo"]


def test_nothing_is_judged_without_a_route_or_without_clients() -> None:
    assert judge_source("") == []
    assert judge_source("10.77.42.99", clients=[]) == []


def test_source_address_is_that_of_the_route_to_the_server() -> None:
    assert server_connection.read_source_address("127.0.0.1") == "127.0.0.1"
    assert server_connection.read_source_address("no address") == ""


def test_connection_is_judged_by_whether_the_server_accepts_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert server_connection.find_error("127.0.0.1", port) == ""
    error = server_connection.find_error("127.0.0.1", port)
    checks = Checks("worker2")

    server_connection.judge_connection(checks, "127.0.0.1", error)

    (check,) = checks.list
    assert (check["check"], check["ok"]) == ("storage.server", False)
    assert check["seen"] == f"127.0.0.1:2049: {error}"
    assert "Connection refused" in error
    assert "systemctl status nfs-server" in check["todo"]
