# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets a password: real SSH servers that answer a search, take any key and write down what they are sent."""

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
from tests.support import sshd
from tests.support.driver_cli import on_terminal, run, run_json
from tests.unit.conftest import StartSshd

SUDO_PASSWORD = "the-sudo-password"  # noqa: S105 - nobody's
SSH_PASSWORD = "the-ssh-password"  # noqa: S105 - nobody's


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_BECOME_ALLOW_SAME_USER", "True")  # else root is not asked to become root


@dataclass(frozen=True)
class Rogues:
    """Two servers of somebody else's in one network: any key opens the one, the other one wants a password."""

    any_key: sshd.SshServer
    wants_password: sshd.SshServer
    sudo_log: Path

    @property
    def search(self) -> list[str]:
        """The flags that find both."""
        return ["--network", "127.0.0.88/30", "--port", str(self.any_key.port)]

    def passwords(self) -> list[str]:
        """Every password that either of them got."""
        tried = [line for line in self.wants_password.complete_log() if "password for" in line]
        return [*self.sudo_log.read_text(encoding="utf-8").splitlines(), *tried]


@pytest.fixture
def rogues(sshd_server: StartSshd, tmp_path: Path) -> Rogues:
    log = sshd.fake_sudo(tmp_path / "rogue")
    lies = sshd.claim_systemd(tmp_path / "rogue")
    options = [*sshd.accept_any_key(), sshd.with_path(tmp_path / "rogue"), *lies]
    first = sshd_server("127.0.0.89", options=options)
    second = sshd_server("127.0.0.90", port=first.port, options=sshd.ask_for_passwords())
    return Rogues(first, second, log)


@pytest.fixture
def passwords(tmp_path: Path) -> list[str]:
    """The flags that give both passwords."""
    words = []
    for flag, password in (("--become-pass-file", SUDO_PASSWORD), ("--pass-file", SSH_PASSWORD)):
        file = tmp_path / flag.strip("-")
        file.write_text(password, encoding="utf-8")
        file.chmod(0o600)
        words += [flag, str(file)]
    return words


@pytest.mark.parametrize("words", [["plan"], ["plan", "--save"], ["deploy"], ["deploy", "--check"]])
def test_server_that_answers_a_search_gets_no_password(
    words: list[str], rogues: Rogues, passwords: list[str], client_key: Path
) -> None:
    login = ["--user", rogues.any_key.user, "--ssh-key", str(client_key), *passwords]
    found, done = run_json(*words, *rogues.search, *login, "--yes")
    assert rogues.passwords() == []
    assert done.returncode == 3
    assert {problem["kind"] for problem in found["plan"]["problems"]} == {"host_key_not_accepted", "no_hosts"}
    for flag in ("--accept-new-keys", "--host-keys"):
        assert flag in done.stderr
    assert not any("Accepted publickey" in line for line in rogues.any_key.complete_log()), "nobody logged in"


def test_sudo_password_waits_until_the_proposal_is_agreed_to(
    rogues: Rogues, passwords: list[str], client_key: Path
) -> None:
    login = ["--user", rogues.any_key.user, "--ssh-key", str(client_key), *passwords]
    host = ["--host", rogues.any_key.host, *login, "--accept-new-keys", "--min-free-gb", "0"]
    found, _done = run_json("plan", *host, "--yes")
    assert [host["address"] for host in found["plan"]["hosts"]] == ["127.0.0.89"], "it was looked at"
    assert rogues.passwords() == []
    refused = run("deploy", "--check", *host, "--no-input")
    assert refused.returncode == 2
    assert "Pass --yes" in refused.stderr
    assert rogues.passwords() == []
    run("deploy", "--check", *host, "--yes")
    assert set(rogues.passwords()) == {SUDO_PASSWORD}, "a member gets it"


def test_ssh_password_goes_only_to_hosts_whose_keys_are_listed(
    rogues: Rogues, passwords: list[str], client_key: Path, sshd_server: StartSshd
) -> None:
    mine = sshd_server("127.0.0.91", port=rogues.any_key.port, options=sshd.ask_for_passwords())
    Path("keys").write_text(f"mine {mine.public_key}\n", encoding="ascii")
    login = ["--user", mine.user, "--ssh-key", str(client_key), *passwords]
    found, _done = run_json("plan", *rogues.search, "--host", mine.host, *login, "--yes", "--host-keys", "keys")
    assert any("password for" in line for line in mine.complete_log())
    assert rogues.passwords() == []
    problems = {problem["host"]: problem["kind"] for problem in found["plan"]["problems"] if problem["host"]}
    assert problems == {
        "127.0.0.89": "host_key_not_accepted",
        "127.0.0.90": "host_key_not_accepted",
        "127.0.0.91": "auth_refused",
    }


def test_person_names_their_machines_and_the_others_are_left_out(rogues: Rogues, sshd_server: StartSshd) -> None:
    mine = sshd_server("127.0.0.88", port=rogues.any_key.port)
    child = on_terminal(
        "plan", *rogues.search, "--host", mine.host, "--user", mine.user, "--ssh-key", str(mine.client_key)
    )
    for server in (mine, rogues.any_key, rogues.wants_password):
        child.expect_exact(server.fingerprint)
    child.expect(r"Which of them are your machines\?")
    child.sendline("1")
    child.expect("Left out: 127.0.0.89 port")
    child.expect("Where the shared directories lie")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert any("Accepted publickey" in line for line in mine.complete_log())
    assert not any("Accepted publickey" in line for line in rogues.any_key.complete_log())
    known = Path("inventories/studio/.noslop/known_hosts").read_text(encoding="ascii")
    assert [line.split()[1:] for line in known.splitlines()] == [mine.public_key.split()]


def test_nothing_is_accepted_unless_a_person_says_so(rogues: Rogues) -> None:
    child = on_terminal("plan", *rogues.search)
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
        *((wrong, None) for wrong in ("", "0", "6", "3-1", "1-6", "y", "all 1", "-1", "1-", "1,,x", "1e0")),
    ],
)
def test_answer_names_numbers(answer: str, numbers: list[int] | None) -> None:
    if numbers is None:
        with pytest.raises(ValueError, match="numbers from 1 to 5"):
            parse_numbers(answer, 5)
    else:
        assert parse_numbers(answer, 5) == numbers


def test_fingerprints_are_read_from_each_form_in_which_keys_are_written(client_key: Path) -> None:
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


def test_first_look_offers_public_keys_only_whatever_the_persons_own_settings_say(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        "Host *\n ForwardAgent yes\n ForwardX11 yes\n PasswordAuthentication yes\n GSSAPIAuthentication yes\n"
        " GSSAPIDelegateCredentials yes\n HostbasedAuthentication yes\n PreferredAuthentications password\n",
        encoding="ascii",
    )
    text = render.render_contacts([("far", "10.0.0.1", 22)], "artist", None, tmp_path / "known_hosts")
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


def test_discover_logs_in_to_none(rogues: Rogues) -> None:
    done = run("discover", *rogues.search)
    assert done.returncode == 0
    assert rogues.any_key.fingerprint in done.stdout
    assert rogues.passwords() == []
