# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a disk with a share that is missing at the server's start: it is named, and no client sees what is beneath."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.faults.conftest import Takeover
from tests.faults.test_restarts import UP_WITHIN_S, restart, wait_until_verified
from tests.support.lab.driver import OWN_VARIABLES, read_checks, run_driver_json, run_playbook
from tests.support.lab.machines import Machine, wait_for

IMAGE, DISK = "/var/lib/archive.img", "/srv/archive"
SHARE, UNIT = f"{DISK}/shared", "srv-archive.mount"
MAKE_DISK = f"""
set -eu
truncate -s 2500M {IMAGE}
mkfs.ext4 -q -F {IMAGE}
mkdir -p {DISK}
echo "{IMAGE} {DISK} ext4 loop,nofail,nosuid,nodev 0 2" >> /etc/fstab
systemctl daemon-reload
mount {DISK}
"""
REMOVE_DISK = f"""
set -u
umount --lazy {DISK}
sed -i '\\|^{IMAGE} |d' /etc/fstab
systemctl daemon-reload
systemctl reset-failed {UNIT} 2>/dev/null
rm -rf {DISK} {IMAGE} {IMAGE}.away
"""
LOOK = f"timeout --signal=KILL 40 ls -A {SHARE}"


def deploy_storage() -> None:
    """Run the playbook `storage`, which verifies the storage."""
    done = run_playbook("storage", timeout_s=3600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def server(takeover: Takeover) -> Iterator[Machine]:
    """Export a share on a disk of its own, and remove both after the test."""
    machine = takeover.machines["server"]
    machine.check_output(MAKE_DISK, root=True, timeout_s=600)
    shares = [{"name": "archive", "path": SHARE}]
    OWN_VARIABLES.write_text(yaml.safe_dump({"noslop_extra_shares": shares}), encoding="utf-8")
    try:
        deploy_storage()
        yield machine
    finally:
        OWN_VARIABLES.unlink()
        # With the disk as it was, so that the share can be given up as any other.
        machine.sudo(f"mv {IMAGE}.away {IMAGE} 2>/dev/null; systemctl start {UNIT} nfs-server", timeout_s=UP_WITHIN_S)
        deploy_storage()
        machine.check_output(REMOVE_DISK, root=True)
        wait_until_verified()


def test_disk_that_is_missing_at_the_start_is_named_and_nothing_beneath_is_served(
    takeover: Takeover, server: Machine
) -> None:
    worker = takeover.machines["worker1"]
    assert f"mountpoint={DISK}" in server.check_output("exportfs -s", root=True)
    worker.check_output(f"echo kept > {SHARE}/kept", root=True)
    server.check_output(f"mv {IMAGE} {IMAGE}.away", root=True)
    restart(server)
    # What was there before the disk: a tree that looks like the share.
    server.check_output(f"mkdir -p {SHARE} && touch {SHARE}/beneath && chown -R noslop:noslop {SHARE}", root=True)

    looked = worker.sudo(LOOK)
    assert (looked.returncode != 0, looked.stdout) == (True, ""), looked
    code, report = run_driver_json("verify")
    assert code != 0
    failed = {(check["host"], check["check"]): check for check in read_checks(report) if not check["ok"]}
    disk = failed["server", "server.disks"]
    assert disk["share"] == "archive"
    assert f"{IMAGE} in /etc/fstab" in disk["seen"]
    assert f"not mounted at {DISK}: {UNIT} is failed" in disk["seen"]
    step = f"systemctl start {UNIT} nfs-server.service"
    assert f"`{step}`" in disk["todo"]
    # Also where the server runs: an administrator may start it without the disk.
    server.sudo("systemctl start --job-mode=ignore-dependencies nfs-server")
    assert "beneath" not in worker.sudo(LOOK).stdout

    server.check_output(f"rm -rf {SHARE}; mv {IMAGE}.away {IMAGE} && {step}", root=True, timeout_s=UP_WITHIN_S)
    wait_for(
        "the file on the disk", lambda: worker.sudo(LOOK).stdout.split() == ["kept"] or None, timeout_s=UP_WITHIN_S
    )
