# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test with real SSH servers that a member is recognised at another address, and that other machines are not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.hosts.discovery import SearchTargets
from noslop_driver.hosts.gather import GatheredHosts, gather_hosts
from noslop_driver.hosts.host_keys import AcceptanceRule
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import machines
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.inventory.machines import Machines
from noslop_driver.models import Candidate
from noslop_driver.output.terminal import Terminal
from tests.support.driver_cli import run_json, spawn_on_terminal
from tests.support.sshd import SshServer
from tests.unit.conftest import StartSshd

pytestmark = pytest.mark.slow

OLD, NEW = "127.0.0.61", "127.0.0.62"
MACHINE_ID = Path("/etc/machine-id").read_text(encoding="ascii").strip() if Path("/etc/machine-id").exists() else ""

HOSTS = """\
# Our machines.
all:
  hosts:
    worker2:
      ansible_host: {address}   # by DHCP
      ansible_port: {port}
      ansible_user: {user}
      noslop_address: {address}
  children:
    storage_server:
      hosts: {{worker2: }}
"""


class Studio:
    """A studio with one member, whose key is pinned for an address at which it does not answer."""

    def __init__(self, path: Path, server: SshServer) -> None:
        self.directory = StudioDirectory(path)
        self.server = server
        path.mkdir(parents=True)
        (path / "hosts.yml").write_text(HOSTS.format(address=OLD, port=server.port, user=server.user), encoding="utf-8")
        variables = {
            "ansible_python_interpreter": sys.executable,
            "ansible_ssh_private_key_file": str(server.client_key),
            "ansible_ssh_common_args": "-o 'UserKnownHostsFile=\"{{ inventory_dir }}/.noslop/known_hosts\"' "
            "-o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes",
        }
        (path / "group_vars/all").mkdir(parents=True)
        (path / "group_vars/all/connection.yml").write_text(json.dumps(variables), encoding="utf-8")
        self.directory.make_state_dir()
        self.known_hosts = KnownHosts(self.directory.known_hosts)
        self.pin(OLD)

    def pin(self, address: str) -> None:
        candidate = Candidate(address=address, port=self.server.port, host_keys=[self.server.public_key], status="open")
        self.known_hosts.accept([candidate])

    def gather(self, terminal: Terminal, *, check: bool = False, address: str = OLD) -> GatheredHosts:
        variables = {"noslop_address": address, "ansible_ssh_common_args": ".noslop/known_hosts"}
        member = Member(
            "worker2", address, self.server.port, self.server.user, frozenset({"storage_server"}), variables
        )
        return gather_hosts(
            self.directory,
            [member],
            SearchTargets(hosts=[self.server.host]),
            AcceptanceRule(every_key=True),
            login=Login(self.server.user, self.server.client_key),
            terminal=terminal,
            check=check,
        )

    @property
    def hosts(self) -> str:
        return (self.directory.path / "hosts.yml").read_text(encoding="utf-8")


