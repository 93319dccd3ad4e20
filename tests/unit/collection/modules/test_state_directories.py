# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the change of owner of state from the account of the previous version to the service's own."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.support.module_runner import Fault, break_disk, die, run_module

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
#: Accounts of every Debian, in place of NoSlop's.
BEFORE, NOW, FOREIGN = "games", "daemon", "mail"


def number(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def set_owner(path: Path, name: str) -> None:
    os.chown(path, number(name), pwd.getpwnam(name).pw_gid, follow_symlinks=False)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return state of the previous version, with links that a hostile program planted."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwords").write_text("of root")
    (outside / "project").write_text("of before")
    set_owner(outside / "project", BEFORE)
    top = tmp_path / "state"
    (top / "user").mkdir(parents=True)
    (top / "user" / "comfyui.db").write_text("rows")
    (top / "foreign").write_text("of mail")
    (top / "link").symlink_to(outside / "passwords")
    (top / "directory").symlink_to(outside)
    (top / "dangling").symlink_to(outside / "nothing")
    os.link(outside / "passwords", top / "hard")
    os.link(outside / "project", top / "hard-of-before")
    for path in (top, top / "user", top / "user" / "comfyui.db", top / "link", top / "directory", top / "dangling"):
        set_owner(path, BEFORE)
    set_owner(top / "foreign", FOREIGN)
    return top


def change_owner(state: Path, *, check: bool = False, fault: Fault | None = None) -> dict[str, Any]:
    directories = [
        {"path": str(state), "owner": NOW, "mode": "2770"},
        {"path": str(state / "user"), "owner": NOW, "mode": "2770"},
        {"path": str(state / "new"), "owner": NOW, "mode": "2770"},
    ]
    arguments = {"directories": directories, "previous_owner": BEFORE, "unit": "noslop-none-such.service"}
    return run_module("state_directories", arguments, check=check, fault=fault)


def outside(state: Path) -> list[tuple[int, int, int]]:
    about = [path.lstat() for path in sorted((state.parent / "outside").rglob("*"))]
    return [(one.st_uid, one.st_gid, one.st_mode) for one in about]


@root_only
def test_state_gets_its_new_owner_once_and_links_are_not_followed(state: Path) -> None:
    before = outside(state)

    predicted = change_owner(state, check=True)
    assert predicted["changed"]
    assert state.stat().st_uid == number(BEFORE)
    first = change_owner(state)
    second = change_owner(state)

    assert first["given"] == [str(state)]
    assert str(state / "new") in first["made"]
    assert not second["changed"]
    assert not change_owner(state, check=True)["changed"]
    for path in (state, state / "user", state / "user" / "comfyui.db", state / "new"):
        assert path.stat().st_uid == number(NOW)
    assert state.stat().st_mode & 0o7777 == 0o2770
    assert (state / "foreign").stat().st_uid == number(FOREIGN)
    assert outside(state) == before


@root_only
def test_run_interrupted_at_any_change_is_completed_by_the_next(state: Path) -> None:
    changed_owner = frozenset({"os.chown"})
    changes = change_owner(state, fault=Fault(0, die, changed_owner))["changes"]
    assert changes > 4
    for place in range(1, changes + 1):
        for path in (state, *state.rglob("*")):
            if path.lstat().st_uid == number(NOW):
                set_owner(path, BEFORE)
        if (state / "new").exists():
            (state / "new").rmdir()
        answer = change_owner(state, fault=Fault(place, die if place % 2 else break_disk, changed_owner))
        assert "died" in answer or answer["failed"]

        assert not change_owner(state).get("failed")
        assert {path.stat().st_uid for path in (state, state / "new", state / "user" / "comfyui.db")} == {number(NOW)}
        assert not change_owner(state)["changed"]


@root_only
def test_directory_that_is_a_link_is_refused(state: Path) -> None:
    change_owner(state)
    (state / "new").rmdir()
    (state / "new").symlink_to(state.parent / "outside")
    before = outside(state)

    answer = change_owner(state)

    assert answer["failed"]
    assert "is a link" in answer["msg"]
    assert outside(state) == before
    assert (state.parent / "outside").stat().st_uid == 0


@root_only
def test_missing_account_is_named(state: Path) -> None:
    directories = [{"path": str(state), "owner": "nobody-is-called-so", "mode": "0700"}]
    arguments = {"directories": directories, "previous_owner": BEFORE, "unit": "noslop-none-such.service"}

    assert run_module("state_directories", arguments, check=True)["changed"]
    assert "noslop.studio.service_account" in run_module("state_directories", arguments)["msg"]
