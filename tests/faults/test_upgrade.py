# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A studio of an older version is taken over, although the driver is killed again and again, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.faults.old_studio import OldStudio, deploy_old_studio
from tests.support.lab.driver import INVENTORY, changed_by_phase, checks, driver, driver_json
from tests.support.lab.machines import LAB, ROOT, wait_for

PASSWORD = ("--become-pass-file", str(LAB / "sudo_password"))
#: The tasks at which the driver is killed, one deployment each: what is changed there is what the versions differ in.
MOMENTS = (
    "configure | Create the accounts",
    "configure | Bind the listening units to the firewall's unit",
    "directories | Create the shared directories",
    "configure | Mount the shares",
    "install | Install the packages",
)


@pytest.fixture(scope="module")
def old_studio() -> OldStudio:
    """Deploy the older version. Whoever comes after this makes the machines bare again."""
    return deploy_old_studio()


def kill_at(task: str) -> None:
    """Deploy, and kill the driver with -9 in a task."""
    log = LAB / "upgrade.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["noslop-driver", "deploy", "--inventory", str(INVENTORY), *PASSWORD, "--yes"],
            cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip

    def reached() -> bool:
        assert process.poll() is None, f"the deployment ended before {task!r}: {log.read_text()}"
        return task in log.read_text()

    try:
        wait_for(task, reached, timeout_s=1800)
    finally:
        process.kill()
        process.wait()


def test_an_old_studio_is_taken_over_through_five_kills(old_studio: OldStudio) -> None:
    files, layout = old_studio.checksums(), old_studio.layout()
    checked = driver("deploy", "--inventory", str(INVENTORY), *PASSWORD, "--yes", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert old_studio.layout() == layout
    for task in MOMENTS:
        kill_at(task)
    code, result = driver_json("deploy", "--yes")
    assert code == 0, result
    after = old_studio.checksums()
    assert {name: {path: after[name].get(path) for path in files[name]} for name in files} == files
    code, report = driver_json("verify")
    assert code == 0, report
    assert all(check["ok"] for check in checks(report))
    code, result = driver_json("deploy", "--yes")
    assert code == 0, result
    assert not any(changed_by_phase(result).values()), result


def test_an_old_token_goes_on_with_an_old_project(old_studio: OldStudio) -> None:
    project = old_studio.project
    saved = old_studio.api("POST", f"/projects/{project}/workflows?name=w", json.dumps({"version": 3}).encode())
    assert saved["version"] == 4
    final = json.dumps({"name": "Another final"}).encode()
    assert old_studio.api("POST", f"/projects/{project}/files/{old_studio.image}/promote", final)["id"]
