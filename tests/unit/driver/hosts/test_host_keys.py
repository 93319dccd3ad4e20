# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which hosts get a password: real SSH servers that accept any key and log the passwords they get."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from noslop_driver.hosts.host_keys import parse_fingerprints, parse_numbers
from noslop_driver.inventory import render
from noslop_driver.models import Endpoint
from tests.support import sshd
from tests.support.driver_cli import run, run_json, spawn_on_terminal
from tests.unit.conftest import StartSshd

SUDO_PASSWORD = "the-sudo-password"  # noqa: S105 - a test password
SSH_PASSWORD = "the-ssh-password"  # noqa: S105 - a test password


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_BECOME_ALLOW_SAME_USER", "True")  # otherwise root does not use sudo


@dataclass(frozen=True)
class ForeignServers:
    """Two servers in one network that are not the user's: one accepts any key, the other asks for a password."""

    any_key: sshd.SshServer
    asks_password: sshd.SshServer
    sudo_log: Path

    @property
    def search(self) -> list[str]:
        """Return the flags that find both."""
        return ["--network", "127.0.0.88/30", "--port", str(self.any_key.port)]

    def passwords(self) -> list[str]:
        """Return every password that one of them got."""
        attempts = [line for line in self.asks_password.complete_log() if "password for" in line]
        return [*self.sudo_log.read_text(encoding="utf-8").splitlines(), *attempts]


@pytest.fixture
def foreign(sshd_server: StartSshd, tmp_path: Path) -> ForeignServers:
    log = sshd.fake_sudo(tmp_path / "foreign")
    claim = sshd.claim_systemd(tmp_path / "foreign")
    options = [*sshd.accept_any_key(), sshd.with_path(tmp_path / "foreign"), *claim]
    first = sshd_server("127.0.0.89", options=options)
    second = sshd_server("127.0.0.90", port=first.port, options=sshd.ask_for_passwords())
    return ForeignServers(first, second, log)


@pytest.fixture
def passwords(tmp_path: Path) -> list[str]:
    """Return the flags that give both passwords."""
    words = []
    for flag, password in (("--become-pass-file", SUDO_PASSWORD), ("--pass-file", SSH_PASSWORD)):
        file = tmp_path / flag.strip("-")
        file.write_text(password, encoding="utf-8")
        file.chmod(0o600)
        words += [flag, str(file)]
    return words


@pytest.mark.parametrize("words", [["plan"], ["plan", "--save"], ["deploy"], ["deploy", "--check"]])
def test_discovered_server_gets_no_password(
    words: list[str], foreign: ForeignServers, passwords: list[str], client_key: Path
) -> None:
    login = ["--user", foreign.any_key.user, "--ssh-key", str(client_key), *passwords]
    output, done = run_json(*words, *foreign.search, *login, "--yes")
    assert foreign.passwords() == []
    assert done.returncode == 3
    assert {problem["kind"] for problem in output["plan"]["problems"]} == {"host_key_not_accepted", "no_hosts"}
    for flag in ("--accept-new-keys", "--host-keys"):
        assert flag in done.stderr
    assert not any("Accepted publickey" in line for line in foreign.any_key.complete_log()), "there was no login"


@pytest.mark.slow
def test_sudo_password_is_sent_only_after_confirmation(
    foreign: ForeignServers, passwords: list[str], client_key: Path
) -> None:
    login = ["--user", foreign.any_key.user, "--ssh-key", str(client_key), *passwords]
    host = ["--host", foreign.any_key.host, *login, "--accept-new-keys", "--min-free-gb", "0"]
    output, _done = run_json("plan", *host, "--yes")
    assert [host["address"] for host in output["plan"]["hosts"]] == ["127.0.0.89"], "its facts were gathered"
    assert foreign.passwords() == []
    refused = run("deploy", "--check", *host, "--no-input")
    assert refused.returncode == 2
    assert "Pass --yes" in refused.stderr
    assert foreign.passwords() == []
    run("deploy", "--check", *host, "--yes")
    assert set(foreign.passwords()) == {SUDO_PASSWORD}, "a member gets it"


def test_ssh_password_is_sent_only_to_hosts_with_listed_keys(
    foreign: ForeignServers, passwords: list[str], client_key: Path, sshd_server: StartSshd
) -> None:
    own = sshd_server("127.0.0.91", port=foreign.any_key.port, options=sshd.ask_for_passwords())
    Path("keys").write_text(f"own {own.public_key}\n", encoding="ascii")
    login = ["--user", own.user, "--ssh-key", str(client_key), *passwords]
    output, _done = run_json("plan", *foreign.search, "--host", own.host, *login, "--yes", "--host-keys", "keys")
    assert any("password for" in line for line in own.complete_log())
    assert foreign.passwords() == []
    problems = {problem["host"]: problem["kind"] for problem in output["plan"]["problems"] if problem["host"]}
    assert problems == {
        "127.0.0.89": "host_key_not_accepted",
        "127.0.0.90": "host_key_not_accepted",
        "127.0.0.91": "auth_refused",
    }


