# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how the key of a host behind a jump host is read, and what is reported where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from noslop_driver.hosts import proxied_host, ssh_config
from noslop_driver.models import Candidate
from tests.support import user_ssh
from tests.support.sshd import SshServer, free_port
from tests.unit.conftest import StartSshd


@pytest.fixture
def jump(sshd_server: StartSshd) -> SshServer:
    return sshd_server("127.0.0.75")


def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *blocks: str) -> Candidate:
    user_ssh.write_config(tmp_path / "ssh", "\n".join(blocks), monkeypatch)
    return proxied_host.probe(ssh_config.resolve("render1"))


def test_key_is_read_without_a_login(
    sshd_server: StartSshd, jump: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = sshd_server("127.0.0.76")
    candidate = probe(
        tmp_path,
        monkeypatch,
        user_ssh.describe_jump_host("bastion", jump, tmp_path),
        user_ssh.describe_host("render1", server, "ProxyJump bastion"),
    )
    assert (candidate.status, candidate.host_key, candidate.detail) == ("open", server.fingerprint, "")
    assert not [line for line in server.complete_log() if "Accepted" in line or "publickey" in line]


def test_proxy_command_is_used(sshd_server: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jump, server = sshd_server("127.0.0.75"), sshd_server("127.0.0.76")
    config = tmp_path / "ssh/config"
    command = f"ProxyCommand ssh -F {config} -W %h:%p bastion"
    candidate = probe(
        tmp_path,
        monkeypatch,
        user_ssh.describe_jump_host("bastion", jump, tmp_path),
        user_ssh.describe_host("render1", server, command),
    )
    assert candidate.host_keys == [server.public_key]


def test_jump_host_with_a_key_that_the_user_does_not_have_is_not_used(
    sshd_server: StartSshd, jump: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = sshd_server("127.0.0.76")
    nothing = f"UserKnownHostsFile {tmp_path}/none"
    candidate = probe(
        tmp_path,
        monkeypatch,
        user_ssh.describe_host("bastion", jump, nothing, "StrictHostKeyChecking yes"),
        user_ssh.describe_host("render1", server, "ProxyJump bastion"),
    )
    assert (candidate.status, candidate.host_keys) == ("error", [])
    assert "Host key verification failed" in candidate.detail
    assert "`ssh bastion`" in candidate.todo


def test_jump_host_that_refuses_the_login_is_named(
    sshd_server: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jump = sshd_server("127.0.0.75", options=["AuthorizedKeysFile none"])
    server = sshd_server("127.0.0.76")
    candidate = probe(
        tmp_path,
        monkeypatch,
        user_ssh.describe_jump_host("bastion", jump, tmp_path),
        user_ssh.describe_host("render1", server, "ProxyJump bastion"),
    )
    assert candidate.status == "error"
    assert "Permission denied" in candidate.detail
    assert "BatchMode=yes bastion" in candidate.todo


def test_jump_host_that_does_not_forward_is_named(
    sshd_server: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jump = sshd_server("127.0.0.75", options=["AllowTcpForwarding no"])
    server = sshd_server("127.0.0.76")
    candidate = probe(
        tmp_path,
        monkeypatch,
        user_ssh.describe_jump_host("bastion", jump, tmp_path),
        user_ssh.describe_host("render1", server, "ProxyJump bastion"),
    )
    assert candidate.status == "error"
    assert "AllowTcpForwarding" in candidate.todo


def test_closed_port_behind_the_jump_host_differs_from_a_closed_jump_host(
    jump: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port("127.0.0.76")
    block = f"Host render1\n HostName 127.0.0.76\n Port {port}\n ProxyJump bastion\n"
    candidate = probe(tmp_path, monkeypatch, user_ssh.describe_jump_host("bastion", jump, tmp_path), block)
    assert candidate.status == "closed"
    assert "The jump host reaches it" in candidate.todo
    closed = f"Host bastion\n HostName 127.0.0.75\n Port {free_port('127.0.0.75')}\n"
    candidate = probe(tmp_path, monkeypatch, closed, block)
    assert candidate.status == "closed"
    assert "No SSH server answers on the jump host" in candidate.todo


def test_name_without_an_address_is_refused_with_the_line_to_write(
    jump: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = probe(
        tmp_path,
        monkeypatch,
        user_ssh.describe_jump_host("bastion", jump, tmp_path),
        "Host render1\n HostName render1.invalid\n ProxyJump bastion\n",
    )
    assert candidate.status == "error"
    assert "HostName of render1" in candidate.todo
