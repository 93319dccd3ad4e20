# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a second deployment of the lab's studio: one look, and whatever differs on any host is noticed and mended."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.faults.conftest import Takeover
from tests.support.lab.drift import AS_JSON, LOOK, Drift, list_failed, parse_looks
from tests.support.lab.driver import INVENTORY, OWN_VARIABLES, count_changes_by_host, run_driver_json, run_playbook
from tests.support.lab.host_state import read_state
from tests.support.lab.machines import LAB, ROOT, Machine, wait_for

PROJECTS, MODELS = "/mnt/noslop/projects", "/mnt/noslop/comfyui/models"
READ_AHEAD = f"echo {{}} > /sys/class/bdi/$(mountpoint -d {MODELS})/read_ahead_kb"
START = "systemctl start mnt-noslop-projects.automount noslop-comfyui noslop-ollama"
MENDED_WITHIN_S = 180.0
SERVER = {
    "removed export": Drift("exportfs -au", "exportfs -ra", "server.exports", ""),
    "fewer threads of nfsd": Drift(
        "cat /proc/fs/nfsd/threads > /root/threads; echo 1 > /proc/fs/nfsd/threads",
        "cat /root/threads > /proc/fs/nfsd/threads", "deployed.kernel", "nfsd: threads",
    ),
    "mode of a share": Drift(
        f"chmod 700 {PROJECTS}", f"chmod 2775 {PROJECTS}", "deployed.shares", PROJECTS, f"[ -g {PROJECTS} ]"
    ),
    "disabled server": Drift(
        "systemctl disable nfs-server", "systemctl enable nfs-server", "deployed.units", "nfs-server.service",
        "systemctl is-enabled nfs-server",
    ),
}  # fmt: skip
CLIENT = {
    "share mounted read-only": Drift(
        f"ls {PROJECTS}; mount -o remount,ro {PROJECTS}", f"mount -o remount,rw {PROJECTS}", "storage.written", ""
    ),
    "share that is not mounted": Drift(
        "systemctl stop mnt-noslop-projects.automount mnt-noslop-projects.mount",
        START, "storage.units", "",
        "systemctl is-active mnt-noslop-projects.automount",
    ),
    "read-ahead": Drift(
        f"ls {MODELS}; {READ_AHEAD.format(128)}", READ_AHEAD.format(15360),
        "storage.read_ahead", "",
    ),
    "removed package": Drift(
        "dpkg --force-depends --remove nfs-common", "apt-get install -qy nfs-common", "deployed.packages", "nfs-common",
        "command -v mount.nfs",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def deployed(takeover: Takeover) -> dict[str, Machine]:
    """Deploy everything, so that each host has a record."""
    code, result = run_driver_json("deploy", "--yes", "--full", timeout_s=3600)
    assert code == 0, result
    return takeover.machines


def look(host: str) -> dict[str, str]:
    """Look at a host once, and return what was observed by each check that did not pass."""
    words = ("ansible", host, "-i", str(INVENTORY), f"--become-password-file={LAB / 'sudo_password'}", *LOOK)
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, **AS_JSON}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return list_failed(parse_looks(done.stdout)[host])


def test_second_deployment_is_one_look_at_each_host(deployed: dict[str, Machine]) -> None:
    before = {name: read_state(machine) for name, machine in deployed.items()}
    code, result = run_driver_json("deploy", "--yes")
    assert code == 0, result
    assert result["look"]
    assert (result["look"]["need"], sorted(result["look"]["hosts"])) == ("nothing", sorted(deployed))
    assert result["phases"] == []
    assert {name: read_state(machine) for name, machine in deployed.items()} == before


@pytest.mark.parametrize(
    ("host", "drift"),
    [*(("server", drift) for drift in SERVER.values()), *(("worker2", drift) for drift in CLIENT.values())],
    ids=[*SERVER, *CLIENT],
)
def test_each_kind_of_drift_is_noticed_by_one_look(deployed: dict[str, Machine], host: str, drift: Drift) -> None:
    deployed[host].check_output(drift.plant, root=True, timeout_s=600)
    failed = look(host)
    deployed[host].check_output(drift.undo, root=True, timeout_s=600)
    assert drift.check in failed, failed
    assert drift.word in failed[drift.check]
    # A service that was started again answers some time later.
    wait_for(f"{host} to be as it was", lambda: look(host) == {}, timeout_s=MENDED_WITHIN_S)


def test_drift_of_two_hosts_is_named_and_mended(deployed: dict[str, Machine]) -> None:
    planted = [("server", SERVER["disabled server"]), ("worker2", CLIENT["share that is not mounted"])]
    for host, drift in planted:
        deployed[host].check_output(drift.plant, root=True)
    code, result = run_driver_json("deploy", "--yes", timeout_s=3600)
    assert code == 0, result
    assert result["look"]
    assert result["look"]["need"] == "drift"
    assert {one["host"] for one in result["look"]["drift"]} >= {"server", "worker2"}
    for host, drift in planted:
        deployed[host].check_output(drift.mended, root=True)
    code, result = run_driver_json("deploy", "--yes")
    assert (code, result["phases"]) == (0, []), result


def test_changed_variable_and_plain_playbook_have_everything_run(deployed: dict[str, Machine]) -> None:
    before = {name: read_state(machine) for name, machine in deployed.items()}
    playbook = run_playbook("site", timeout_s=3600)
    assert playbook.returncode == 0, playbook.stdout + playbook.stderr
    assert set(count_changes_by_host(playbook.stdout).values()) == {0}, playbook.stdout
    assert {name: read_state(machine) for name, machine in deployed.items()} == before
    code, result = run_driver_json("deploy", "--yes", timeout_s=3600)
    assert code == 0, result
    assert result["look"]
    assert "no record of a whole deployment on server" in result["look"]["reason"]

    OWN_VARIABLES.write_text("---\nnode_env_extra: {SECOND_RUN: '1'}\n", encoding="utf-8")
    try:
        code, result = run_driver_json("deploy", "--yes", timeout_s=3600)
        assert code == 0, result
        assert result["look"]
        assert result["look"]["reason"] == "the inventory has changed since the last deployment"
        assert "SECOND_RUN" in deployed["worker1"].check_output("cat /etc/noslop/node.env", root=True)
    finally:
        OWN_VARIABLES.unlink()
    code, result = run_driver_json("deploy", "--yes", timeout_s=3600)
    assert code == 0, result
    assert "SECOND_RUN" not in deployed["worker1"].check_output("cat /etc/noslop/node.env", root=True)
