# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two controllers on one storage server, which they reach through a real SSH server."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from noslop_driver.ansible.config import collections_path
from noslop_driver.ansible.runner import run_playbook
from tests.support.plays import ssh_inventory, write_playbook
from tests.unit.conftest import StartSshd


class Controllers:
    """This process, which has an inventory, and others, which have one of their own."""

    def __init__(self, directory: Path, ours: Path, theirs: Path) -> None:
        self.ours, self.theirs = ours, theirs
        self._lease = directory / "lease"
        self._directory = directory

    def playbook(self, **arguments: object) -> Path:
        task = {"name": "Lease", "noslop.studio.studio_lease": {"directory": str(self._lease), **arguments}}
        return write_playbook(self._directory, task, name="lease.yml")

    def other_driver(self, playbook: Path) -> str:
        """Run a playbook in another driver. Returns what it printed: failures, and how it ended."""
        command = [sys.executable, "-m", "tests.support.driver_kills", "--drive", str(self.theirs), str(playbook)]
        done = subprocess.run(command, input="{}", capture_output=True, text=True, check=True)
        return done.stdout.partition("locked\n")[2]

    def plain_ansible(self, playbook: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook without a driver."""
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", str(self.theirs), str(playbook), *options]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections_path()), "COLUMNS": "1000"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def controllers(tmp_path: Path, sshd_server: StartSshd) -> Controllers:
    server = sshd_server()
    ours, theirs = (
        ssh_inventory(tmp_path / name, server, known_hosts=tmp_path / f"{name}-known_hosts")
        for name in ("ours", "theirs")
    )
    (theirs / ".noslop").mkdir(mode=0o700)
    return Controllers(tmp_path, ours, theirs)


def test_second_controller_is_told_who_changes_the_studio_and_since_when(controllers: Controllers) -> None:
    acquire = controllers.playbook()
    outcome = run_playbook(acquire, controllers.ours)
    assert outcome.ok
    assert outcome.changed == 0
    assert run_playbook(acquire, controllers.ours).ok, "the next playbook of the same command renews it"
    who = rf"{re.escape(getpass.getuser())}@\S+ \(process {os.getpid()} there\)"
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d UTC"

    plain = controllers.plain_ansible(acquire)
    assert plain.returncode != 0
    assert re.search(rf"{who} has been changing this studio {since}", plain.stdout + plain.stderr)
    assert controllers.plain_ansible(acquire, "--check").returncode != 0
    driver = controllers.other_driver(acquire)
    assert re.search(rf"{who} has been changing this studio {since}", driver)
    assert driver.endswith("failed\n")

    assert run_playbook(controllers.playbook(state="released"), controllers.ours).ok
    assert controllers.other_driver(controllers.playbook()).endswith("ok\n")


def test_run_that_ended_without_release_is_replaced_at_once(controllers: Controllers) -> None:
    acquire = controllers.playbook()
    assert controllers.other_driver(acquire).endswith("ok\n")
    assert run_playbook(acquire, controllers.ours).ok


def test_driver_keeps_the_lease_between_its_playbooks(controllers: Controllers) -> None:
    assert run_playbook(controllers.playbook(), controllers.ours).ok
    assert run_playbook(controllers.playbook(state="released", last=False), controllers.ours).ok
    assert controllers.plain_ansible(controllers.playbook()).returncode != 0
    assert controllers.plain_ansible(controllers.playbook(override=True)).returncode == 0
