# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a key is put on hosts that only have a password: real servers, and a password of root of their own."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from noslop_driver.hosts import authorized_keys
from noslop_driver.hosts.authorized_keys import PublicKey
from noslop_driver.models import Endpoint, SshOptions
from tests.support import sshd, user_ssh
from tests.support.driver_cli import run_json, spawn_on_terminal
from tests.support.sshd import SshServer
from tests.unit.conftest import StartSshd

FIRST, SECOND = "the first 'password\" ", "second"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give sshd an /etc/shadow of its own")
pytestmark = root_only


@dataclass(frozen=True)
class PasswordHost:
    """A host with a password, and the home directory of its account."""

    server: SshServer
    home: Path

    @property
    def file(self) -> Path:
        return self.home / ".ssh/authorized_keys"


class StartPasswordHost:
    """Starts hosts that accept a password, and the keys in the account's own authorized_keys."""

    def __init__(self, sshd_server: StartSshd, tmp_path: Path) -> None:
        self._sshd_server = sshd_server
        self._tmp_path = tmp_path

    def __call__(self, address: str, password: str, *more: str) -> PasswordHost:
        home = self._tmp_path / f"home of {address}"
        home.mkdir()
        options = [
            *more,
            "PasswordAuthentication yes",
            "PermitRootLogin yes",
            f'AuthorizedKeysFile "{home}/.ssh/authorized_keys"',
            f'SetEnv "HOME={home}"',
        ]
        prefix = sshd.with_root_password(self._tmp_path / f"etc-{address}", password)
        return PasswordHost(self._sshd_server(address, options=options, prefix=prefix), home)


