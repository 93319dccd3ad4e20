# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that named hosts and members are those of the user's ~/.ssh/config, with the real ssh and real servers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from noslop_driver.ansible.config import find_collections_path
from noslop_driver.errors import UsageError
from noslop_driver.hosts import ssh_config
from noslop_driver.inventory.directory import Member
from noslop_driver.inventory.render import list_ssh_variables, read_ssh_options
from noslop_driver.models import SshOptions
from tests.support import sshd, user_ssh
from tests.support.driver_cli import run_json
from tests.unit.conftest import StartSshd

CONFIG = """\
Host render1
    HostName 192.0.2.5
    Port 2222
    User artist
    IdentityFile /keys/one
    IdentityFile /keys/two
    IdentitiesOnly yes
    ProxyJump me@bastion:2200
Host tunnel
    HostName 192.0.2.6
    ProxyCommand nc -X 5 -x "a proxy:1080" %h %p %n
Host 192.0.2.*
    User network
"""


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return user_ssh.write_config(tmp_path / "ssh", CONFIG, monkeypatch)


@pytest.mark.usefixtures("configured")
def test_alias_has_the_values_of_its_block() -> None:
    host = ssh_config.resolve("render1")
    assert (host.name, host.address, host.port, host.user) == ("render1", "192.0.2.5", 2222, "artist")
    assert host.ssh == SshOptions(
        identity_files=["/keys/one", "/keys/two"], identities_only=True, proxy_jump="me@bastion:2200"
    )


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("text", "port", "expected"),
    [
        ("root@render1", 22, ("192.0.2.5", 2222, "root")),
        ("root@render1:22", 2200, ("192.0.2.5", 22, "root")),
        ("render1", 2200, ("192.0.2.5", 2200, "artist")),
        ("192.0.2.9", 22, ("192.0.2.9", 22, "network")),
        ("elsewhere.example", 22, ("elsewhere.example", 22, "")),
        ("me@[fd00::7]:2022", 22, ("fd00::7", 2022, "me")),
    ],
)
def test_what_is_written_comes_before_the_configuration(text: str, port: int, expected: tuple[str, int, str]) -> None:
    host = ssh_config.resolve(text, port)
    assert (host.address, host.port, host.user) == expected


@pytest.mark.usefixtures("configured")
def test_account_for_all_hosts_comes_before_the_configuration_and_after_that_of_the_host() -> None:
    assert ssh_config.resolve("render1", account="me").user == "me"
    assert ssh_config.resolve("root@render1", account="me").user == "root"


@pytest.mark.usefixtures("configured")
def test_proxy_command_keeps_the_name_that_the_user_wrote() -> None:
    assert ssh_config.resolve("tunnel").ssh.proxy_command == 'nc -X 5 -x "a proxy:1080" %h %p tunnel'


@pytest.mark.usefixtures("configured")
def test_host_without_keys_of_its_own_uses_the_default_ones() -> None:
    assert ssh_config.resolve("tunnel").ssh.identity_files == []


@pytest.mark.usefixtures("configured")
def test_key_that_was_given_replaces_those_of_the_configuration() -> None:
    options = ssh_config.resolve("render1", own_keys=False).ssh
    assert options == SshOptions(proxy_jump="me@bastion:2200")


@pytest.mark.parametrize("text", ["-oProxyCommand=touch", "me@-oProxyCommand=touch", "-l@render1", "@render1", "a b"])
def test_text_that_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        ssh_config.resolve(text)


def test_mistake_in_the_configuration_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_ssh.write_config(tmp_path / "ssh", "Hoast render1\n", monkeypatch)
    with pytest.raises(UsageError, match=r"(?i)Bad configuration option: hoast.*Correct ~/.ssh/config"):
        ssh_config.resolve("render1")


@pytest.mark.usefixtures("configured")
def test_member_with_an_alias_has_the_address_that_ssh_connects_to() -> None:
    alias = Member("one", "render1", 22, "me", frozenset(), {"ansible_host": "render1"})
    written = Member("two", "192.0.2.7", 22, "artist", frozenset(), {"ansible_port": 22, "ansible_user": "artist"})
    local = Member("three", "render1", 22, "me", frozenset(), {"ansible_connection": "local"})
    resolved = ssh_config.resolve_members([alias, written, local])
    assert [(member.address, member.port, member.user) for member in resolved] == [
        ("192.0.2.5", 2222, "artist"),
        ("192.0.2.7", 22, "artist"),
        ("render1", 22, "me"),
    ]


