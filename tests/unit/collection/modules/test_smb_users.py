# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the users of a real database of Samba's, in real plays with everything printed that Ansible can print."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.smb import passdb
from ansible_collections.noslop.studio.plugins.modules import smb_users

from tests.support import samba
from tests.support.plays import local_inventory, write_playbook

PASSWORDS = {"anna": "Grüße, 8 $tück!", "bert": "other-secret-11"}
#: Records arguments and environment of the program, and runs the real one.
WRAPPER = """#!/bin/sh
{ printf '%s\\0' "$0" "$@"; cat /proc/self/environ; printf '\\n'; } >> @RECORD@
exec @PROGRAM@ "$@"
"""
pytestmark = samba.MARKS


@dataclass(frozen=True)
class Server:
    """A host with Samba's programs, of which each call is recorded."""

    host: samba.PrivateHost
    place: Path

    @property
    def config(self) -> Path:
        """Return the path of the configuration."""
        return self.place / "smb.conf"

    def play(self, task: Mapping[str, Any], *flags: str) -> tuple[dict[str, Any], str]:
        """Run a task of the module, and return its result and all that was printed."""
        task = {"name": "Set the users", "noslop.studio.smb_users": {"config": str(self.config), **task}}
        record = self.place / "result.json"
        play = write_playbook(
            self.place / "play",
            {**task, "register": "result"},
            {
                "name": "Keep the result",
                "ansible.builtin.copy": {"content": "{{ result | to_json }}", "dest": str(record)},
                "check_mode": False,
                "diff": False,
            },
        )
        inventory = local_inventory(self.place / "inventory")
        program = Path(sys.executable).with_name("ansible-playbook")
        environment = {
            **os.environ,
            "PATH": f"{self.place}/bin:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(samba.REPOSITORY / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        }
        done = self.host.run(program, "--inventory", inventory, "-vvv", "--diff", *flags, play, env=environment)
        assert done.returncode == 0, done.stdout
        result: dict[str, Any] = json.loads(record.read_text())
        return result, done.stdout

    def entries(self) -> dict[str, passdb.Entry]:
        """Return the users of the database."""
        done = self.host.run("pdbedit", "--configfile", self.config, "--list", "--smbpasswd-style")
        return passdb.parse_entries(done.stdout)

    def write(self, name: str, password: str) -> dict[str, str]:
        """Write the file of a password, and return the user's entry."""
        path = self.place / f"password-{name}"
        path.write_text(f"{password}\n")
        path.chmod(0o600)
        return {"name": name, "password_file": path.name}


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a host with the role's configuration, and an empty database."""
    with tempfile.TemporaryDirectory(prefix="noslop-smb-") as directory:
        place = Path(directory)
        state = place / "state"
        (state / "private").mkdir(parents=True, mode=0o700)
        text = samba.render_template(
            "smb.conf.j2",
            smb_server_networks=["192.0.2.0/24"],
            __smb_server_conf_file=str(place / "smb.conf"),
            __smb_server_state_dir=str(state),
        )
        (place / "smb.conf").write_text(text)
        (place / "bin").mkdir()
        for name in ("smbpasswd", "pdbedit"):
            wrapper = WRAPPER.replace("@RECORD@", str(place / "calls")).replace("@PROGRAM@", f"/usr/bin/{name}")
            (place / "bin" / name).write_text(wrapper)
            (place / "bin" / name).chmod(0o755)
        with samba.PrivateHost(place) as host:
            yield Server(host, place)


def names(result: Mapping[str, Any]) -> list[Any]:
    """Return what changed."""
    return [result["changed"], result["added"], result["renewed"], result["removed"]]


def test_users_are_set_once_renewed_and_removed(server: Server) -> None:
    task: dict[str, Any] = {
        "users": [server.write("anna", PASSWORDS["anna"]), {"name": "bert"}],
        "passwords": {"bert": PASSWORDS["bert"]},
        "directory": str(server.place),
    }

    assert names(server.play(task, "--check")[0]) == [True, ["anna", "bert"], [], []]
    assert server.entries() == {}
    assert names(server.play(task)[0]) == [True, ["anna", "bert"], [], []]
    assert passdb.compare(server.entries(), PASSWORDS) == passdb.Changes((), (), ())
    assert names(server.play(task)[0]) == [False, [], [], []]

    # A person changed one, and switched the other off.
    server.host.run("/usr/bin/smbpasswd", "-c", server.config, "-s", "anna", text="changed-by-hand\nchanged-by-hand\n")
    server.host.run("/usr/bin/smbpasswd", "-c", server.config, "-d", "bert")
    assert names(server.play(task)[0]) == [True, [], ["anna", "bert"], []]
    assert passdb.compare(server.entries(), PASSWORDS) == passdb.Changes((), (), ())

    del task["passwords"]
    task["users"].pop()
    assert names(server.play(task)[0]) == [True, [], [], ["bert"]]
    assert list(server.entries()) == ["anna"]


def test_no_password_is_printed_passed_or_kept(server: Server) -> None:
    task = {
        "users": [server.write("anna", PASSWORDS["anna"]), {"name": "bert"}],
        "passwords": {"bert": PASSWORDS["bert"]},
        "directory": str(server.place),
    }
    printed = server.play(task)[1] + server.play(task, "--check")[1]
    calls = (server.place / "calls").read_bytes()
    kept = [one for one in server.place.rglob("*") if one.is_file() and one.name not in ("password-anna", "play.yml")]

    assert b"smbpasswd" in calls
    assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in printed
    for password in PASSWORDS.values():
        hashes = [entry.nt_hash for entry in server.entries().values()]
        for secret in (password, password.encode("unicode_escape").decode(), *hashes):
            assert secret not in printed
            assert secret.encode() not in calls
        assert [one for one in kept if password.encode() in one.read_bytes()] == []
        assert [one for one in kept if password.encode("utf-16-le") in one.read_bytes()] == []


def test_user_without_an_account_is_an_error_that_names_the_command(server: Server) -> None:
    task = {"name": "dora", "password": "no-account-here"}
    with pytest.raises(AssertionError, match=r"smbpasswd.* failed") as failed:
        server.play({"users": [{"name": task["name"]}], "passwords": {task["name"]: task["password"]}})
    assert task["password"] not in str(failed.value)


def test_documented_example_runs(server: Server) -> None:
    (task,) = yaml.safe_load(smb_users.EXAMPLES)
    arguments = task["noslop.studio.smb_users"]
    arguments["users"][0] = server.write("anna", PASSWORDS["anna"])
    more = {"passwords": {"bert": PASSWORDS["bert"]}, "directory": str(server.place)}

    assert names(server.play({**arguments, **more})[0]) == [True, ["anna", "bert"], [], []]
