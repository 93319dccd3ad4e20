# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from noslop_driver.errors import UsageError
from noslop_driver.inventory import machines
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.inventory.machines import Machines
from noslop_driver.models import Host

WORKER = Member("worker", "10.0.0.12", 22, "artist", frozenset(), {})
KEYS = ["ssh-ed25519 AAAA", "ssh-rsa BBBB"]


def host(name: str, machine_id: str) -> Host:
    return Host(name=name, address="10.0.0.1", user="artist", machine_id=machine_id)


def test_machine_ids_of_members_are_recorded_and_those_of_others_dropped() -> None:
    before = Machines(machine_ids={"worker": "w", "gone": "g", "away": "a"})
    after = before.record_members([host("worker", "w2"), host("new", "n"), host("away", "")], ["worker", "away"])
    assert after.machine_ids == {"worker": "w2", "away": "a"}


def test_removed_machine_is_recognised_by_a_key_or_its_machine_id() -> None:
    after = Machines(machine_ids={"worker": "w"}).remove_member(WORKER, KEYS)
    assert after.machine_ids == {}
    assert after.find_removed(["ssh-rsa BBBB"]) == after.removed[0]
    assert after.find_removed([], "w") == after.removed[0]
    assert after.find_removed(["ssh-rsa CCCC"], "") is None
    assert after.remove_member(WORKER, KEYS).removed[0].host_keys == KEYS
    assert after.allow_again(after.removed).removed == []


def test_machine_without_a_recorded_id_matches_by_its_keys_only() -> None:
    after = Machines().remove_member(WORKER, KEYS)
    assert after.find_removed([], "") is None


def test_machines_are_kept_in_the_state_of_the_studio(tmp_path: Path) -> None:
    studio = StudioDirectory(tmp_path / "studio")
    removed = Machines(machine_ids={"worker": "w"}).remove_member(WORKER, KEYS)
    machines.write(studio, removed)
    assert machines.read(studio) == removed
    path = studio.state_dir / machines.FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"!{machines.FILE}" in (studio.state_dir / ".gitignore").read_text(encoding="ascii")
    path.write_text("[", encoding="ascii")
    with pytest.raises(UsageError, match="cannot be read"):
        machines.read(studio)


def test_cached_facts_of_a_member_are_forgotten(tmp_path: Path) -> None:
    studio = StudioDirectory(tmp_path)
    studio.make_state_dir()
    cache = studio.state_dir / "cache/facts"
    for name in ("worker", "s1_worker", "other-worker", "worker2"):
        (cache / name).touch()
    machines.forget_facts(studio, "worker")
    assert sorted(path.name for path in cache.iterdir()) == ["other-worker", "worker2"]
