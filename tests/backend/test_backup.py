# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the database, taken while others write, and proved by making a database of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from noslop_backend.backup import CHECKSUM, backup, copies, program, restore
from noslop_backend.errors import (
    ConfigurationError,
    ConflictError,
    ContentMismatchError,
    DatabaseUnavailableError,
    InvalidRequestError,
    NotFoundError,
    ShareUnavailableError,
)
from noslop_backend.reconcile import reconcile
from noslop_backend.settings import Settings

from tests.backend.filled import facts, fill
from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio, make_sqlite


@pytest.fixture
def elsewhere(studio: Studio, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The same studio with a database that is still to be made."""
    if studio.url.startswith("sqlite"):
        return studio.settings(database_url=f"sqlite:///{tmp_path}/restored.sqlite3")
    cluster: Cluster = request.getfixturevalue("cluster")
    return studio.settings(database_url=cluster.new_database("template1"))


def test_a_copy_is_the_database(studio: Studio, elsewhere: Settings) -> None:
    filled = fill(studio.storage)
    before = facts(studio, filled.project_id)
    made = backup(studio.storage)
    assert made.path.parent == studio.root / ".backups"
    assert made.path.with_name(made.name + CHECKSUM).read_text().split() == [made.blake3, made.name]
    studio.storage.save_prompt(filled.project_id, "later", "is not in it")
    restored = restore(elsewhere, made.path)
    assert restored.blake3 == made.blake3
    other = Studio(studio.root, elsewhere.database_url, studio.share_id)
    after = facts(other, filled.project_id)
    # The tree is the studio's, where work went on.
    assert {**after, "tree": 0} == {**before, "tree": 0}
    assert other.drift(filled.project_id) == []
    # What was saved since is found by its sidecar.
    reconcile(other.storage, apply=True, apart_s=0)
    assert reconcile(other.storage, apply=True, apart_s=0).counts == {"taken_in": 2}
    assert other.storage.load_prompt(filled.project_id, "later").content == b"is not in it"
    other.check(filled.project_id)
    other.close()


def test_copies_are_whole_while_others_write(studio: Studio, new_database: Callable[[], str]) -> None:
    project = fill(studio.storage).project_id
    stop = threading.Event()
    saved: list[int] = []

    def write() -> None:
        storage = studio.another()
        while not stop.is_set():
            saved.append(storage.save_prompt(project, "busy", f"{len(saved)}").version or 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [backup(studio.storage) for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    assert len(saved) > 0
    for number, one in enumerate(made):
        if not studio.url.startswith("sqlite"):
            continue
        target = studio.root.parent / f"restored-{number}.sqlite3"
        restore(studio.settings(database_url=f"sqlite:///{target}"), one.path)
        other = Studio(studio.root, f"sqlite:///{target}", studio.share_id)
        assert other.drift(project) == [] or other.open_intents()
        other.close()
    studio.check(project)


def test_only_so_many_copies_stay(studio: Studio) -> None:
    made = [backup(studio.storage, keep=3).name for _ in range(5)]
    kept = copies(studio.storage)
    assert len(kept) == 3
    assert kept == made[:1:-1]
    names = {path.name for path in (studio.root / ".backups").iterdir()}
    assert names == {name + end for name in kept for end in ("", CHECKSUM)}
    assert backup(studio.storage, keep=1).removed
    assert len(copies(studio.storage)) == 1
    with pytest.raises(InvalidRequestError):
        backup(studio.storage, keep=0)


def test_what_others_put_there_stays(studio: Studio) -> None:
    backup(studio.storage)
    place = studio.root / ".backups"
    (place / "precious.sqlite3").write_text("mine")
    old = "backend-20200101T000000000000Z-abcdef.sqlite3"
    (place / f"{old}.part").write_text("of one that was killed")
    (place / f"{old}{CHECKSUM}").write_text("of one that was killed")
    backup(studio.storage, keep=1)
    assert (place / "precious.sqlite3").read_text() == "mine"
    assert not (place / f"{old}.part").exists()
    assert not (place / f"{old}{CHECKSUM}").exists()


def test_no_database_is_written_over(studio: Studio) -> None:
    fill(studio.storage)
    made = backup(studio.storage)
    with pytest.raises(ConflictError, match="already"):
        restore(studio.settings(), made.path)


def test_a_damaged_copy_is_refused(studio: Studio, elsewhere: Settings, tmp_path: Path) -> None:
    made = backup(studio.storage)
    copy = tmp_path / made.name
    content = made.path.read_bytes()
    copy.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    shutil.copy(made.path.with_name(made.name + CHECKSUM), tmp_path)
    with pytest.raises(ContentMismatchError, match="is damaged"):
        restore(elsewhere, copy)
    (tmp_path / (made.name + CHECKSUM)).unlink()
    with pytest.raises(ContentMismatchError, match="no checksum"):
        restore(elsewhere, copy)
    copy.write_bytes(content)
    restore(elsewhere, copy, unchecked=True)


def test_a_copy_of_another_kind_is_refused(studio: Studio, elsewhere: Settings, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no database at all")
    with pytest.raises(InvalidRequestError, match="no copy of a"):
        restore(elsewhere, file, unchecked=True)
    with pytest.raises(NotFoundError):
        restore(elsewhere, tmp_path / "nothing")


def test_a_wrong_share_gets_no_copy(studio: Studio) -> None:
    studio.storage.start()
    (studio.root / ".noslop-share").unlink()
    with pytest.raises(ShareUnavailableError):
        backup(studio.storage)
    assert not (studio.root / ".backups").exists()


class TestSQLite:
    """What only SQLite can get wrong."""

    def test_a_torn_copy_is_not_kept(self, tmp_path: Path) -> None:
        studio = Studio(tmp_path, f"sqlite:///{make_sqlite(tmp_path / 'db.sqlite3')}", "x")
        torn = tmp_path / "torn.sqlite3"
        content = (tmp_path / "db.sqlite3").read_bytes()
        torn.write_bytes(content[: len(content) // 2])
        target = tmp_path / "restored.sqlite3"
        with pytest.raises(DatabaseUnavailableError, match="not sound"):
            restore(studio.settings(database_url=f"sqlite:///{target}"), torn, unchecked=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["db.sqlite3", "torn.sqlite3"]

    def test_the_database_of_another_studio_is_refused(self, tmp_path: Path) -> None:
        path = make_sqlite(tmp_path / "db.sqlite3")
        with closing(sqlite3.connect(path)) as opened:
            opened.execute("INSERT INTO store (id, studio_id, used_bytes, reserved_bytes) VALUES (1, 'other', 0, 0)")
            opened.commit()
        studio = Studio(tmp_path, "", "x")
        with pytest.raises(ConflictError, match="'other'"):
            restore(studio.settings(database_url=f"sqlite:///{tmp_path}/new.sqlite3"), path, unchecked=True)

    def test_a_left_over_log_is_not_married_to_a_copy(self, tmp_path: Path) -> None:
        path = make_sqlite(tmp_path / "db.sqlite3")
        (tmp_path / "new.sqlite3-wal").write_bytes(b"of the old one")
        studio = Studio(tmp_path, "", "x")
        with pytest.raises(ConflictError, match="-wal"):
            restore(studio.settings(database_url=f"sqlite:///{tmp_path}/new.sqlite3"), path, unchecked=True)

    def test_nobody_else_reads_it(self, tmp_path: Path) -> None:
        path = make_sqlite(tmp_path / "db.sqlite3")
        studio = Studio(tmp_path, "", "x")
        restore(studio.settings(database_url=f"sqlite:///{tmp_path}/new.sqlite3"), path, unchecked=True)
        assert os.stat(tmp_path / "new.sqlite3").st_mode & 0o777 == 0o600


def test_without_a_program_the_refusal_says_what_to_install() -> None:
    """On a host that has no PostgreSQL programs the backend runs with psycopg alone."""
    with pytest.raises(ConfigurationError, match="postgresql-client"):
        program("pg_dump_of_a_host_without_it")
