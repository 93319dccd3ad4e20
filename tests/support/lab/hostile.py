# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A custom node that attacks from inside ComfyUI's unit: put on the share, run, and taken away again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.lab.machines import ROOT, Machine, wait_for

NODE = ROOT / "molecule" / "comfyui" / "files" / "hostile_node.py"
PLACE = "/mnt/noslop/comfyui/custom_nodes/hostile_node.py"
RESULT = "/var/lib/noslop/comfyui/output/hostile_node.json"


@dataclass(frozen=True)
class HostileResult:
    """What the node tried, and what ComfyUI needs: by name, ``SUCCEEDED`` or why it was refused."""

    attempts: dict[str, str]
    own: dict[str, str]


def run_hostile_node(server: Machine, host: Machine) -> HostileResult:
    """Put the node on the server's share, restart ComfyUI on a host, and return what the node wrote there."""
    put = server.sudo(f"install -o noslop-nodes -g noslop-nodes -m 0644 /dev/stdin {PLACE}", stdin=NODE.read_text())
    assert put.returncode == 0, put.stderr
    try:
        # A worker's mount shows a new file after up to 3 s.
        wait_for(f"the node on {host.name}", lambda: host.sudo(f"test -e {PLACE}").returncode == 0, timeout_s=30)
        host.output_of(f"rm -f {RESULT}; systemctl restart noslop-comfyui.service", root=True)
        result = wait_for(f"what the node did on {host.name}", lambda: _read_result(host), timeout_s=180)
    finally:
        server.output_of(f"rm -f {PLACE}", root=True)
        host.output_of("systemctl restart noslop-comfyui.service", root=True)
    refused = [what for what, answer in result["attempts"].items() if answer != "SUCCEEDED"]
    print(f"{host.name}: {len(refused)} of {len(result['attempts'])} attempts refused")
    return HostileResult(result["attempts"], result["own"])


def _read_result(host: Machine) -> dict[str, Any] | None:
    """Read what the node wrote, once it is whole."""
    try:
        result: dict[str, Any] = json.loads(host.sudo(f"cat {RESULT}").stdout)
    except ValueError:
        return None
    return result
