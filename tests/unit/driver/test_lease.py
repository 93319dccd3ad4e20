# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the lease of two controllers on one storage server, through a real SSH server."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from noslop_driver.ansible.config import find_collections_path
from noslop_driver.ansible.runner import run_playbook
from tests.support.plays import ssh_inventory, write_playbook
from tests.unit.conftest import StartSshd


class Controllers:
    """This process with its inventory, and other controllers with theirs."""

    def __init__(self, directory: Path, own_inventory: Path, other_inventory: Path) -> None:
        self.own_inventory, self.other_inventory = own_inventory, other_inventory
        self._lease = directory / "lease"
        self._directory = directory

    def make_playbook(self, **arguments: object) -> Path:
        task = {"name": "Lease", "noslop.studio.studio_lease": {"directory": str(self._lease), **arguments}}
        return write_playbook(self._directory, task, name="lease.yml")

    def run_other_driver(self, playbook: Path) -> str:
        """Run a playbook in another driver. Return its output: failures and status."""
        command = [
            sys.executable,
            "-m",
            "tests.support.driver_kills",
            "--drive",
            str(self.other_inventory),
            str(playbook),
        ]
        done = subprocess.run(command, input="{}", capture_output=True, text=True, check=True)
        return done.stdout.partition("locked\n")[2]

    def run_plain_ansible(self, playbook: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook without a driver."""
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", str(self.other_inventory), str(playbook), *options]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(find_collections_path()), "COLUMNS": "1000"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def controllers(tmp_path: Path, sshd_server: StartSshd) -> Controllers:
    server = sshd_server()
    own_inventory, other_inventory = (
        ssh_inventory(tmp_path / name, server, known_hosts=tmp_path / f"{name}-known_hosts")
        for name in ("own_inventory", "other_inventory")
    )
    (other_inventory / ".noslop").mkdir(mode=0o700)
    return Controllers(tmp_path, own_inventory, other_inventory)


@pytest.mark.slow
def test_second_controller_fails_with_owner_and_start_of_the_lease(controllers: Controllers) -> None:
    acquire = controllers.make_playbook()
    outcome = run_playbook(acquire, controllers.own_inventory)
    assert outcome.ok
    assert outcome.changed == 0
    assert run_playbook(acquire, controllers.own_inventory).ok, "the next playbook of the same command renews it"
    owner = rf"{re.escape(getpass.getuser())}@\S+ \(process {os.getpid()} there\)"
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d UTC"

    plain = controllers.run_plain_ansible(acquire)
    assert plain.returncode != 0
    assert re.search(rf"{owner} has been changing this studio {since}", plain.stdout + plain.stderr)
    assert controllers.run_plain_ansible(acquire, "--check").returncode != 0
    driver = controllers.run_other_driver(acquire)
    assert re.search(rf"{owner} has been changing this studio {since}", driver)
    assert driver.endswith("failed\n")

    assert run_playbook(controllers.make_playbook(state="released"), controllers.own_inventory).ok
    assert controllers.run_other_driver(controllers.make_playbook()).endswith("ok\n")


@pytest.mark.long
def test_lease_of_an_ended_run_is_replaced_at_once(controllers: Controllers) -> None:
    acquire = controllers.make_playbook()
    assert controllers.run_other_driver(acquire).endswith("ok\n")
    assert run_playbook(acquire, controllers.own_inventory).ok


@pytest.mark.long
def test_driver_keeps_the_lease_between_playbooks(controllers: Controllers) -> None:
    assert run_playbook(controllers.make_playbook(), controllers.own_inventory).ok
    assert run_playbook(controllers.make_playbook(state="released", last=False), controllers.own_inventory).ok
    assert controllers.run_plain_ansible(controllers.make_playbook()).returncode != 0
    assert controllers.run_plain_ansible(controllers.make_playbook(override=True)).returncode == 0
