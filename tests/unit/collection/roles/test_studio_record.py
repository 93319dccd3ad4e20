# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the role studio_verify has a host record what it is like, and the playbook `compare` reads that again."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.deployed import record

from tests.support.lab.drift import AS_JSON, LOOK, parse_looks
from tests.support.plays import local_inventory
from tests.unit.collection.roles.test_studio_monitor import REPOSITORY, read_task, run_play

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root uses a share as its owner")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a directory below which each account reaches its share."""
    with tempfile.TemporaryDirectory(prefix="noslop-test-", dir="/srv") as name:
        Path(name).chmod(0o755)
        for share in ("ollama/models", "comfyui/models", "comfyui/custom_nodes", "projects", "media_cache"):
            (Path(name) / share).mkdir(parents=True)
        yield Path(name)


def run_record(directory: Path, **variables: object) -> None:
    task = read_task("record.yml", "record | Record what this host is like after its deployment")
    values = {
        "noslop_storage_provider": "local",
        "noslop_firewall_enabled": False,
        "noslop_storage_root": str(directory),
        "studio_verify_record_path": str(directory / "deployed.json"),
    }
    run_play(directory, [task], **values, **variables)


@root_only
@pytest.mark.slow
def test_host_records_what_one_look_then_compares(directory: Path) -> None:
    path = directory / "deployed.json"
    run_record(directory)
    assert not path.exists(), "a verification that ends no deployment records nothing"
    run_record(directory, studio_verify_deployment="abc", studio_verify_fingerprint={"inventory": "1"})
    deployed = record.read(str(path))
    assert deployed
    assert (deployed.deployment, deployed.fingerprint) == ("abc", {"inventory": "1"})
    assert (deployed.options["provider"], deployed.options["host"]) == ("local", "localhost")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    inventory = local_inventory(directory / "inventory", ["here"], ansible_become=False)
    command = [str(Path(sys.executable).with_name("ansible")), "all", "-i", str(inventory), *LOOK[:-1]]
    command[command.index("state=compared")] = f"state=compared path={path} timeout=60"
    environment = {**os.environ, **AS_JSON, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["check"]: check["ok"] for check in parse_looks(done.stdout)["here"]}
    assert {name: ok for name, ok in checks.items() if name.startswith("deployed.")} == dict.fromkeys(
        (f"deployed.{area}" for area in json.loads(path.read_text("utf-8"))["deployed"]["state"]), True
    )


@root_only
def test_server_records_nothing_for_a_run_without_the_lease(directory: Path) -> None:
    path = directory / "deployed.json"
    record.invalidate("another run", str(path))
    run_record(
        directory,
        studio_verify_deployment="abc",
        studio_verify_fingerprint={"inventory": "1"},
        studio_verify_server=True,
    )
    assert record.read_run(str(path)) == "another run"
