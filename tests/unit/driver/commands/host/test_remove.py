# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what the removal of a host changes in the studio. Its server is real and refuses each command."""

from __future__ import annotations

from pathlib import Path

import pytest

from noslop_driver.errors import ExitCode
from noslop_driver.inventory import machines
from noslop_driver.inventory.machines import Machines
from tests.support.driver_cli import run, run_json, spawn_on_terminal
from tests.support.ssh_studio import CLOSED, SshStudio, refuse_commands
from tests.unit.conftest import StartSshd

pytestmark = pytest.mark.slow

REMOVE = ("host", "remove")


@pytest.fixture
def studio(tmp_path: Path, sshd_server: StartSshd, monkeypatch: pytest.MonkeyPatch) -> SshStudio:
    monkeypatch.chdir(tmp_path)
    servers = {"server": sshd_server("127.0.0.81", options=refuse_commands(tmp_path))}
    return SshStudio(tmp_path / "inventories/studio", servers)


def test_dead_host_leaves_inventory_and_keys_and_is_refused(studio: SshStudio) -> None:
    before = studio.hosts
    machines.write(studio.directory, Machines(machine_ids={"worker2": "m", "server": "s"}))
    (studio.directory.state_dir / "cache/facts/worker2").touch()
    output, done = run_json(*REMOVE, "worker2", "--dead", "--yes", "--inventory", str(studio.directory.path))
    # The server refuses the commands of the phase that removes export and rule.
    assert done.returncode != 0
    assert "worker2 was removed from the inventory, but members failed: server" in output["error"]
    assert "noslop-driver deploy --inventory" in output["error"]
    assert [phase["phase"] for phase in output["phases"]] == ["members"]
    assert output["left_out"].keys() == {"worker"}
    assert "line 3 names worker2: noslop_users: [worker2]" in done.stderr
    assert "line 2" not in done.stderr, "a comment is no name"

    lines = [line for line in before.splitlines() if line not in studio.hosts.splitlines()]
    assert lines == ["    worker2:", "        worker2:"]
    assert "# the loud one" in studio.hosts
    assert studio.known_hosts.find_keys(*CLOSED) == []
    identities = machines.read(studio.directory)
    assert identities.machine_ids == {"server": "s"}
    (removed,) = identities.removed
    assert (removed.name, removed.machine_id) == ("worker2", "m")
    assert not (studio.directory.state_dir / "cache/facts/worker2").exists()
    status, _done = run_json("status", "--inventory", str(studio.directory.path))
    assert [machine["name"] for machine in status["removed_machines"]] == ["worker2"]


def test_host_that_does_not_answer_is_not_removed_by_yes_alone(studio: SshStudio) -> None:
    before = studio.hosts
    done = run(*REMOVE, "worker2", "--yes")
    assert done.returncode == ExitCode.USAGE
    assert "worker2 does not answer" in done.stderr
    assert "pass --dead" in done.stderr
    assert studio.hosts == before
    assert machines.read(studio.directory).removed == []


@pytest.mark.long
def test_questions_name_what_goes_and_no_is_the_default_for_a_dead_host(studio: SshStudio) -> None:
    child = spawn_on_terminal(*REMOVE, "worker2")
    child.expect("worker2 does not answer")
    child.expect("leave there what was installed")
    child.sendline("")
    child.expect("You answered no")
    child.close()
    child = spawn_on_terminal(*REMOVE, "worker2", "--dead")
    child.expect_exact("Services, mounts and rules stay on worker2")
    child.expect_exact("noslop-driver host add --again worker2")
    child.expect(r"Remove worker2\?")
    child.sendline("n")
    child.expect("nothing was changed")
    child.close()
    assert machines.read(studio.directory).removed == []


@pytest.mark.long
def test_failed_teardown_keeps_the_host(studio: SshStudio, sshd_server: StartSshd, tmp_path: Path) -> None:
    other = SshStudio(
        tmp_path / "inventories/other",
        {**studio.servers, "worker": sshd_server("127.0.0.82", options=refuse_commands(tmp_path))},
    )
    before = other.hosts
    output, done = run_json(*REMOVE, "worker", "--yes", "--inventory", str(other.directory.path))
    assert done.returncode != 0
    assert [phase["phase"] for phase in output["phases"]] == ["teardown"]
    assert "worker is still a host of the studio. --dead removes it as it is." in output["error"]
    assert other.hosts == before
    assert machines.read(other.directory).removed == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("server", "is the storage server: the other hosts mount its shares"), ("nobody", "is no host of")],
)
def test_hosts_that_others_need_are_refused(studio: SshStudio, name: str, message: str) -> None:
    done = run(*REMOVE, name, "--dead", "--yes")
    assert done.returncode == ExitCode.USAGE
    assert message in done.stderr


def test_host_of_the_backend_is_refused_with_the_way(studio: SshStudio) -> None:
    more = studio.directory.path / "backend.yml"
    more.write_text("backend: {hosts: {worker2: }}\n", encoding="utf-8")
    done = run(*REMOVE, "worker2", "--dead", "--yes")
    assert done.returncode == ExitCode.USAGE
    assert "docs/backend.md, Backups" in done.stderr


def test_storage_server_that_is_away_ends_the_command_before_a_change(studio: SshStudio) -> None:
    studio.servers["server"].stop()
    before = studio.hosts
    done = run(*REMOVE, "worker2", "--dead", "--yes")
    assert done.returncode == ExitCode.UNREACHABLE
    assert "server is the storage server and does not answer" in done.stderr
    assert studio.hosts == before


@pytest.mark.long
def test_removed_machine_that_comes_back_is_refused(studio: SshStudio, sshd_server: StartSshd) -> None:
    back = sshd_server("127.0.0.83")
    worker = machines.RemovedMachine(
        name="worker3", address=back.address, port=back.port, host_keys=[back.public_key], removed="2026-01-02T03:04:05"
    )
    machines.write(studio.directory, Machines(removed=[worker]))
    for command in (["deploy", "--host", back.host, "--yes"], ["host", "add", back.host, "--yes"]):
        output, done = run_json(*command, "--accept-new-keys")
        assert done.returncode != 0
        (problem,) = [one for one in output["plan"]["problems"] if one["kind"] == "removed_machine"]
        assert problem["fatal"]
        assert "removed from the studio as worker3 on 2026-01-02" in problem["what"]
        assert "host add --again" in problem["todo"]
    assert not any("publickey" in line for line in back.complete_log())
