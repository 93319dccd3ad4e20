# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which private keys are refused before a login, with real keys and a real agent."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from noslop_driver.errors import UsageError
from noslop_driver.hosts.private_key import check_private_key
from tests.support import sshd
from tests.support.driver_cli import run_json
from tests.unit.conftest import StartSshd


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an agent that has no key."""
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
        process.terminate()


@pytest.fixture
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def make_encrypted_key(path: Path, *words: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "a passphrase", *words, "-f", path], check=True)
    return path


def load(path: Path) -> None:
    """Load an encrypted key into the agent."""
    program = path.with_name("askpass")
    program.write_text("#!/bin/sh\necho a passphrase\n", encoding="ascii")
    program.chmod(0o700)
    environment = {**os.environ, "SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", path], env=environment, check=True)


@pytest.mark.usefixtures("no_agent")
def test_key_without_a_passphrase_is_used(client_key: Path) -> None:
    check_private_key(client_key, "--ssh-key")


def test_missing_key_is_an_error_with_the_keys_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file.*ssh-keygen -t ed25519"):
        check_private_key(tmp_path / "nowhere/key", "--ssh-key")
    key = sshd.make_key(tmp_path / "id_ed25519")
    with pytest.raises(UsageError, match=re.escape(f"There are {key}")):
        check_private_key(tmp_path / "id_rsa", "--ssh-key")


@pytest.mark.usefixtures("no_agent")
def test_public_key_is_an_error_with_the_private_one(tmp_path: Path) -> None:
    key = sshd.make_key(tmp_path / "id_ed25519")
    with pytest.raises(UsageError, match=f"public key.*--ssh-key {re.escape(str(key))}$"):
        check_private_key(key.with_suffix(".pub"), "--ssh-key")
    key.unlink()
    with pytest.raises(UsageError, match=r"public key.*ssh-add"):
        check_private_key(key.with_suffix(".pub"), "--ssh-key")


@pytest.mark.usefixtures("agent")
def test_public_key_of_a_key_in_the_agent_is_used(tmp_path: Path) -> None:
    key = sshd.make_key(tmp_path / "id_ed25519")
    subprocess.run(["ssh-add", "-q", key], check=True)
    key.unlink()
    check_private_key(key.with_suffix(".pub"), "--ssh-key")


def test_key_that_others_may_read_is_an_error_with_the_command(tmp_path: Path) -> None:
    key = sshd.make_key(tmp_path / "id ed25519")
    key.chmod(0o644)
    with pytest.raises(UsageError, match=f"mode 0644.*chmod 600 '{re.escape(str(key))}'"):
        check_private_key(key, "--ssh-key")


@pytest.mark.usefixtures("no_agent")
@pytest.mark.parametrize("words", [(), ("-m", "PEM")])
def test_passphrase_without_an_agent_is_an_error_with_both_commands(tmp_path: Path, words: tuple[str, ...]) -> None:
    key = make_encrypted_key(tmp_path / "key", *words)
    with pytest.raises(UsageError, match=r"no ssh-agent is running.*ssh-agent\).*ssh-add"):
        check_private_key(key, "--ssh-key")


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("words", [(), ("-m", "PEM")])
def test_key_with_a_passphrase_is_used_once_the_agent_has_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    key = make_encrypted_key(tmp_path / "key", *words)
    with pytest.raises(UsageError, match="your ssh-agent does not have the key"):
        check_private_key(key, "--ssh-key")
    load(key)
    check_private_key(key, "--ssh-key")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "puttygen"),
        ("hello\n", "no private key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "cannot read this key"),
    ],
)
def test_file_that_is_no_key_of_openssh_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    key = tmp_path / "key.ppk"
    key.write_text(text, encoding="ascii")
    key.chmod(0o600)
    with pytest.raises(UsageError, match=message):
        check_private_key(key, "--ssh-key")


def test_command_ends_before_it_contacts_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output, done = run_json("plan", "--host", "127.0.0.1:1", "--ssh-key", "missing")
    assert done.returncode == 2
    assert "--ssh-key missing: there is no such file" in output["error"]


@pytest.mark.long
@pytest.mark.usefixtures("agent")
def test_named_key_is_the_only_one_that_is_offered(
    sshd_server: StartSshd, client_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        subprocess.run(["ssh-add", "-q", sshd.make_key(tmp_path / f"other{number}")], check=True)
    server = sshd_server("127.0.0.83", options=[*sshd.claim_systemd(tmp_path), "MaxAuthTries 2"])
    Path("keys").write_text(f"own {server.public_key}\n", encoding="ascii")
    words = ("plan", "--host", server.host, "--host-keys", "keys", "--min-free-gb", "0", "--yes")
    output, done = run_json(*words)
    assert "ssh offers every key of your ssh-agent" in done.stderr
    assert [problem["kind"] for problem in output["plan"]["problems"] if problem["host"]] == ["auth_refused"]
    output, done = run_json(*words, "--save", "--ssh-key", str(client_key))
    assert [host["address"] for host in output["plan"]["hosts"]] == ["127.0.0.83"], done.stderr
    # The inventory has it too: the members are looked at with it.
    output, done = run_json("plan")
    assert [host["arch"] for host in output["plan"]["hosts"]] == [os.uname().machine], done.stderr
