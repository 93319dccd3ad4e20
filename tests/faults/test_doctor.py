# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plant faults in the lab's studio: doctor names the host and the cause, and what it says mends it."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Takeover
from tests.support.lab.driver import run_driver_json
from tests.support.lab.machines import Machine
from tests.support.lab.planted_faults import FAULTS_OF_A_HOST, PROJECTS, Fault, list_causes

AUTOMOUNT, MOUNT = "mnt-noslop-projects.automount", "mnt-noslop-projects.mount"
FAULTS = {
    **FAULTS_OF_A_HOST,
    "stopped NFS server": Fault(
        "server", "systemctl stop nfs-server", "systemctl start nfs-server", "unit.stopped", True
    ),
    "disabled NFS server": Fault(
        "server", "systemctl disable nfs-server", "systemctl enable nfs-server", "unit.disabled", True
    ),
    "exports missing in the kernel": Fault("server", "exportfs -au", "exportfs -ra", "server.exports_kernel", True),
    "emptied exports file": Fault(
        "server",
        "cp -a /etc/exports.d/noslop.exports /root/; : > /etc/exports.d/noslop.exports",
        "cp -a /root/noslop.exports /etc/exports.d/; exportfs -ra",
        "server.exports_file",
        False,
    ),
    "outgoing port dropped on one worker": Fault(
        "worker2",
        "nft 'add table inet planted; add chain inet planted out { type filter hook output priority 0; }; "
        "add rule inet planted out tcp dport 2049 drop'",
        "nft delete table inet planted",
        "network.dropped",
        False,
    ),
    "read-only remount": Fault(
        "worker1",
        f"ls {PROJECTS}; mount -o remount,ro {PROJECTS}",
        f"mount -o remount,rw {PROJECTS}",
        "mount.read_only",
        True,
    ),
    "automount stopped while its mount stays": Fault(
        "worker1",
        f"ls {PROJECTS}; systemctl stop {AUTOMOUNT}",
        f"systemctl stop {MOUNT}; systemctl enable --now {AUTOMOUNT}",
        "mount.automount",
        False,
    ),
    "masked NFS server": Fault(
        "server",
        "systemctl mask --runtime --now nfs-server",
        "systemctl unmask --runtime nfs-server; systemctl start nfs-server",
        "unit.masked",
        True,
    ),
}


@pytest.fixture(scope="module")
def machines(takeover: Takeover) -> dict[str, Machine]:
    return takeover.machines


def test_studio_that_works_has_no_cause_that_hurts_now(machines: dict[str, Machine]) -> None:
    assert machines
    code, result = run_driver_json("doctor")
    assert code == 0, result
    assert [cause for cause in result["causes"] if cause["urgent"]] == []
    assert result["not_examined"] == {}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_with_its_host_and_is_first(machines: dict[str, Machine], name: str) -> None:
    fault = FAULTS[name]
    machine = machines[fault.host]
    machine.check_output(fault.plant, root=True)
    try:
        _code, result = run_driver_json("doctor")
        causes = list_causes(result, fault.host)
        assert causes, result["causes"]
        assert causes[0]["kind"] == fault.kind, causes
        assert result["causes"][0]["host"] == fault.host, result["causes"]
        assert result["not_examined"] == {}
        if fault.fixed:
            _code, result = run_driver_json("doctor", "--fix")
            mended = {(fix["kind"], fix["host"]): fix["mended"] for fix in result["fixes"]}
            assert mended[fault.kind, fault.host], result
    finally:
        machine.sudo(fault.undo)
    code, result = run_driver_json("doctor")
    assert code == 0, result["causes"]
