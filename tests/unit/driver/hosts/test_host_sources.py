# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that hosts are listed from what a user has, and why those that are silent are silent."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import SHUT_RDWR, create_server

import pytest

from noslop_driver.errors import UsageError
from noslop_driver.hosts import host_sources
from tests.support import user_ssh
from tests.support.driver_cli import run, run_json
from tests.support.sshd import SshServer, free_port
from tests.unit.conftest import StartSshd

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0000000000000000000000000000000000000000000"


@pytest.fixture
def ssh_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory .ssh of a user whose ssh reads its configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    directory = tmp_path / "home/.ssh"
    user_ssh.write_config(directory, "", monkeypatch)
    return directory


def test_concrete_names_of_the_configuration_and_its_includes_are_listed(ssh_directory: Path) -> None:
    (ssh_directory / "conf.d").mkdir()
    (ssh_directory / "conf.d/one").write_text('HOST="render 3"\n Host render4\n', encoding="ascii")
    (ssh_directory / "config").write_text(
        "Include conf.d/*\n# Host comment\nHost render1 *.lan !bad render2 # more\n  HostName 192.0.2.1\n"
        "Match host other\nHost *\nhost=render1\n",
        encoding="ascii",
    )
    names = host_sources.list_config_names(ssh_directory / "config")
    assert names == ["render 3", "render4", "render1", "render2"]


def test_file_that_includes_itself_ends(ssh_directory: Path) -> None:
    (ssh_directory / "config").write_text("Host render1\nInclude config\n", encoding="ascii")
    assert host_sources.list_config_names(ssh_directory / "config") == ["render1"]


def test_names_of_known_hosts_are_listed_and_hashed_lines_counted(ssh_directory: Path) -> None:
    path = ssh_directory / "known_hosts"
    path.write_text(
        f"render1,192.0.2.1 {KEY}\n[render2]:2222 {KEY}\n*.lan,render3 {KEY}\n\n# note {KEY}\n"
        f"@revoked render4 {KEY}\n@cert-authority *.x {KEY}\nrender1 {KEY}\nfd00::7 {KEY}\nsecret {KEY}\n",
        encoding="ascii",
    )
    secret = f"secret2 {KEY}\nsecret3 {KEY}\n"
    hashed = ssh_directory / "hashed"
    hashed.write_text(secret, encoding="ascii")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", hashed], check=True, capture_output=True)
    path.write_text(path.read_text(encoding="ascii") + hashed.read_text(encoding="ascii"), encoding="ascii")
    names, count = host_sources.list_accepted_names(path)
    assert names == ["render1", "[render2]:2222", "render3", "fd00::7", "secret"]
    assert count == 2
    listed = host_sources.list_hosts(["known-hosts"])
    assert [(host.address, host.port) for host in listed.hosts][:2] == [("render1", 22), ("render2", 2222)]
    assert listed.hosts[3].target == "[fd00::7]:22"
    assert "2 lines" in listed.notes[0]


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        ("ssh-config", "Host *\n", "no host with a name"),
        ("known-hosts", f"|1|AAAA=|BBBB= {KEY}\n", "hashed names only"),
        ("nowhere.yml", "", "there is no such file"),
    ],
)
def test_source_without_a_host_is_an_error(ssh_directory: Path, source: str, content: str, message: str) -> None:
    for name in ("config", "known_hosts"):
        (ssh_directory / name).write_text(content, encoding="ascii")
    with pytest.raises(UsageError, match=message):
        host_sources.list_hosts([source])


def test_missing_file_is_an_error(ssh_directory: Path) -> None:
    with pytest.raises(UsageError, match="known_hosts cannot be read"):
        host_sources.list_hosts(["known-hosts"])


@contextmanager
def greet(address: str, greeting: bytes) -> Iterator[int]:
    """Accept one connection after another, send a greeting, and return the port."""
    with create_server((address, 0)) as server:

        def serve() -> None:
            try:
                while True:
                    connection, _peer = server.accept()
                    connection.sendall(greeting)
                    connection.close()
            except OSError:  # the test is over
                return

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(SHUT_RDWR)
        thread.join()


def test_discover_contacts_the_hosts_of_the_configuration_and_says_why_others_are_silent(
    ssh_directory: Path, sshd_server: StartSshd, tmp_path: Path
) -> None:
    server, jump = sshd_server("127.0.0.77"), sshd_server("127.0.0.78")
    behind = sshd_server("127.0.0.79")
    with greet("127.0.0.77", b"HTTP/1.1 400 Bad Request\r\n") as web:
        (ssh_directory / "config").write_text(
            user_ssh.describe_host("render1", server)
            + user_ssh.describe_jump_host("bastion", jump, tmp_path)
            + user_ssh.describe_host("render2", behind, "ProxyJump bastion")
            + f"Host off\n HostName 127.0.0.77\n Port {free_port('127.0.0.77')}\n"
            + f"Host web\n HostName 127.0.0.77\n Port {web}\nHost unknown\n HostName unknown.invalid\nHost *.lan\n",
            encoding="ascii",
        )
        output, done = run_json("discover", "--from", "ssh-config")
        shown = run("discover", "--from", "ssh-config").stdout
    assert done.returncode == 0, done.stderr
    assert {
        (candidate["hostname"], candidate["address"], candidate["host_key"]) for candidate in output["candidates"]
    } == {
        ("render1", "127.0.0.77", server.fingerprint),
        ("bastion", "127.0.0.78", jump.fingerprint),
        ("render2", "127.0.0.79", behind.fingerprint),
    }
    assert {candidate["origin"] for candidate in output["candidates"]} == {"ssh-config"}
    assert {other["hostname"]: other["status"] for other in output["others"]} == {
        "off": "closed",
        "web": "refused",
        "unknown": "error",
    }
    assert "off: refused: " in shown
    assert "web: no SSH banner: " in shown
    assert "unknown: not tried: the name unknown.invalid could not be looked up" in shown


def test_discover_lists_the_hosts_of_an_inventory(ssh_directory: Path, sshd_server: StartSshd, tmp_path: Path) -> None:
    server, other = sshd_server("127.0.0.77"), sshd_server("127.0.0.78")
    (ssh_directory / "config").write_text(user_ssh.describe_host("render2", other), encoding="ascii")
    hosts: dict[str, dict[str, object]] = {
        "one": {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": server.user},
        "render2": {},
        "here": {"ansible_connection": "local"},
    }
    inventory = tmp_path / "ours.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    output, done = run_json("discover", "--from", "ours.yml")
    assert done.returncode == 0, done.stderr
    assert [(candidate["hostname"], candidate["address"]) for candidate in output["candidates"]] == [
        ("one", "127.0.0.77"),
        ("render2", "127.0.0.78"),
    ]


def test_nothing_is_read_without_the_flag(ssh_directory: Path, sshd_server: StartSshd) -> None:
    server: SshServer = sshd_server("127.0.0.77")
    (ssh_directory / "config").write_text(
        f"{user_ssh.describe_host('render1', server)}{user_ssh.describe_host('render2', server)}", encoding="ascii"
    )
    output, _done = run_json("discover", "--host", "render2")
    assert [candidate["hostname"] for candidate in output["candidates"]] == ["render2"]
