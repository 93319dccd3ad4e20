# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the people who use the shares over SMB, from the command line to the files of the studio."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import pytest

from noslop_driver.commands import smb_access
from noslop_driver.commands.draft import plan_hosts, write_inventory
from noslop_driver.errors import UsageError
from noslop_driver.hosts.gather import GatheredHosts
from noslop_driver.inventory import studio_yml
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.models import Host, StudioSettings
from noslop_driver.output.terminal import Terminal
from noslop_driver.settings.flag_values import parse_smb_users
from tests.support.driver_cli import run_json, spawn_on_terminal

SECRET = "correct-horse"  # noqa: S105 - a password of this test


def settings(*users: dict[str, str], **changes: object) -> StudioSettings:
    values: dict[str, Any] = {"studio_id": "x", "smb_enabled": True, "smb_users": list(users), **changes}
    return StudioSettings.model_validate(values)


def member(name: str = "server", **variables: object) -> Member:
    return Member(name, "10.0.0.5", 22, "artist", frozenset({"storage_server"}), variables)


def test_flag_names_a_user_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_smb_users(["anna", "bert=secret"]) == [
        {"name": "anna"},
        {"name": "bert", "password_file": str(tmp_path / "secret")},
    ]
    assert parse_smb_users(["none"]) == []
    with pytest.raises(UsageError, match="NAME=FILE"):
        parse_smb_users(["anna="])


def test_user_without_a_file_gets_one_in_the_studio_or_keeps_the_entry() -> None:
    flags = {"smb_users": [{"name": "anna"}, {"name": "bert"}, {"name": "carl", "password_file": "/c"}]}
    previous = {"smb_users": [{"name": "bert"}]}
    assert smb_access.name_files(flags, previous) == {
        "smb_enabled": True,
        "smb_users": [
            {"name": "anna", "password_file": ".noslop/smb/anna"},
            {"name": "bert"},
            {"name": "carl", "password_file": "/c"},
        ],
    }
    assert smb_access.name_files({"smb_enabled": False, **flags}, previous)["smb_enabled"] is False
    assert smb_access.name_files({"users": ["x"]}, previous) == {"users": ["x"]}


def test_password_is_written_for_this_account_alone_and_read_by_the_rules(tmp_path: Path) -> None:
    studio = StudioDirectory(tmp_path)
    studio.make_state_dir()
    chosen = settings({"name": "anna", "password_file": ".noslop/smb/anna"})

    assert smb_access.list_unwritten(chosen, studio) == ["anna"]
    (problem,) = smb_access.find_problems(chosen, studio, [], given=[])
    assert problem.fatal
    assert "anna cannot be read from" in problem.what
    assert smb_access.find_problems(chosen, studio, [], given=["anna"]) == []

    smb_access.write(studio, {"anna": SECRET})
    assert (tmp_path / ".noslop/smb/anna").stat().st_mode & 0o777 == 0o600
    assert smb_access.list_unwritten(chosen, studio) == []
    assert smb_access.find_problems(chosen, studio, [], given=[]) == []


