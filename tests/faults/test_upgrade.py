# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that an upgrade from an older version loses nothing although the driver is killed again and again."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.faults.old_studio import OldStudio, deploy_old_studio
from tests.support.lab.driver import INVENTORY, count_changes_by_phase, read_checks, run_driver, run_driver_json
from tests.support.lab.machines import LAB, ROOT, wait_for

PASSWORD = ("--become-pass-file", str(LAB / "sudo_password"))
#: The tasks at which the driver is killed, one deployment each. They change what differs between the versions.
MOMENTS = (
    "configure | Create the accounts",
    "configure | Bind the listening units to the firewall's unit",
    "directories | Create the shared directories",
    "configure | Mount the shares",
    "packages | Install the packages",
)


@pytest.fixture(scope="module")
def old_studio() -> OldStudio:
    """Deploy the older version. The tests that follow this module reset the machines."""
    return deploy_old_studio()


def kill_driver_at(task: str) -> None:
    """Deploy, and kill the driver with -9 when it reaches a task."""
    log = LAB / "upgrade.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["noslop-driver", "deploy", "--inventory", str(INVENTORY), *PASSWORD, "--yes"],
            cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip

    def is_reached() -> bool:
        assert process.poll() is None, f"the deployment ended before {task!r}: {log.read_text()}"
        return task in log.read_text()

    try:
        wait_for(task, is_reached, timeout_s=1800)
    finally:
        process.kill()
        process.wait()


def test_upgrade_loses_nothing_when_the_driver_is_killed_five_times(old_studio: OldStudio) -> None:
    files, layout = old_studio.read_checksums(), old_studio.read_layout()
    checked = run_driver("deploy", "--inventory", str(INVENTORY), *PASSWORD, "--yes", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert old_studio.read_layout() == layout
    for task in MOMENTS:
        kill_driver_at(task)
    code, result = run_driver_json("deploy", "--yes")
    assert code == 0, result
    after = old_studio.read_checksums()
    assert {name: {path: after[name].get(path) for path in files[name]} for name in files} == files
    code, report = run_driver_json("verify")
    assert code == 0, report
    assert all(check["ok"] for check in read_checks(report))
    code, result = run_driver_json("deploy", "--yes", "--full")
    assert code == 0, result
    assert not any(count_changes_by_phase(result).values()), result


def test_token_of_the_old_version_still_writes_to_its_project(old_studio: OldStudio) -> None:
    project = old_studio.project
    saved = old_studio.request("POST", f"/projects/{project}/workflows?name=w", json.dumps({"version": 3}).encode())
    assert saved["version"] == 4
    final = json.dumps({"name": "Another final"}).encode()
    assert old_studio.request("POST", f"/projects/{project}/files/{old_studio.image}/promote", final)["id"]
