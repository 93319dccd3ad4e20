# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hosts with different ways to become root, and different passwords for it, behind real SSH servers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pexpect
import pytest

from noslop_driver.ansible.events import Event, read_message
from noslop_driver.ansible.inventory_list import select_hosts
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.hosts import ssh_errors, sudo
from noslop_driver.inventory.render import BECOME_METHOD
from noslop_driver.models import Endpoint
from noslop_driver.secrets import Secrets
from tests.support import sshd
from tests.support.driver_cli import run_json, spawn_on_terminal
from tests.support.plays import local_inventory, write_playbook

BLANKS = " {% blank ' \" "
FIRST, SECOND = "the first password", "{{ the }} second ä "


@pytest.fixture(autouse=True)
def _use_sudo_as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_BECOME_ALLOW_SAME_USER", "True")  # otherwise root does not use sudo


def make_inventory(
    tmp_path: Path, passwords: Mapping[str, str], *, text: str = sshd.FAKE_SUDO, **variables: object
) -> dict[str, Path]:
    """Write the inventory `inventory` of hosts with these passwords; return the log of each host's sudo."""
    logs = {name: sshd.fake_sudo(tmp_path / name, password, text) for name, password in passwords.items()}
    inventory = local_inventory(tmp_path / "inventory", list(passwords), **variables)
    hosts = json.loads((inventory / "hosts.yml").read_text(encoding="utf-8"))
    for name in passwords:
        hosts["all"]["hosts"][name]["ansible_become_exe"] = str(tmp_path / name / "sudo")
    (inventory / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
    return logs


def become_root(tmp_path: Path, secrets: Secrets) -> dict[str, str]:
    """Become root on every host, and return the message of each that failed."""
    playbook = write_playbook(tmp_path / "play", {"name": "Become", "ansible.builtin.raw": "true"}, become=True)
    failures: dict[str, str] = {}

    def follow(event: Event) -> None:
        if event.kind in ("failed", "unreachable"):
            failures[event.host] = read_message(event.result)

    run_playbook(playbook, tmp_path / "inventory", on_event=follow, secrets=secrets)
    return failures


def read_lines(log: Path) -> set[str]:
    return set(log.read_text(encoding="utf-8").splitlines())


def test_each_host_gets_its_own_password_and_no_other(tmp_path: Path) -> None:
    logs = make_inventory(tmp_path, {"one": FIRST, "two": SECOND})
    secrets = Secrets(become_password=FIRST, become_passwords={"two": SECOND, "elsewhere": "third"})
    assert become_root(tmp_path, secrets) == {}
    assert read_lines(logs["one"]) == {FIRST}
    assert read_lines(logs["two"]) == {SECOND}


def test_password_with_blanks_at_its_ends_is_kept(tmp_path: Path) -> None:
    logs = make_inventory(tmp_path, {"one": BLANKS})
    assert become_root(tmp_path, Secrets(become_password=BLANKS)) == {}
    assert read_lines(logs["one"]) == {BLANKS}


def test_password_of_a_host_elsewhere_adds_no_host(tmp_path: Path) -> None:
    make_inventory(tmp_path, {"one": FIRST})
    hosts: set[str] = set()
    playbook = write_playbook(tmp_path / "play", {"name": "Look", "ansible.builtin.raw": "true"})
    secrets = Secrets(become_passwords={"one": FIRST, "elsewhere": SECOND})
    run_playbook(playbook, tmp_path / "inventory", on_event=lambda event: hosts.add(event.host), secrets=secrets)
    assert hosts - {""} == {"one"}
    assert select_hosts(tmp_path / "inventory", "all") == ["one"]


def test_sudo_rs_gets_its_password(tmp_path: Path) -> None:
    logs = make_inventory(tmp_path, {"one": FIRST}, text=sshd.FAKE_SUDO_RS, ansible_become_method=BECOME_METHOD)
    assert become_root(tmp_path, Secrets(become_password=FIRST)) == {}
    assert read_lines(logs["one"]) == {FIRST}


@pytest.mark.parametrize("text", [sshd.FAKE_SUDO, sshd.FAKE_SUDO_RS])
def test_wrong_and_missing_passwords_are_recognized_with_both(tmp_path: Path, text: str) -> None:
    make_inventory(tmp_path, {"one": FIRST}, text=text, ansible_become_method=BECOME_METHOD)
    assert sudo.try_sudo(tmp_path / "inventory", Secrets()).needing_password == ["one"]
    trial = sudo.try_sudo(tmp_path / "inventory", Secrets(become_password=SECOND))
    assert (trial.needing_password, trial.refusing) == ([], ["one"])


def test_sudo_that_does_not_answer_is_a_timeout_and_not_a_refusal(tmp_path: Path) -> None:
    silent = "#!/bin/sh\n# {log} {password}\nexec sleep 60\n"
    make_inventory(tmp_path, {"one": FIRST}, text=silent, ansible_local_become_success_timeout=1)
    message = become_root(tmp_path, Secrets(become_password=FIRST))["one"]
    problem = ssh_errors.explain(Endpoint(name="one", address="127.0.0.1"), "artist", message)
    assert problem.kind == "sudo_timeout", message
    assert "refused" not in problem.what + problem.todo


def test_method_that_is_not_installed_is_named_with_the_command(tmp_path: Path) -> None:
    make_inventory(tmp_path, {"one": FIRST}, ansible_become_method="community.general.doas")
    message = become_root(tmp_path, Secrets(become_password=FIRST))["one"]
    problem = ssh_errors.explain(Endpoint(name="one", address="127.0.0.1"), "artist", message)
    assert problem.kind == "become_method_missing", message
    assert "ansible-galaxy collection install community.general" in problem.todo


@pytest.mark.long
def test_one_password_is_tried_on_all_before_another_one_is_asked_for(tmp_path: Path) -> None:
    logs = make_inventory(tmp_path, {"one": FIRST, "three": FIRST, "two": SECOND})
    python = "/nowhere/python3"  # no check runs: it would check the machine that runs the tests
    (tmp_path / "inventory/group_vars").mkdir()
    (tmp_path / "inventory/group_vars/all.yml").write_text(
        f"noslop_studio_id: abc\nansible_python_interpreter: {python}\n", encoding="ascii"
    )
    child = spawn_on_terminal("verify", "--inventory", "inventory")
    child.expect("sudo needs a password on one, three, two")
    child.expect("sudo password: ")
    child.sendline(FIRST)
    child.expect("sudo refused it on two")
    child.expect("sudo password on two: ")
    child.sendline(SECOND)
    child.expect("verify: checking that the studio works")
    child.expect(pexpect.EOF)
    child.close()
    assert "sudo password" not in (child.before or "")
    assert read_lines(logs["one"]) == read_lines(logs["three"]) == {FIRST}
    assert read_lines(logs["two"]) == {FIRST, SECOND}


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("one: secret\n", 0o644, "chmod 600"),
        ("one: 123456\n", 0o600, "the password of one is no text"),
        ("one: [secret\n", 0o600, "is not valid YAML"),
        ("- secret\n", 0o600, "has no hosts"),
    ],
)
def test_file_with_passwords_is_refused_without_a_word_of_them(
    tmp_path: Path, text: str, mode: int, message: str
) -> None:
    make_inventory(tmp_path, {"one": FIRST})
    file = tmp_path / "passwords.yml"
    file.write_text(text, encoding="ascii")
    file.chmod(mode)
    output, done = run_json("verify", "--inventory", "inventory", "--become-pass-file", str(file))
    assert done.returncode == 2
    assert message in output["error"]
    assert "secret" not in done.stderr + done.stdout
    assert "123456" not in done.stderr + done.stdout


def test_file_has_a_password_for_each_host(tmp_path: Path) -> None:
    logs = make_inventory(tmp_path, {"one": FIRST, "two": SECOND})
    file = tmp_path / "passwords.yml"
    file.write_text(f"one: {FIRST}\ntwo: '{SECOND}'\n", encoding="utf-8")
    file.chmod(0o600)
    (tmp_path / "inventory/group_vars").mkdir()
    (tmp_path / "inventory/group_vars/all.yml").write_text(
        "noslop_studio_id: abc\nansible_python_interpreter: /nowhere/python3\n", encoding="ascii"
    )
    _output, done = run_json("verify", "--inventory", "inventory", "--become-pass-file", str(file))
    assert "sudo" not in done.stderr
    assert read_lines(logs["one"]) == {FIRST}
    assert read_lines(logs["two"]) == {SECOND}
