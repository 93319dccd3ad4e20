# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which custom nodes, packages and locks the role comfyui derives for a host from the studio's list."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[4]
ROLE = REPOSITORY / "collections/ansible_collections/noslop/studio/roles/comfyui"
SHARE = "/mnt/noslop/comfyui/custom_nodes/.noslop-nodes.disabled"
NODES = [
    {"name": "painter", "repo": "https://git.lan/painter.git", "commit": "a" * 40, "allow_source": ["face"]},
    {"name": "brush", "archive": "/srv/brush.zip", "sha256": "b" * 64, "hosts": ["server"], "allow_source": ["mesh"]},
]


def derive(directory: Path, host: str, names: tuple[str, ...], **registered: object) -> dict[str, Any]:
    """Return variables of the role on a host, after tasks registered results."""
    inventory: dict[str, Any] = {"all": {"hosts": {"server": {}, "worker": {}}}}
    (directory / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")
    variables: dict[str, Any] = {"noslop_studio_id": "studio", "noslop_custom_nodes": NODES, **registered}
    for part in ("defaults", "vars"):
        variables |= yaml.safe_load((ROLE / part / "main.yml").read_text("utf-8"))
    shown = ", ".join(f"'{name}': {name}" for name in names)
    task = {"ansible.builtin.debug": {"msg": f"{{{{ {{{shown}}} }}}}"}}
    play = {"hosts": host, "connection": "local", "gather_facts": False, "vars": variables, "tasks": [task]}
    (directory / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", directory / "hosts.yml", directory / "play.yml"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    found = re.search(r"(?ms)^ok: .*?=> (\{\n.*?^\})$", done.stdout)
    assert found, done.stdout + done.stderr
    values: dict[str, Any] = json.loads(found[1])["msg"]
    return values


def test_hosts_derive_requirements_sources_and_lock_from_the_nodes_for_them(tmp_path: Path) -> None:
    names = ("__comfyui_node_requirements", "__comfyui_allow_source", "__comfyui_lock_suffix")
    server, worker = ([derive(tmp_path, host, names)[name] for name in names] for host in ("server", "worker"))
    painter = {"painter": f"{SHARE}/painter/{'a' * 40}/requirements.txt"}
    brush = {"brush": f"{SHARE}/brush/{'b' * 40}/requirements.txt"}
    assert server == [painter | brush, ["face", "mesh"], ""]
    assert worker[:2] == [painter, ["face"]]
    assert re.fullmatch(r"-nodes-[0-9a-f]{8}", worker[2])


def test_nodes_are_installed_once_for_all_hosts_of_one_share(tmp_path: Path) -> None:
    assert derive(tmp_path, "server,worker", ("__comfyui_run_once",)) == {"__comfyui_run_once": True}
    for host in ("server", "worker"):
        (tmp_path / "host_vars").mkdir(exist_ok=True)
        (tmp_path / "host_vars" / f"{host}.yml").write_text(f"comfyui_nodes_host: {host}\n", encoding="ascii")
    assert derive(tmp_path, "server,worker", ("__comfyui_run_once",)) == {"__comfyui_run_once": False}


def test_unit_imports_all_but_the_nodes_that_are_left_out_on_the_host(tmp_path: Path) -> None:
    fetched = {"others": [{"name": "by hand"}, {"name": "websocket_image_save.py"}]}
    flags: dict[tuple[str, ...], list[str]] = {}
    for host, failed in (("server", {}), ("server", {"brush": "crashes"}), ("worker", {"painter": "raises"})):
        results = {"__comfyui_linked": fetched, "__comfyui_trial": {"failed_nodes": failed}}
        derived = derive(tmp_path, host, ("__comfyui_node_flags",), **results)
        flags[host, *failed] = derived["__comfyui_node_flags"]
    chosen = ["--disable-all-custom-nodes", "--whitelist-custom-nodes", "by hand"]
    assert flags == {
        ("server",): [],
        ("server", "brush"): [*chosen, "painter", "websocket_image_save.py"],
        ("worker", "painter"): [*chosen, "websocket_image_save.py"],
    }
