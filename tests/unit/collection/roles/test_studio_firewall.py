# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rules of the role studio_firewall with real packets between two network namespaces."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks import nft_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks

from tests.support.mdns_network import Network

REPOSITORY = Path(__file__).parents[4]
SERVICE_PORTS = [8188, 11434, 8765]
MACHINE, SEARCHER = "10.66.0.2", "10.66.0.1"


def load_rules(network: Network, directory: Path, **variables: object) -> dict[str, Any]:
    """Load the rules on the machines' side, and return the table as nft lists it."""
    values = {"noslop_studio_id": "test", "studio_firewall_members": [MACHINE], **variables}
    request = {"template": "studio_firewall/templates/firewall.nft.j2", "variables": values}
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tests/support/template_renderer.py"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    path = directory / "firewall.nft"
    path.write_text(json.loads(done.stdout), encoding="utf-8")
    network.machines.run("nft", "-f", str(path))
    listing: dict[str, Any] = json.loads(
        network.machines.run("nft", "--json", "list", "table", "inet", "noslop_studio")
    )
    return listing


@pytest.mark.skipif(not shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin"), reason="needs nftables")
@pytest.mark.parametrize(
    ("variables", "answered"),
    [
        pytest.param({"noslop_announce": True}, False, id="a non-member"),
        pytest.param({"noslop_announce": True, "studio_firewall_members": [MACHINE, SEARCHER]}, True, id="a member"),
        pytest.param(
            {"noslop_announce": True, "noslop_allowed_networks": ["10.66.0.0/30"]}, True, id="an allowed network"
        ),
        pytest.param({}, True, id="a studio that announces nothing"),
    ],
)
def test_machine_outside_the_studio_asks_for_announcements_in_vain(
    tmp_path: Path, mdns_network: Network, variables: dict[str, Any], answered: bool
) -> None:
    listing = load_rules(mdns_network, tmp_path, **variables)
    mdns_network.add_server(MACHINE, 2222)
    service = {"type": "_ssh._tcp.local.", "name": "render1", "server": "render1.local.", "port": 2222}
    mdns_network.announce(MACHINE, {**service, "addresses": [MACHINE]})
    assert ("render1 (announced)" in mdns_network.search("--network", "10.66.0.0/28").stdout) == answered
    checks = Checks("server")
    nft_rules.judge_firewall(
        checks,
        listing,
        member_ports=[2049],
        service_ports=[*SERVICE_PORTS, *([5353] if variables else [])],
        members=variables.get("studio_firewall_members", [MACHINE]),
        allowed=variables.get("noslop_allowed_networks", []),
    )
    assert [(check["check"], check["ok"]) for check in checks.list] == [
        ("firewall.loaded", True),
        ("firewall.rules", True),
    ]
