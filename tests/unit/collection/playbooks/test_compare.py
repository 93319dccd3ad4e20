# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that no playbook that changes hosts leaves a record of the last deployment, also where it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.deployed import record
from ansible_collections.noslop.studio.plugins.module_utils.deployed.record import Deployed
from ansible_collections.noslop.studio.plugins.module_utils.host import lease

from tests.support.lab.machines import ROOT
from tests.support.plays import local_inventory

PLAYBOOKS = ROOT / "collections/ansible_collections/noslop/studio/playbooks"
CHANGE_NOTHING_DEPLOYED = {
    "adopt_models": "copies models to a share",
    "bench_models": "reads models",
    "compare": "compares",
    "dedupe_models": "joins equal models on a share",
    "drain": "stops services, which the next look notices",
    "environment": "reads",
    "facts": "reads",
    "models_trash": "moves models on a share",
    "offers": "reads",
    "preflight": "reads",
    "release_lease": "ends a lease",
    "status": "reads",
    "verify": "checks, and records",
    "versions": "reads",
}
"""Playbooks that need not remove the record, and why."""


def read_plays(name: str) -> list[dict[str, Any]]:
    plays: list[dict[str, Any]] = yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text("utf-8"))
    return plays


def removes_record(name: str) -> bool:
    """Return whether a playbook first acquires the lease, which replaces the record, or removes it itself."""
    text = (PLAYBOOKS / f"{name}.yml").read_text("utf-8")
    first = read_plays(name)[0].get("ansible.builtin.import_playbook", "")
    return first.endswith("acquire_lease") or ("noslop.studio.deployed_state" in text and "state: absent" in text)


def test_each_playbook_removes_the_record_or_changes_nothing_that_is_deployed() -> None:
    names = {path.stem for path in PLAYBOOKS.glob("*.yml")} - {"acquire_lease", "site"}
    assert {name for name in names if not removes_record(name)} == set(CHANGE_NOTHING_DEPLOYED)
    imported = [play["ansible.builtin.import_playbook"] for play in read_plays("site")]
    assert imported == [f"{name}.yml" for name in ("preflight", "storage", "configure", "services", "verify")]


@pytest.mark.parametrize("name", ["compare", "status"])
def test_look_is_one_task_on_all_hosts_without_facts(name: str) -> None:
    (play,) = read_plays(name)
    assert (play["hosts"], play["gather_facts"], len(play["tasks"])) == ("all", False, 1)
    assert not play.keys() & {"serial", "roles", "pre_tasks"}


class Host:
    """This computer with the record of a deployment, and its lease, in other places."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.record = directory / "state/deployed.json"
        self.record.parent.mkdir()
        record.write(Deployed("abc", {}, "", {}, "", {}), str(self.record))
        self.inventory = local_inventory(
            directory / "inventory", ["here"], ansible_become=False, studio_verify_record_path=str(self.record)
        )

    def start(self, *tasks: dict[str, Any], options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start a playbook that acquires the lease, and then runs these tasks."""
        plays = [
            {"import_playbook": "noslop.studio.acquire_lease"},
            {"name": "Work", "hosts": "all", "gather_facts": False, "tasks": list(tasks)},
        ]
        playbook = self._directory / "play.yml"
        playbook.write_text(json.dumps(plays), encoding="utf-8")
        return subprocess.Popen(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", self.inventory, playbook, *options],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    yield Host(tmp_path)
    if os.path.isdir(lease.DIRECTORY) and (current := lease.read(lease.DIRECTORY)):
        lease.release(lease.DIRECTORY, current.run)


@pytest.mark.skipif(os.geteuid() != 0, reason="the lease lies in /run")
def test_run_that_is_killed_half_way_leaves_no_record(host: Host, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    run = host.start({"name": "Wait", "ansible.builtin.command": {"argv": ["cat", str(tmp_path / "pipe")]}})
    with (tmp_path / "pipe").open("w", encoding="ascii"):  # opens when the task reads it
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()

    assert record.read(str(host.record)) is None
    assert f"/{run.pid}/" in record.read_run(str(host.record))


@pytest.mark.skipif(os.geteuid() != 0, reason="the lease lies in /run")
def test_prediction_leaves_the_record(host: Host) -> None:
    run = host.start({"name": "Work", "ansible.builtin.ping": None}, options=("--check",))
    output, _ = run.communicate()
    assert run.returncode == 0, output
    assert record.read(str(host.record)) is not None