@pytest.mark.long
def test_hosts_that_the_user_does_not_select_are_left_out(foreign: ForeignServers, sshd_server: StartSshd) -> None:
    own = sshd_server("127.0.0.88", port=foreign.any_key.port)
    child = spawn_on_terminal(
        "plan", *foreign.search, "--host", own.host, "--user", own.user, "--ssh-key", str(own.client_key)
    )
    for server in (own, foreign.any_key, foreign.asks_password):
        child.expect_exact(server.fingerprint)
    child.expect(r"Which of them are your machines\?")
    child.sendline("1")
    child.expect("Left out: 127.0.0.89 port")
    child.expect("Where the shared directories lie")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert any("Accepted publickey" in line for line in own.complete_log())
    assert not any("Accepted publickey" in line for line in foreign.any_key.complete_log())
    pinned = Path("inventories/studio/.noslop/known_hosts").read_text(encoding="ascii")
    assert [line.split()[1:] for line in pinned.splitlines()] == [own.public_key.split()]


def test_no_key_is_accepted_by_default(foreign: ForeignServers) -> None:
    child = spawn_on_terminal("plan", *foreign.search)
    child.expect(r"Which of them are your machines\?.*none")
    child.sendline("")
    child.expect("No host key was accepted")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert not Path("inventories/studio/.noslop/known_hosts").exists()


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("all", [1, 2, 3, 4, 5]),
        ("none", []),
        ("1,3-5", [1, 3, 4, 5]),
        (" 5 1 ", [1, 5]),
        ("2-2", [2]),
        ("2,1-3", [1, 2, 3]),
        *((invalid, None) for invalid in ("", "0", "6", "3-1", "1-6", "y", "all 1", "-1", "1-", "1,,x", "1e0")),
    ],
)
def test_numbers_of_an_answer_are_parsed(answer: str, numbers: list[int] | None) -> None:
    if numbers is None:
        with pytest.raises(ValueError, match="numbers from 1 to 5"):
            parse_numbers(answer, 5)
    else:
        assert parse_numbers(answer, 5) == numbers


def test_fingerprints_are_parsed_from_each_format(client_key: Path) -> None:
    public = client_key.with_suffix(".pub").read_text(encoding="ascii").strip()
    (printed,) = parse_fingerprints(public)
    assert (
        printed
        == subprocess.run(["ssh-keygen", "-lf", client_key], capture_output=True, check=True, text=True).stdout.split()[
            1
        ]
    )
    key = " ".join(public.split()[:2])
    for line in (printed, f"256 {printed} root@host (ED25519)", f"[10.0.0.1]:2222,host {key}", f"|1|a=|b= {key} host"):
        assert parse_fingerprints(f"# comment\n\n{line}\n") == {printed}, line
    for line in (f"@revoked host {key}", f"@cert-authority *.lan {key}", f"# {printed}", printed[:-1], f"{printed}x"):
        assert parse_fingerprints(line) == frozenset(), line


def test_bootstrap_inventory_overrides_the_users_ssh_config(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        "Host *\n ForwardAgent yes\n ForwardX11 yes\n PasswordAuthentication yes\n GSSAPIAuthentication yes\n"
        " GSSAPIDelegateCredentials yes\n HostbasedAuthentication yes\n PreferredAuthentications password\n",
        encoding="ascii",
    )
    text = render.render_bootstrap_inventory(
        [Endpoint(name="far", address="10.0.0.1")], "artist", None, tmp_path / "known_hosts"
    )
    arguments = shlex.split(json.loads(text)["all"]["vars"]["ansible_ssh_common_args"])
    shown = subprocess.run(
        ["ssh", "-F", tmp_path / "config", *arguments, "-G", "10.0.0.1"], capture_output=True, check=True, text=True
    ).stdout.splitlines()
    expected = {
        *("forwardagent no", "forwardx11 no", "passwordauthentication no", "gssapiauthentication no"),
        *("gssapidelegatecredentials no", "hostbasedauthentication no", "kbdinteractiveauthentication no"),
        *("batchmode yes", "stricthostkeychecking true", "preferredauthentications publickey"),
    }
    assert expected <= set(shown)


def test_discover_does_not_log_in(foreign: ForeignServers) -> None:
    done = run("discover", *foreign.search)
    assert done.returncode == 0
    assert foreign.any_key.fingerprint in done.stdout
    assert foreign.passwords() == []