@pytest.mark.parametrize(
    "options",
    [
        SshOptions(),
        SshOptions(proxy_jump="me@bastion:2200,second"),
        SshOptions(identity_files=["~/.ssh/a key", "/two"], identities_only=True),
        SshOptions(proxy_command='nc -X 5 -x "a proxy:1080" %h %p', identity_files=["/one"]),
    ],
)
def test_options_are_read_back_from_the_inventory(options: SshOptions) -> None:
    assert read_ssh_options(list_ssh_variables(options)) == options


def run_ansible(*words: str) -> subprocess.CompletedProcess[str]:
    """Run plain Ansible on the studio's inventory, without the driver."""
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(find_collections_path())}
    command = ["ansible", "all", "-i", "inventories/studio", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_alias_is_deployed_with_its_key_and_plain_ansible_works_with_the_inventory(
    sshd_server: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = sshd_server("127.0.0.71", options=sshd.claim_systemd(tmp_path))
    config = user_ssh.write_config(
        tmp_path / "ssh", user_ssh.describe_host("render1", server, "IdentitiesOnly yes"), monkeypatch
    )
    Path("keys").write_text(f"render1 {server.public_key}\n", encoding="ascii")
    output, done = run_json("plan", "--save", "--host", "render1", "--host-keys", "keys", "--min-free-gb", "0", "--yes")
    (host,) = output["plan"]["hosts"]
    assert (host["name"], host["address"], host["user"]) == ("render1", "127.0.0.71", server.user), done.stderr
    config.write_text("", encoding="ascii")  # the inventory does not need it
    pinged = run_ansible("-m", "ansible.builtin.raw", "-a", "true")
    assert "render1 | CHANGED" in pinged.stdout, pinged.stdout + pinged.stderr


@pytest.mark.long
def test_member_behind_a_jump_host_is_planned_with_the_pinned_key_only(
    sshd_server: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Each connection checks the key: none is reused.
    monkeypatch.setenv("ANSIBLE_SSH_ARGS", "-o ControlMaster=no -o ControlPath=none")
    jump = sshd_server("127.0.0.72")
    server = sshd_server("127.0.0.73", options=sshd.claim_systemd(tmp_path))
    text = user_ssh.describe_jump_host("bastion", jump, tmp_path)
    # ssh would accept any key of it.
    open_block = user_ssh.describe_host("render1", server, "ProxyJump bastion", "StrictHostKeyChecking no")
    user_ssh.write_config(tmp_path / "ssh", text + open_block, monkeypatch)
    Path("keys").write_text(f"render1 {server.public_key}\n", encoding="ascii")
    words = ("--host-keys", "keys", "--min-free-gb", "0", "--yes")
    output, done = run_json("plan", "--save", "--host", "render1", *words)
    (host,) = output["plan"]["hosts"]
    assert (host["name"], host["address"], host["arch"]) == ("render1", "127.0.0.73", os.uname().machine), done.stderr
    written = Path("inventories/studio/hosts.yml").read_text(encoding="utf-8")
    assert "ProxyJump=bastion" in written

    # The driver writes the inventory again from the members that it looks at, and keeps the jump host.
    run_json("plan", "--save", *words)
    assert Path("inventories/studio/hosts.yml").read_text(encoding="utf-8") == written
    assert "render1 | CHANGED" in run_ansible("-m", "ansible.builtin.raw", "-a", "true").stdout

    other = sshd.make_key(tmp_path / "other_key").with_suffix(".pub").read_text(encoding="ascii")
    known_hosts = Path("inventories/studio/.noslop/known_hosts")
    known_hosts.write_text(f"[127.0.0.73]:{server.port} {' '.join(other.split()[:2])}\n", encoding="ascii")
    assert "render1 | CHANGED" not in run_ansible("-m", "ansible.builtin.raw", "-a", "true").stdout
    output, done = run_json("plan", *words)
    assert done.returncode == 4
    assert [problem["kind"] for problem in output["plan"]["problems"] if problem["fatal"]] == ["host_key_changed"]
