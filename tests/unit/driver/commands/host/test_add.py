# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the phases of a new host, and that a removed machine is added again only if a user says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from noslop_driver.commands.host.add import _allow_again, _resolve_removed
from noslop_driver.commands.host.members import list_join_phases
from noslop_driver.errors import ExitCode
from noslop_driver.inventory import machines
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.inventory.machines import Machines, RemovedMachine
from noslop_driver.models import Host
from tests.support.driver_cli import run
from tests.support.ssh_studio import SshStudio
from tests.unit.conftest import StartSshd

REMOVED = RemovedMachine(name="worker3", address="10.0.0.13", port=2222, machine_id="m", removed="2026-01-02T03:04:05")


def test_only_what_names_the_members_runs_on_the_others() -> None:
    phases = list_join_phases(["new"], ["server", "worker"])
    assert [(phase.name, phase.limit) for phase in phases] == [
        ("preflight", "new"),
        ("members", "server,worker"),
        ("storage", "new"),
        ("configure", "new"),
        ("services", "new"),
        ("references", "server,worker"),
        ("verify", ""),
    ]
    assert all(phase.tags for phase in phases if phase.limit == "server,worker")


def test_removed_machine_is_allowed_by_its_earlier_name(tmp_path: Path) -> None:
    studio = StudioDirectory(tmp_path)
    machines.write(studio, Machines(removed=[REMOVED]))
    assert _resolve_removed(["worker3", "10.0.0.14"], studio) == ["10.0.0.13:2222", "10.0.0.14"]
    _allow_again(studio, [Host(name="other", address="10.0.0.14", user="artist", machine_id="n")])
    assert machines.read(studio).removed == [REMOVED]
    _allow_again(studio, [Host(name="worker3", address="10.0.0.13", user="artist", machine_id="m")])
    assert machines.read(studio).removed == []


@pytest.mark.slow
def test_member_is_not_added_again(tmp_path: Path, sshd_server: StartSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server = sshd_server("127.0.0.84")
    studio = SshStudio(tmp_path / "inventories/studio", {"server": server})
    before = studio.hosts
    done = run("host", "add", server.host, "--yes")
    assert done.returncode in (ExitCode.USAGE, ExitCode.PREFLIGHT)
    assert studio.hosts == before
