# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test commands without a password on a studio whose host needs one for sudo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from noslop_driver.hosts import ssh_errors, sudo
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.inventory.render import Connection
from noslop_driver.models import Candidate, Host, Plan, Proposal, StudioSettings
from noslop_driver.secrets import Secrets
from tests.support import sshd
from tests.support.driver_cli import run_json, spawn_on_terminal
from tests.support.plays import local_inventory
from tests.unit.conftest import StartSshd

PASSWORD = "the-sudo-password"  # noqa: S105 - a test password


@dataclass(frozen=True)
class PasswordStudio:
    """A studio of one host, and the log of its sudo."""

    studio: StudioDirectory
    log: Path

    def passwords(self) -> set[str]:
        return set(self.log.read_text(encoding="utf-8").splitlines())


@pytest.fixture
def password_studio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sshd_server: StartSshd, client_key: Path
) -> PasswordStudio:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_BECOME_ALLOW_SAME_USER", "True")  # otherwise root does not use sudo
    log = sshd.fake_sudo(tmp_path / "bin", PASSWORD)
    server = sshd_server("127.0.0.95", options=[sshd.with_path(tmp_path / "bin")])
    studio = StudioDirectory(Path("inventories/studio"))
    host = Host(name="far", address=server.address, port=server.port, user=server.user)
    plan = Plan(
        hosts=[host],
        proposals=[Proposal(host="far", score=50, roles=["storage_server"], reasons=[])],
        server="far",
        settings=StudioSettings(studio_id="abc", storage_provider="local"),
        problems=[],
    )
    studio.write(plan, Connection(client_key))
    KnownHosts(studio.known_hosts).accept(
        [Candidate(address=server.address, port=server.port, host_keys=[server.public_key], status="open")]
    )
    return PasswordStudio(studio, log)


@pytest.mark.parametrize("words", [["verify"], ["teardown", "--yes"]])
def test_missing_password_without_a_terminal_is_an_error_with_host_and_flag(
    words: list[str], password_studio: PasswordStudio
) -> None:
    _output, done = run_json(*words)
    assert done.returncode == 2
    assert "sudo needs a password on far" in done.stderr
    assert "--become-pass-file" in done.stderr
    assert not password_studio.studio.records.exists()


@pytest.mark.long
def test_verify_asks_once_at_a_terminal(password_studio: PasswordStudio) -> None:
    # Without Python, no check runs: it would check the machine that runs the tests.
    (password_studio.studio.path / "group_vars/all/python.yml").write_text(
        "ansible_python_interpreter: /nowhere/python3\n", encoding="utf-8"
    )
    child = spawn_on_terminal("verify")
    child.expect("sudo needs a password on far")
    child.expect("sudo password: ")
    child.sendline(PASSWORD)
    child.expect("verify: checking that the studio works")
    child.expect(pexpect.EOF)
    child.close()
    assert child.before
    assert "sudo password" not in child.before
    assert "Missing sudo password" not in child.before
    assert password_studio.passwords() == {PASSWORD}
    (record,) = password_studio.studio.records.iterdir()
    assert PASSWORD not in "".join(file.read_text(encoding="utf-8") for file in record.rglob("*") if file.is_file())


@pytest.mark.long
def test_plan_of_members_asks_once_at_a_terminal(password_studio: PasswordStudio) -> None:
    child = spawn_on_terminal("plan")
    child.expect("sudo needs a password on far")
    child.expect("sudo password: ")
    child.sendline(PASSWORD)
    child.expect("Storage")
    child.expect(pexpect.EOF)
    child.close()
    assert password_studio.passwords() == {PASSWORD}
    assert child.before
    assert "needs the password of" not in child.before


def test_member_without_a_pinned_key_gets_no_password(password_studio: PasswordStudio, tmp_path: Path) -> None:
    password_studio.studio.known_hosts.unlink()
    (tmp_path / "password").write_text(PASSWORD, encoding="utf-8")
    (tmp_path / "password").chmod(0o600)
    output, done = run_json("deploy", "--yes", "--become-pass-file", str(tmp_path / "password"))
    assert done.returncode == 4
    assert [(problem["host"], problem["kind"]) for problem in output["plan"]["problems"] if problem["fatal"]] == [
        ("far", "host_key_unknown")
    ]
    assert "--host-keys FILE" in done.stderr
    assert password_studio.passwords() == set()


def test_no_input_is_an_error_with_the_flag(password_studio: PasswordStudio) -> None:
    child = spawn_on_terminal("verify", "--no-input")
    child.expect("--no-input was given. Pass --become-pass-file FILE")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    assert password_studio.passwords() == set()


def test_only_hosts_that_need_a_password_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_BECOME_ALLOW_SAME_USER", "True")
    sshd.fake_sudo(tmp_path / "bin", PASSWORD)
    (tmp_path / "open").mkdir()
    (tmp_path / "open/sudo").write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    (tmp_path / "open/sudo").chmod(0o755)
    inventory = local_inventory(tmp_path / "inventory", ["one"], ansible_become_exe=str(tmp_path / "bin/sudo"))
    local_inventory(tmp_path / "more", ["two"], ansible_become_exe=str(tmp_path / "open/sudo"))
    local_inventory(tmp_path / "away", ["three"], ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    for name in ("more", "away"):
        (tmp_path / name / "hosts.yml").rename(inventory / f"{name}.yml")
    assert sudo.find_hosts_needing_password(inventory, Secrets()) == ["one"]
    assert sudo.find_hosts_needing_password(inventory, Secrets(), limit="two") == []


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        ("Missing sudo password", True),
        ("sudo: a password is required", True),
        ("sudo: interactive authentication is required", True),
        ("sudo: se requiere una contraseña", True),
        ("sudo: command not found", False),
        ("artist is not in the sudoers file.", False),
        ("no such file", False),
    ],
)
def test_messages_of_sudo_for_a_missing_password_are_recognized(message: str, missing: bool) -> None:
    assert ssh_errors.is_sudo_password_missing(f"non-zero return code\n{message}") is missing
