# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test with a real SSH server which members are away, and what a run does without them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from noslop_driver.errors import UnreachableError
from noslop_driver.hosts import presence
from noslop_driver.hosts.discovery import SearchTargets
from noslop_driver.hosts.gather import gather_hosts
from noslop_driver.hosts.host_keys import AcceptanceRule
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal
from tests.support.plays import local_inventory, ssh_inventory
from tests.support.sshd import SshServer
from tests.unit.conftest import StartSshd

CLOSED = ("127.0.0.1", 1)


class Studio:
    """A studio of a server that answers, and two workers: one is away, and one refuses the login."""

    def __init__(self, directory: Path, server: SshServer) -> None:
        self.inventory = ssh_inventory(directory / "studio", server, known_hosts=directory / "known_hosts")
        hosts = json.loads((self.inventory / "hosts.yml").read_text(encoding="utf-8"))["all"]["hosts"]
        far = {**hosts["far"], "ansible_become_exe": "/bin/false"}
        refused = {**far, "ansible_user": "nobody", "ansible_ssh_private_key_file": "/dev/null"}
        closed = {**far, "ansible_host": CLOSED[0], "ansible_port": CLOSED[1]}
        self.names = {"far": "storage_server", "refused": "storage_clients", "worker": "storage_clients"}
        content = {"all": {"hosts": {"far": far, "refused": refused, "worker": closed}}}
        (self.inventory / "hosts.yml").write_text(json.dumps(content), encoding="utf-8")
        self.addresses = {"far": (server.address, server.port), "refused": (server.address, server.port)}
        self.login = Login(server.user, server.client_key)

    def list_members(self, server: str = "far") -> list[Member]:
        return [
            Member(
                name,
                *self.addresses.get(name, CLOSED),
                self.login.user,
                frozenset({"storage_server" if name == server else "storage_clients"}),
                {},
            )
            for name in self.names
        ]


@pytest.fixture
def studio(tmp_path: Path, sshd_server: StartSshd) -> Studio:
    return Studio(tmp_path, sshd_server("127.0.0.71"))


@pytest.mark.slow
def test_member_that_does_not_answer_is_away_and_one_that_refuses_the_login_is_not(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    here = presence.look(studio.inventory, studio.list_members(), studio.login, Terminal(no_input=True))
    assert list(here.away) == ["worker"]
    assert "nothing listens on port 1" in here.away["worker"]
    assert "worker is left out" in capsys.readouterr().err


@pytest.mark.slow
def test_without_the_storage_server_a_run_ends_before_it_begins(studio: Studio) -> None:
    for limit in (None, "far"):
        with pytest.raises(UnreachableError, match="worker is the storage server and does not answer") as caught:
            presence.look(studio.inventory, studio.list_members("worker"), studio.login, Terminal(no_input=True), limit)
        assert "nothing can be done on them without it" in str(caught.value)


@pytest.mark.slow
def test_run_on_hosts_of_which_none_answers_ends_before_it_begins(studio: Studio) -> None:
    with pytest.raises(UnreachableError, match="no host answers"):
        presence.look(studio.inventory, studio.list_members(), studio.login, Terminal(no_input=True), "worker")


@pytest.mark.slow
@pytest.mark.long
def test_facts_of_the_others_are_gathered_while_a_member_is_away(studio: Studio) -> None:
    directory = StudioDirectory(studio.inventory)
    for server, fatal in (("far", False), ("worker", True)):
        members = [member for member in studio.list_members(server) if member.name != "refused"]
        gathered = gather_hosts(
            directory,
            members,
            SearchTargets(),
            AcceptanceRule(),
            login=studio.login,
            terminal=Terminal(no_input=True),
        )
        assert list(gathered.away) == ["worker"]
        (problem,) = [problem for problem in gathered.problems if problem.host == "worker"]
        assert problem.fatal is fatal
        assert ("is the storage server" in problem.what) is fatal
        assert ("host remove worker" in problem.todo) is not fatal
        assert [host.name for host in gathered.hosts] == (["far", "worker"] if not fatal else ["worker"]) or fatal


@pytest.mark.parametrize(
    ("limit", "selected"),
    [
        (None, {"one", "three"}),
        ("two,three", {"three"}),
        ("one:three", {"one", "three"}),
        ("all:&three", {"three"}),
    ],
)
def test_pattern_excludes_members_that_are_away(tmp_path: Path, limit: str | None, selected: set[str]) -> None:
    inventory = local_inventory(tmp_path, ["one", "two", "three"])
    pattern = presence.exclude(limit, {"two": "off"})
    program = Path(sys.executable).with_name("ansible")
    command = [str(program), "-i", str(inventory / "hosts.yml"), "all", "--limit", str(pattern), "--list-hosts"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {line.strip() for line in listing.splitlines()[1:]} == selected


def test_pattern_without_absent_members_stays() -> None:
    assert presence.exclude(None, {}) is None
    assert presence.exclude("one", {}) == "one"
