# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A custom node that attacks from inside ComfyUI's unit, on the storage server and on a worker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.machines import ROOT, Machine, wait_for
from tests.studio.conftest import Studio

NODE = ROOT / "molecule" / "comfyui" / "files" / "hostile_node.py"
PLACE = "/mnt/noslop/comfyui/custom_nodes/hostile_node.py"
RESULT = "/var/lib/noslop/comfyui/output/hostile_node.json"


def result_of(host: Machine) -> dict[str, Any] | None:
    """Read what the node wrote, once it is whole."""
    try:
        result: dict[str, Any] = json.loads(host.sudo(f"cat {RESULT}").stdout)
    except ValueError:
        return None
    return result


@pytest.mark.parametrize("name", ["server", "worker1"])
def test_a_hostile_custom_node_reaches_nothing(studio: Studio, name: str) -> None:
    server, host = studio.machines["server"], studio.machines[name]
    put = server.sudo(f"install -o noslop-nodes -g noslop-nodes -m 0644 /dev/stdin {PLACE}", stdin=NODE.read_text())
    assert put.returncode == 0, put.stderr
    try:
        # A worker's mount shows a new file after up to 3 s.
        wait_for(f"the node on {name}", lambda: host.sudo(f"test -e {PLACE}").returncode == 0, timeout_s=30)
        host.output_of(f"rm -f {RESULT}; systemctl restart noslop-comfyui.service", root=True)
        result = wait_for(f"what the node did on {name}", lambda: result_of(host), timeout_s=180)
    finally:
        server.output_of(f"rm -f {PLACE}", root=True)
        host.output_of("systemctl restart noslop-comfyui.service", root=True)
    attempts: dict[str, str] = result["attempts"]
    refused = [what for what, answer in attempts.items() if answer != "SUCCEEDED"]
    print(f"{name}: {len(refused)} of {len(attempts)} attempts refused")
    assert {what: answer for what, answer in attempts.items() if answer == "SUCCEEDED"} == {}
    assert set(result["own"].values()) == {"SUCCEEDED"}
    assert len(attempts) > 80
