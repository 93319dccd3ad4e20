# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the playbook that mends units and mounts: with a systemctl and a mount that log what they are to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.plays import local_inventory

ROOT = Path(__file__).parents[4]
PLAYBOOK = ROOT / "collections/ansible_collections/noslop/studio/playbooks/repair.yml"
SYSTEMCTL = r"""#!/bin/sh
# Reports that every unit is masked, disabled and stopped, and logs what is done with it.
case "$*" in
    *broken*start*|*start*broken*) echo "Job for broken.service failed" >&2; exit 1 ;;
    *is-enabled*) echo masked; exit 1 ;;
    *show*) printf 'Id=a.service\nLoadState=masked\nActiveState=inactive\nUnitFileState=masked\n' ;;
    *is-active*|*list-unit*) ;;
    *) echo "systemctl $*" >> {log} ;;
esac
"""
MOUNT = '#!/bin/sh\necho "mount $*" >> {log}\n'

pytestmark = pytest.mark.slow


class RepairedHost:
    """This computer as the host of a studio."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "log"
        self.log.touch()
        self.programs = directory / "programs"
        self.programs.mkdir()
        for name, text in (("systemctl", SYSTEMCTL), ("mount", MOUNT)):
            program = self.programs / name
            program.write_text(text.format(log=self.log), encoding="ascii")
            program.chmod(0o755)
        self.variables = {"noslop_studio_id": "abc", "noslop_lease": "ignore", "ansible_become": False}
        self.inventory = local_inventory(directory / "inventory", ["one"], **self.variables)

    def repair(self, *steps: dict[str, str]) -> subprocess.CompletedProcess[str]:
        variables: dict[str, Any] = {"noslop_repair_steps": {"one": steps}, "ansible_become": False}
        program = Path(sys.executable).with_name("ansible-playbook")
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{self.programs}:{os.environ['PATH']}",
        }
        return subprocess.run(
            [program, "-i", self.inventory, PLAYBOOK, "-e", json.dumps(variables)],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def read_log(self) -> str:
        return self.log.read_text(encoding="ascii")


@pytest.fixture
def host(tmp_path: Path) -> RepairedHost:
    return RepairedHost(tmp_path)


def test_steps_are_done_in_their_order_and_a_share_is_mounted_again(host: RepairedHost) -> None:
    states = ("unmasked", "enabled", "started")
    steps = [{"unit": "a.service", "state": state} for state in states]
    done = host.repair(*steps, {"remount": "/mnt/noslop/projects"})

    assert done.returncode == 0, done.stdout
    actions = [line for line in host.read_log().splitlines() if "daemon-reload" not in line]
    wanted = ["unmask --runtime a.service", "unmask a.service", "enable a.service", "start a.service"]
    assert [line for line in actions if "reset-failed" not in line] == [
        *(f"systemctl {words}" for words in wanted),
        "mount -o remount,rw /mnt/noslop/projects",
    ]


def test_step_that_fails_is_reported_and_the_next_one_is_done(host: RepairedHost) -> None:
    done = host.repair({"unit": "broken.service", "state": "started"}, {"unit": "a.service", "state": "started"})

    assert done.returncode == 0, done.stdout
    assert "broken.service is not mended" in done.stdout
    assert "systemctl start a.service" in host.read_log()


@pytest.mark.parametrize(
    "step", [{"remount": "/etc"}, {"unit": "a.service", "state": "removed"}, {"command": "reboot"}, {}]
)
def test_anything_else_is_refused_before_a_step_is_done(host: RepairedHost, step: dict[str, str]) -> None:
    done = host.repair({"unit": "a.service", "state": "started"}, step)

    assert done.returncode != 0
    assert "is no step" in done.stdout
    assert host.read_log() == ""
