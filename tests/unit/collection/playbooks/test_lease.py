# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which playbooks go on when the storage server, which keeps the lease, does not answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.lab.machines import ROOT
from tests.support.plays import local_inventory


def run_between_leases(directory: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run plays on a server that is away and on two workers, after the lease was acquired and before its release."""
    inventory = local_inventory(directory / "inventory", ["worker1", "worker2"], ansible_become=False)
    closed = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    groups = {"storage_server": {"hosts": {"server": closed}}}
    # Its name comes first, as that of a server often does.
    (inventory / "a_server.yml").write_text(json.dumps(groups), encoding="utf-8")
    work = {"name": "Work", "ansible.builtin.debug": {"msg": "worked on {{ inventory_hostname }}"}}
    reach = {"name": "Reach", "ansible.builtin.ping": None}
    plays = [
        {"import_playbook": "noslop.studio.acquire_lease", "vars": variables},
        *(
            {"name": "Reach", "hosts": group, "gather_facts": False, "tasks": [reach]}
            for group in ("all", "storage_server")
        ),
        {"name": "Work", "hosts": "all", "gather_facts": False, "tasks": [work]},
        {"import_playbook": "noslop.studio.release_lease"},
    ]
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps(plays), encoding="utf-8")
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook],
        cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_teardown_goes_on_on_the_other_hosts_and_names_the_server_that_is_away(tmp_path: Path) -> None:
    done = run_between_leases(tmp_path, studio_lease_optional=True)

    assert "worked on worker1" in done.stdout
    assert "worked on worker2" in done.stdout
    assert "Connection refused" in done.stdout + done.stderr
    assert re.search(r"^server +: .*unreachable=1 +failed=0", done.stdout, re.MULTILINE)
    assert done.returncode == 4, "a host was unreachable"


def test_other_playbooks_end_where_the_lease_cannot_be_acquired(tmp_path: Path) -> None:
    done = run_between_leases(tmp_path)

    assert "worked on" not in done.stdout
    assert "Connection refused" in done.stdout + done.stderr
    assert done.returncode != 0


def test_only_the_teardown_does_without_the_lease() -> None:
    playbooks = ROOT / "collections/ansible_collections/noslop/studio/playbooks"
    users = [path.stem for path in playbooks.glob("*.yml") if "studio_lease_optional: true" in path.read_text("utf-8")]

    assert users == ["teardown"]
