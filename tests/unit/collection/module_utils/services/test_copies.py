# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the copies that a switch makes, with real databases and files."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.services import copies


def make_database(path: Path, *rows: str) -> sqlite3.Connection:
    """Make a database whose rows are still in its log, and return the open connection."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE assets (name TEXT)")
    connection.executemany("INSERT INTO assets VALUES (?)", [(row,) for row in rows])
    connection.commit()
    return connection


def read_rows(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM assets ORDER BY name")]


def test_database_in_use_is_copied_with_its_log(tmp_path: Path) -> None:
    old, new = tmp_path / "comfyui-a.db", tmp_path / "comfyui-b.db"
    with contextlib.closing(make_database(old, "one", "two")):
        assert copies.copy_database(str(old), str(new))
    assert read_rows(new) == read_rows(old) == ["one", "two"]


def test_database_of_a_version_that_was_left_stays_as_it_was(tmp_path: Path) -> None:
    old, new = tmp_path / "comfyui-a.db", tmp_path / "comfyui-b.db"
    for path, row in ((old, "before"), (new, "of the version that was left")):
        make_database(path, row).close()
    assert not copies.copy_database(str(old), str(new))
    assert read_rows(new) == ["of the version that was left"]
    assert not copies.copy_database(str(tmp_path / "none.db"), str(tmp_path / "other.db"))


def test_remains_of_an_interrupted_copy_are_replaced(tmp_path: Path) -> None:
    old, new = tmp_path / "comfyui-a.db", tmp_path / "comfyui-b.db"
    make_database(old, "one").close()
    Path(f"{new}.part").write_bytes(b"half of a database")
    assert copies.copy_database(str(old), str(new))
    assert read_rows(new) == ["one"]
    assert not Path(f"{new}.part").exists()


def test_only_the_newest_databases_stay(tmp_path: Path) -> None:
    paths = [tmp_path / f"comfyui-{number}.db" for number in range(6)]
    for number, path in enumerate(paths):
        make_database(path, "row").close()
        os.utime(path, (number, number))
    removed = copies.prune_databases(str(paths[0]), [str(path) for path in paths])
    assert sorted(removed) == [str(paths[1]), str(paths[2])]
    assert sorted(tmp_path.glob("*.db")) == [paths[0], *paths[3:]]


def test_user_directory_is_copied_without_databases_and_pipes(tmp_path: Path) -> None:
    user = tmp_path / "user"
    (user / "default" / "workflows").mkdir(parents=True)
    (user / "default" / "workflows" / "mine.json").write_text("{}")
    (user / "link").symlink_to("/nowhere")
    make_database(user / "comfyui-a.db", "row").close()
    os.mkfifo(user / "pipe")
    copy = Path(copies.copy_directory(str(user), str(tmp_path / "copies"), "a-1", ["comfyui-a.db"]))
    assert sorted(path.name for path in copy.iterdir()) == ["default", "link"]
    assert (copy / "default" / "workflows" / "mine.json").read_text() == "{}"
    assert os.readlink(copy / "link") == "/nowhere"
    for number in range(2, 6):
        copies.copy_directory(str(user), str(tmp_path / "copies"), f"a-{number}", [])
    assert len(list((tmp_path / "copies").iterdir())) == copies.KEPT
