# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that root changes nothing through links that a service plants below its own directories.

The studio is the one that test_one_machine.py deployed; it is torn down here, at the end.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.local.conftest import STUDIO, Solo

PLANTER = Path(__file__).with_name("link_planter.py")
ROLES = ("service_account", "studio_firewall", "nfs_server", "node_env", "ollama", "comfyui", "studio_backend")
PLAY = """
- hosts: all
  become: true
  gather_subset: ["!all", min]
  vars:  # what the playbooks hand to the roles on this one host
    studio_firewall_members: "{{ lookup('noslop.studio.studio', 'addresses', 'all') }}"
    studio_backend_comfyui_hosts: "{{ {inventory_hostname: '127.0.0.1'} }}"
    comfyui_shares_are_mounted: false
    ollama_share_is_mounted: false
    studio_backend_shares_are_mounted: false
  tasks:
    - include_role: {name: "noslop.studio.{{ role }}", tasks_from: "{{ tasks }}"}
      ignore_errors: true
      loop: "{{ roles }}"
      loop_control: {loop_var: role}
"""


def run_planter(solo: Solo, *words: str) -> int:
    count: int = json.loads(
        solo.host.check_output(f"python3 /root/link_planter.py {' '.join(words)}", root=True, timeout_s=300)
    )
    return count


def list_other_files(solo: Solo) -> dict[str, list[object]]:
    files: dict[str, list[object]] = json.loads(
        solo.host.check_output("python3 /root/link_planter.py list", root=True, timeout_s=300)
    )
    return files


def run_roles(solo: Solo, tasks: str) -> str:
    """Run each role by itself, so that one that stops at a planted link does not stop the others."""
    lines = []
    for role in ROLES:
        done = solo.host.run(
            f"venv/bin/ansible-playbook -i {STUDIO} --become-password-file .password role.yml -e tasks={tasks}"
            f' -e \'{{"roles": ["{role}"]}}\' </dev/null',
            timeout_s=900,
        )
        lines.append(done.stdout + done.stderr)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def planter(solo: Solo) -> Solo:
    """Copy the program that plants links to the deployed studio."""
    solo.host.check_output(f"cat > /root/link_planter.py <<'END'\n{PLANTER.read_text()}\nEND", root=True)
    solo.host.check_output(f"cat > role.yml <<'END'\n{PLAY}\nEND")
    return solo


@pytest.mark.parametrize("kind", ["leaves", pytest.param("branches", marks=pytest.mark.long)])
def test_deploy_and_verify_follow_no_planted_link(planter: Solo, kind: str) -> None:
    planted = run_planter(planter, "links", kind)
    before = list_other_files(planter)
    output = run_roles(planter, "main")
    planter.run_driver("verify", "--inventory", STUDIO)
    after = list_other_files(planter)
    run_planter(planter, "undo")
    changed = {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()
               if before.get(path) != after.get(path)}  # fmt: skip
    print(f"{planted} {kind} planted, {len(changed)} changes outside: {changed}\n{output}")
    assert planted > 20
    assert changed == {}


@pytest.mark.long
def test_studio_deploys_again_after_the_links_are_removed(planter: Solo) -> None:
    code, result = planter.run_driver_json("deploy", "--local", "--studio solo --yes --full")
    assert code == 0, result


def test_teardown_follows_no_planted_link_and_keeps_data(planter: Solo) -> None:
    planter.host.check_output("echo precious > /mnt/noslop/projects/kept", root=True)
    run_planter(planter, "links", "all")
    before = list_other_files(planter)
    planter.run_driver("teardown", "--inventory", STUDIO, "--yes")
    after = list_other_files(planter)
    run_planter(planter, "undo")
    trap = {path for path in before if path.startswith("/srv/")}
    assert {path: after.get(path) for path in trap} == {path: before[path] for path in trap}
    assert {path for path in after if path not in before} == set()
    common = before.keys() & after.keys()
    assert {path: (before[path][:3], after[path][:3]) for path in common if before[path][:3] != after[path][:3]} == {}

    done = planter.run_driver("teardown", "--inventory", STUDIO, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert planter.host.check_output("cat /mnt/noslop/projects/kept", root=True) == "precious\n"
    assert planter.host.check_output("systemctl list-units --all --no-legend 'noslop-*'") == ""
    assert "noslop" not in planter.host.check_output("nft list tables", root=True)