@pytest.fixture
def studio(tmp_path: Path, sshd_server: StartSshd, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.chdir(tmp_path)
    return Studio(tmp_path / "inventories/studio", sshd_server(NEW))


def list_kinds(gathered: GatheredHosts) -> list[str]:
    return [problem.kind for problem in gathered.problems if problem.kind != "sudo_password_missing"]


def test_member_at_another_address_keeps_its_place(studio: Studio) -> None:
    before = studio.hosts
    gathered = studio.gather(Terminal(yes=True))
    assert [(host.name, host.address) for host in gathered.hosts] == [("worker2", NEW)]
    assert [member.address for member in gathered.members] == [NEW]
    assert studio.hosts == before.replace(OLD, NEW), "comments stay"
    assert studio.known_hosts.find_keys(NEW, studio.server.port) == [studio.server.public_key]
    assert studio.known_hosts.find_keys(OLD, studio.server.port) == []
    assert [path.name for path in studio.directory.state_dir.glob("known_hosts*")] == ["known_hosts"]
    assert machines.read(studio.directory).machine_ids == ({"worker2": MACHINE_ID} if MACHINE_ID else {})


@pytest.mark.long
def test_question_has_yes_as_default(studio: Studio) -> None:
    words = ["plan", "--host", studio.server.host, "--user", studio.server.user]
    child = spawn_on_terminal(*words)
    child.expect_exact(f"worker2 answers at {NEW} now, with the key that was accepted for {OLD}")
    child.sendline("")
    child.expect_exact(f"worker2 has the address {NEW}")
    child.close()
    assert f"ansible_host: {NEW}   # by DHCP" in studio.hosts


@pytest.mark.long
def test_without_a_terminal_the_error_names_the_flag(studio: Studio) -> None:
    before = studio.hosts
    with pytest.raises(UsageError, match="Pass --yes"):
        studio.gather(Terminal(no_input=True))
    assert studio.hosts == before
    output, done = run_json("plan", "--host", studio.server.host)
    assert done.returncode == ExitCode.USAGE
    assert "Change its address in the inventory?" in output["error"]


@pytest.mark.long
def test_check_leaves_the_address_as_it_is(studio: Studio) -> None:
    before = studio.hosts
    assert "moved" in list_kinds(studio.gather(Terminal(yes=True), check=True))
    assert studio.hosts == before


@pytest.mark.long
def test_member_that_still_answers_has_not_moved(studio: Studio, sshd_server: StartSshd, tmp_path: Path) -> None:
    (tmp_path / "sshd2").mkdir()
    for name in ("host_key", "host_key.pub"):
        (tmp_path / "sshd2" / name).write_bytes(studio.server.host_key.with_name(name).read_bytes())
    (tmp_path / "sshd2/host_key").chmod(0o600)
    second = sshd_server(OLD, port=studio.server.port)
    assert second.public_key == studio.server.public_key
    before = studio.hosts
    studio.gather(Terminal(yes=True))
    assert studio.hosts == before


@pytest.mark.long
@pytest.mark.skipif(not MACHINE_ID, reason="this computer has no machine-id")
def test_key_with_another_machine_id_is_a_clone(studio: Studio) -> None:
    machines.write(studio.directory, Machines(machine_ids={"worker2": "0" * 32}))
    before = studio.hosts
    gathered = studio.gather(Terminal(yes=True))
    (clone,) = [problem for problem in gathered.problems if problem.kind == "cloned_host_key"]
    assert clone.fatal
    assert "has another machine-id" in clone.what
    assert studio.hosts == before


@pytest.mark.long
@pytest.mark.skipif(not MACHINE_ID, reason="this computer has no machine-id")
def test_member_with_another_machine_id_and_its_key_is_a_note(studio: Studio) -> None:
    studio.gather(Terminal(yes=True))
    machines.write(studio.directory, Machines(machine_ids={"worker2": "0" * 32}))
    gathered = studio.gather(Terminal(yes=True), address=NEW)
    (note,) = [problem for problem in gathered.problems if problem.kind == "machine_id_changed"]
    assert not note.fatal
    assert machines.read(studio.directory).machine_ids == {"worker2": MACHINE_ID}


@pytest.mark.skipif(not MACHINE_ID, reason="this computer has no machine-id")
def test_machine_id_with_another_key_is_a_problem(studio: Studio, sshd_server: StartSshd) -> None:
    machines.write(studio.directory, Machines(machine_ids={"worker2": MACHINE_ID}))
    studio.server = sshd_server("127.0.0.63")
    gathered = studio.gather(Terminal(yes=True))
    (problem,) = [problem for problem in gathered.problems if problem.kind == "cloned_machine_id"]
    assert "machine-id of worker2" in problem.what
    assert "host replace worker2 127.0.0.63" in problem.todo
    assert [host.name for host in gathered.hosts] == ["worker2"], "no new host"


def test_removed_machine_is_refused_before_a_login(studio: Studio) -> None:
    studio.known_hosts.forget(Candidate(address=OLD, port=studio.server.port, status="open"))
    removed = Member("worker3", "10.0.0.13", 22, "artist", frozenset(), {})
    machines.write(studio.directory, Machines().remove_member(removed, [studio.server.public_key]))
    gathered = studio.gather(Terminal(yes=True))
    (problem,) = [problem for problem in gathered.problems if problem.kind == "removed_machine"]
    assert problem.fatal
    assert "removed from the studio as worker3" in problem.what
    assert f"host add --again {NEW}" in problem.todo
    assert not any("publickey" in line for line in studio.server.complete_log()), "there was no login"
