# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the fingerprint of a deployment changes with all that decides it, and with nothing else."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noslop_driver.inventory import fingerprint
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.inventory.fingerprint import INVENTORY, MADE, NAMED, PROGRAM

LISTING: dict[str, Any] = {
    "_meta": {"hostvars": {"one": {"noslop_uid": 2600, "ansible_host": "10.0.0.1"}, "two": {"noslop_uid": 2600}}},
    "all": {"children": ["ollama"]},
    "ollama": {"hosts": ["one", "two"]},
}


def combine(listing: dict[str, Any]) -> fingerprint.Fingerprint:
    return fingerprint.combine(listing, {"a.py": "1", "b.py": "2"}, {"/password": "3"}, {"x.lock.txt": "4"})


def change_variable(listing: dict[str, Any]) -> None:
    listing["_meta"]["hostvars"]["two"]["noslop_uid"] = 2700


def add_variable(listing: dict[str, Any]) -> None:
    listing["_meta"]["hostvars"]["two"]["noslop_gid"] = 1


def change_address(listing: dict[str, Any]) -> None:
    listing["_meta"]["hostvars"]["one"]["ansible_host"] = "10.0.0.3"


def remove_host(listing: dict[str, Any]) -> None:
    listing["ollama"]["hosts"].remove("two")


def swap_hosts(listing: dict[str, Any]) -> None:
    listing["ollama"]["hosts"].reverse()


@pytest.mark.parametrize("change", [change_variable, add_variable, change_address, remove_host, swap_hosts])
def test_any_change_of_the_inventory_is_another_fingerprint(change: Callable[[dict[str, Any]], None]) -> None:
    changed = copy.deepcopy(LISTING)
    change(changed)
    before, after = combine(LISTING), combine(changed)
    assert {part for part in before if before[part] != after[part]} == {INVENTORY}


_VALUES = st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=4)


@given(st.dictionaries(st.text(), _VALUES))
def test_order_of_names_is_no_difference(variables: dict[str, Any]) -> None:
    turned = dict(reversed(variables.items()))
    assert fingerprint.combine(variables, {}, {}, {}) == fingerprint.combine(turned, {}, {}, {})


@given(st.dictionaries(st.text(), _VALUES), st.dictionaries(st.text(), _VALUES))
def test_different_variables_are_different_fingerprints(first: dict[str, Any], second: dict[str, Any]) -> None:
    same = fingerprint.combine(first, {}, {}, {}) == fingerprint.combine(second, {}, {}, {})
    assert same is (first == second)


@pytest.fixture
def studio(tmp_path: Path) -> StudioDirectory:
    directory = StudioDirectory(tmp_path / "studio")
    directory.make_state_dir()
    return directory


def list_changed(before: fingerprint.Fingerprint, after: fingerprint.Fingerprint) -> set[str]:
    return {part for part in before if before[part] != after[part]}


def test_a_file_that_a_variable_names_counts_and_one_that_none_names_does_not(studio: StudioDirectory) -> None:
    password, other = studio.path / "smb/anna", studio.path / "other"
    password.parent.mkdir()
    password.write_text("secret")
    other.write_text("a")
    users = [{"name": "anna", "password_file": "smb/anna"}, {"name": "bob", "password_file": "{{ inventory_dir }}/b"}]
    listing = {"_meta": {"hostvars": {"one": {"noslop_smb_users": users}}}}
    before = fingerprint.make(listing, studio)

    other.write_text("b")
    assert list_changed(before, fingerprint.make(listing, studio)) == set()
    os.utime(password, ns=(0, 1))
    assert list_changed(before, fingerprint.make(listing, studio)) == {NAMED}
    (studio.path / "b").write_text("secret")
    assert fingerprint.list_named_files(listing, studio.path) == [studio.path / "b", password]


def test_report_that_each_verification_writes_does_not_count(studio: StudioDirectory) -> None:
    report = studio.path / "report.json"
    report.write_text("{}")
    listing = {"_meta": {"hostvars": {"one": {"noslop_verify_report": str(report)}}}}
    before = fingerprint.make(listing, studio)
    report.write_text('{"ok": true}')
    assert fingerprint.make(listing, studio) == before


def test_fingerprint_has_nothing_of_a_password(studio: StudioDirectory) -> None:
    password = studio.path / "password"
    password.write_text("secret")
    os.utime(password, ns=(0, 5))
    listing = {"_meta": {"hostvars": {"one": {"file": str(password)}}}}
    before = fingerprint.make(listing, studio)
    password.write_text("hidden")
    os.utime(password, ns=(0, 5))
    assert fingerprint.make(listing, studio) == before


@pytest.mark.parametrize("name", ["comfyui-abc.lock.txt", ".noslop/nfs-authority/authority.pem"])
def test_files_that_runs_make_beside_the_inventory_count(studio: StudioDirectory, name: str) -> None:
    before = fingerprint.make({}, studio)
    (studio.path / name).parent.mkdir(exist_ok=True)
    (studio.path / name).write_text("content")
    assert list_changed(before, fingerprint.make({}, studio)) == {MADE}


def test_own_state_of_the_driver_does_not_count(studio: StudioDirectory) -> None:
    before = fingerprint.make({}, studio)
    for name in ("machines.json", "written.json", "known_hosts", "lock"):
        studio.write_state(name, "{}")
    (studio.records / "now").mkdir(parents=True)
    assert fingerprint.make({}, studio) == before


def test_program_has_every_role_module_and_file_of_the_driver() -> None:
    files = fingerprint.read_program_files()
    for name in (
        "studio/roles/ollama/tasks/main.yml",
        "studio/plugins/modules/nft_table.py",
        "studio/playbooks/site.yml",
        "noslop_driver/inventory/render.py",
        "ansible-core",
    ):
        assert name in files
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in files)
    assert (
        fingerprint.combine({}, files, {}, {})[PROGRAM] != fingerprint.combine({}, {**files, "x": "1"}, {}, {})[PROGRAM]
    )


@pytest.mark.parametrize(
    ("value", "computed"),
    [
        ("{{ lookup('env', 'HOME') }}", True),
        ("{{ query( 'file', 'x') }}", True),
        ([{"deep": "{{ lookup(\"pipe\", 'date') }}"}], True),
        ("{{ now(utc=true) }}", True),
        ("{{ ansible_facts['memtotal_mb'] * 2 }}", True),
        ("{{ lookup('noslop.studio.studio', 'shares') }}", False),
        ("{{ noslop_storage_root }}/more", False),
        ("a lookup of now", False),
        (5, False),
    ],
)
def test_variables_that_are_computed_anew_are_named(value: object, computed: bool) -> None:
    listing = {
        "_meta": {"hostvars": {"one": {"noslop_x": value, "ansible_become_password": "{{ lookup('env', 'P') }}"}}}
    }
    assert fingerprint.list_computed(listing) == (["noslop_x"] if computed else [])