def test_password_in_a_vault_of_the_inventory_counts(tmp_path: Path) -> None:
    studio = StudioDirectory(tmp_path)
    chosen = settings({"name": "anna"}, {"name": "bert"})
    sealed = {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n..."}

    with_both = [member(smb_server_passwords={"anna": SECRET, "bert": sealed})]
    assert smb_access.find_problems(chosen, studio, with_both, given=[]) == []
    (problem,) = smb_access.find_problems(chosen, studio, [member(smb_server_passwords={"anna": SECRET})], given=[])
    assert "bert has no password" in problem.what
    assert SECRET not in problem.what


def test_nothing_is_a_problem_where_smb_is_off(tmp_path: Path) -> None:
    off = settings({"name": "anna"}, smb_enabled=False)
    assert smb_access.find_problems(off, StudioDirectory(tmp_path), [], given=[]) == []
    assert smb_access.list_addresses(off, [member()]) == []


@pytest.mark.parametrize(
    "entry", [{"name": "anna", "password": SECRET}, {"name": "anna", "password": 12345678}, SECRET]
)
def test_password_in_the_settings_is_refused_and_not_shown(tmp_path: Path, entry: object) -> None:
    with pytest.raises(UsageError) as refused:
        studio_yml.validate({"studio_id": "x", "smb_users": entry if isinstance(entry, str) else [entry]})
    assert "noslop_smb_users" in str(refused.value)
    assert not re.search(f"{SECRET}|12345678", str(refused.value))


def test_addresses_are_those_of_windows_and_of_macos() -> None:
    chosen = settings({"name": "anna"})
    projects = next(one for one in smb_access.list_addresses(chosen, [member()]) if one["share"] == "projects")
    assert projects == {
        "share": "projects",
        "windows": r"\\10.0.0.5\projects",
        "url": "smb://10.0.0.5/projects",
        "writable": True,
    }
    six = smb_access.list_addresses(chosen, [member(noslop_address="fd12::5")])
    assert six[0]["windows"] == r"\\fd12--5.ipv6-literal.net\ollama_models"
    assert six[0]["url"] == "smb://[fd12::5]/ollama_models"
    assert not six[0]["writable"]


@pytest.mark.slow
def test_plan_shows_who_may_use_the_shares_and_what_is_missing(tmp_path: Path) -> None:
    password = tmp_path / "anna"
    password.write_text(f"{SECRET}\n")
    password.chmod(0o600)
    studio = str(tmp_path / "studio")
    words = ("plan", "--local", "--inventory", studio, "--allow", "192.168.1.0/24", "--min-free-gb", "0")
    output, done = run_json(*words, "--smb-user", f"anna={password}", "--smb-user", "bert")

    problems = [problem for problem in output["plan"]["problems"] if problem["kind"] == "smb_password"]
    assert [problem["fatal"] for problem in problems] == [True]
    assert "bert cannot be read from" in problems[0]["what"]
    assert output["plan"]["wishes"]["smb_users"][0] == {"name": "anna", "password_file": str(password)}
    assert "Windows and macOS (SMB 3, encryption offered): anna, bert, from 192.168.1.0/24" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    kept = [path for path in (tmp_path / "studio").rglob("*") if path.is_file() and SECRET in path.read_text()]
    assert kept == []


@pytest.mark.slow
def test_password_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    words = ("--local", "--inventory", str(tmp_path / "studio"), "--allow", "192.168.1.0/24")
    child = spawn_on_terminal("plan", "--save", "--yes", *words, "--smb-user", "anna")
    child.logfile_read = io.StringIO()
    child.expect("New SMB password of anna: ")
    child.sendline(SECRET)
    child.expect("The SMB password of anna again: ")
    child.sendline(SECRET)
    child.expect(pexpect.EOF)
    child.wait()
    assert SECRET not in child.logfile_read.getvalue()

    child = spawn_on_terminal("plan", "--save", "--yes", *words, "--smb-user", "anna")
    child.expect("New SMB password of anna: ")
    child.sendline("short")
    child.expect("has 5 characters")
    child.wait()


def test_password_lies_in_one_file_of_the_studio_and_its_path_in_studio_yml(tmp_path: Path) -> None:
    chosen = settings({"name": "anna", "password_file": ".noslop/smb/anna"}, allowed_networks=["192.168.1.0/24"])
    host = Host(name="one", address="10.0.0.1", user="artist")
    draft = replace(plan_hosts(GatheredHosts([host], []), chosen), smb_passwords={"anna": SECRET})
    write_inventory(StudioDirectory(tmp_path / "studio"), draft, None, Terminal(json_output=True))

    kept = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_text()]
    assert kept == [tmp_path / "studio/.noslop/smb/anna"]
    assert SECRET not in repr(draft)
    text = (tmp_path / "studio/group_vars/all/studio.yml").read_text()
    assert "noslop_smb_users: [{name: anna, password_file: .noslop/smb/anna}]" in text
    assert "noslop_smb_enabled: true" in text
