# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a custom node that attacks from inside ComfyUI's unit: put it on the share, restart ComfyUI, remove it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.lab.machines import ROOT, Machine, wait_for

NODE = ROOT / "molecule" / "comfyui" / "files" / "hostile_node.py"
INSTALLED = "/mnt/noslop/comfyui/custom_nodes/hostile_node.py"
RESULT = "/var/lib/noslop/comfyui/output/hostile_node.json"


@dataclass(frozen=True)
class HostileResult:
    """The attempts of the node, and what ComfyUI needs, by name: ``SUCCEEDED`` or why it was refused."""

    attempts: dict[str, str]
    own: dict[str, str]


def run_hostile_node(server: Machine, host: Machine) -> HostileResult:
    """Put the node on the server's share, restart ComfyUI on a host, and return what the node wrote there."""
    put = server.sudo(f"install -o noslop-nodes -g noslop-nodes -m 0644 /dev/stdin {INSTALLED}", stdin=NODE.read_text())
    assert put.returncode == 0, put.stderr
    try:
        # A worker's mount shows a new file after up to 3 s.
        wait_for(f"the node on {host.name}", lambda: host.sudo(f"test -e {INSTALLED}").returncode == 0, timeout_s=30)
        host.check_output(f"rm -f {RESULT}; systemctl restart noslop-comfyui.service", root=True)
        result = wait_for(f"what the node did on {host.name}", lambda: _read_result(host), timeout_s=180)
    finally:
        server.check_output(f"rm -f {INSTALLED}", root=True)
        host.check_output("systemctl restart noslop-comfyui.service", root=True)
    refused = [what for what, answer in result["attempts"].items() if answer != "SUCCEEDED"]
    print(f"{host.name}: {len(refused)} of {len(result['attempts'])} attempts refused")
    return HostileResult(result["attempts"], result["own"])


def _read_result(host: Machine) -> dict[str, Any] | None:
    """Return what the node wrote, once it is complete."""
    try:
        result: dict[str, Any] = json.loads(host.sudo(f"cat {RESULT}").stdout)
    except ValueError:
        return None
    return result