@pytest.fixture
def password_host(sshd_server: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StartPasswordHost:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "own"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    user_ssh.write_config(tmp_path / "own/.ssh", "", monkeypatch)
    return StartPasswordHost(sshd_server, tmp_path)


def accept(*hosts: PasswordHost) -> list[str]:
    """Return the flags that accept the keys of hosts."""
    Path("keys").write_text("".join(f"x {host.server.public_key}\n" for host in hosts), encoding="ascii")
    return ["--host-keys", "keys"]


def write_password(password: str) -> list[str]:
    """Return the flags for a password in a file."""
    Path("password").write_text(f"{password}\n", encoding="utf-8")
    Path("password").chmod(0o600)
    return ["--pass-file", "password"]


def test_key_is_made_added_and_removed_again(password_host: StartPasswordHost, tmp_path: Path) -> None:
    host = password_host("127.0.0.61", FIRST)
    words = [host.server.host, *accept(host)]
    output, done = run_json("ssh-setup", *words, *write_password(FIRST), "--yes")
    assert [entry["state"] for entry in output["hosts"]] == ["added"], done.stderr
    public = (tmp_path / "own/.ssh/id_ed25519.pub").read_text(encoding="ascii")
    assert host.file.read_text(encoding="ascii") == public
    assert stat.S_IMODE((tmp_path / "own/.ssh/id_ed25519").stat().st_mode) == 0o600
    assert [stat.S_IMODE(path.stat().st_mode) for path in (host.file, host.file.parent)] == [0o600, 0o700]
    assert f"noslop-driver ssh-setup --remove root@{host.server.host}" in done.stderr

    output, done = run_json("ssh-setup", *words)  # no password is needed now
    assert [entry["state"] for entry in output["hosts"]] == ["present"], done.stderr
    assert host.file.read_text(encoding="ascii") == public

    output, _done = run_json("ssh-setup", *words, "--remove")
    assert [entry["state"] for entry in output["hosts"]] == ["removed"]
    assert host.file.read_text(encoding="ascii") == ""
    output, _done = run_json("ssh-setup", *words, "--remove", *write_password(FIRST))
    assert [entry["state"] for entry in output["hosts"]] == ["absent"]


def test_other_keys_stay_and_a_missing_end_of_line_is_added(password_host: StartPasswordHost, client_key: Path) -> None:
    host = password_host("127.0.0.61", FIRST)
    host.file.parent.mkdir(mode=0o755)
    own = client_key.with_suffix(".pub").read_text(encoding="ascii").strip()
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHother a key with 'quotes'"
    host.file.write_text(f"# {own}\n{other}", encoding="ascii")
    host.file.chmod(0o666)
    words = [host.server.host, *accept(host), "--ssh-key", str(client_key), *write_password(FIRST)]
    output, done = run_json("ssh-setup", *words)
    assert [entry["state"] for entry in output["hosts"]] == ["added"], done.stderr
    assert host.file.read_text(encoding="ascii").splitlines() == [f"# {own}", other, own]
    assert stat.S_IMODE(host.file.stat().st_mode) == 0o600
    output, done = run_json("ssh-setup", *words, "--remove")
    assert other in host.file.read_text(encoding="ascii").splitlines()


def test_host_whose_key_is_not_accepted_gets_no_password(password_host: StartPasswordHost, client_key: Path) -> None:
    host, mine = password_host("127.0.0.61", FIRST), password_host("127.0.0.62", FIRST)
    words = [host.server.host, mine.server.host, *accept(mine), "--ssh-key", str(client_key), *write_password(FIRST)]
    output, done = run_json("ssh-setup", *words)
    assert done.returncode == 4
    assert {entry["host"]: entry["state"] for entry in output["hosts"]} == {
        "127.0.0.61": "failed",
        "127.0.0.62": "added",
    }
    assert not [line for line in host.server.complete_log() if "password" in line]
    assert not host.file.exists()


def test_changed_host_key_ends_the_command(password_host: StartPasswordHost, client_key: Path) -> None:
    host = password_host("127.0.0.61", FIRST)
    other = client_key.with_suffix(".pub").read_text(encoding="ascii").split()[:2]
    known_hosts = Path("inventories/studio/.noslop/known_hosts")
    known_hosts.parent.mkdir(parents=True)
    known_hosts.write_text(f"[127.0.0.61]:{host.server.port} {' '.join(other)}\n", encoding="ascii")
    words = [host.server.host, "--accept-new-keys", "--ssh-key", str(client_key), *write_password(FIRST)]
    _output, done = run_json("ssh-setup", *words)
    assert done.returncode == 3
    assert "not the one that was accepted" in done.stderr
    assert not [line for line in host.server.complete_log() if "password" in line]


def test_password_is_asked_once_where_hosts_share_it(password_host: StartPasswordHost, client_key: Path) -> None:
    hosts = [
        password_host("127.0.0.61", FIRST),
        password_host("127.0.0.62", FIRST),
        password_host("127.0.0.63", SECOND),
    ]
    child = spawn_on_terminal(
        "ssh-setup", *(host.server.host for host in hosts), *accept(*hosts), "--ssh-key", str(client_key)
    )
    child.expect("SSH password of root on 127.0.0.61: ")
    child.sendline(FIRST)
    child.expect("127.0.0.61: SHA256:.* was added")
    child.expect("127.0.0.62: SHA256:.* was added")
    child.expect("127.0.0.63 refused it")
    child.expect("SSH password of root on 127.0.0.63: ")
    child.sendline(SECOND)
    child.expect("127.0.0.63: SHA256:.* was added")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert all(host.file.exists() for host in hosts)


def test_host_without_password_logins_is_named_with_the_reason(
    password_host: StartPasswordHost, sshd_server: StartSshd, tmp_path: Path
) -> None:
    host = password_host("127.0.0.61", FIRST)
    closed = PasswordHost(sshd_server("127.0.0.62", options=["AuthorizedKeysFile none"]), tmp_path / "none")
    words = [closed.server.host, host.server.host, *accept(closed, host), "--yes", *write_password(FIRST)]
    output, done = run_json("ssh-setup", *words)
    assert done.returncode == 4
    states = {entry["host"]: (entry["state"], entry["reason"]) for entry in output["hosts"]}
    assert states["127.0.0.61"] == ("added", "")
    assert states["127.0.0.62"][0] == "failed"
    assert "PasswordAuthentication no" in states["127.0.0.62"][1]


def test_no_terminal_and_no_password_is_an_error_with_the_flag(
    password_host: StartPasswordHost, client_key: Path
) -> None:
    host = password_host("127.0.0.61", FIRST)
    output, done = run_json("ssh-setup", host.server.host, *accept(host), "--ssh-key", str(client_key))
    assert done.returncode == 4
    assert "--pass-file FILE" in output["hosts"][0]["reason"]


def test_no_key_is_made_without_consent(password_host: StartPasswordHost, tmp_path: Path) -> None:
    host = password_host("127.0.0.61", FIRST)
    _output, done = run_json("ssh-setup", host.server.host, *accept(host))
    assert done.returncode == 2
    assert "Make a key pair there" in done.stderr
    assert not (tmp_path / "own/.ssh/id_ed25519").exists()


def test_jump_host_does_not_get_the_password(
    password_host: StartPasswordHost,
    sshd_server: StartSshd,
    client_key: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = password_host("127.0.0.61", FIRST)
    jump = sshd_server("127.0.0.64")
    text = user_ssh.describe_jump_host("bastion", jump, tmp_path)
    text += user_ssh.describe_host("render1", host.server, "ProxyJump bastion", with_key=False)
    config = user_ssh.write_config(tmp_path / "own/.ssh", text, monkeypatch)
    words = ["render1", *accept(host), "--ssh-key", str(client_key), *write_password(FIRST)]
    output, done = run_json("ssh-setup", *words)
    assert [entry["state"] for entry in output["hosts"]] == ["added"], done.stderr

    asking = sshd_server("127.0.0.65", options=sshd.ask_for_passwords())
    text = user_ssh.describe_jump_host("bastion", asking, tmp_path)
    text += user_ssh.describe_host("render1", host.server, "ProxyJump bastion", with_key=False)
    config.write_text(text, encoding="ascii")
    output, _done = run_json("ssh-setup", *words, "--remove")
    assert [entry["state"] for entry in output["hosts"]] == ["failed"]
    options = SshOptions(proxy_jump="bastion")
    endpoint = Endpoint(name="render1", address="127.0.0.61", port=host.server.port, user="root", ssh=options)
    key = PublicKey(client_key, client_key.with_suffix(".pub").read_text(encoding="ascii").strip())
    known_hosts = Path("inventories/studio/.noslop/known_hosts")
    assert not authorized_keys.change(endpoint, key, known_hosts, remove=False, password=FIRST).ok
    assert not [line for line in asking.complete_log() if "Failed password" in line]
