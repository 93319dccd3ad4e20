# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the database, taken while others write, and proved by making a database of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from blake3 import blake3
from noslop_backend.core.errors import (
    ConfigurationError,
    ConflictError,
    ContentMismatchError,
    DatabaseUnavailableError,
    InvalidRequestError,
    NotFoundError,
)
from noslop_backend.core.settings import Settings
from noslop_backend.maintenance.backup import CHECKSUM, MAC, Key, backup, copies, own_key, program, restore
from noslop_backend.maintenance.reconcile import reconcile
from pydantic import ValidationError

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
    place = studio.root.parent / "backups"
    assert made.path.parent == place
    assert (place.stat().st_mode & 0o777, made.path.stat().st_mode & 0o777) == (0o700, 0o400)
    assert made.path.with_name(made.name + MAC).read_text().split() == [made.mac, made.name, made.key_id]
    studio.storage.save_prompt(filled.project_id, "later", "is not in it")
    restored = restore(elsewhere, made.path)
    assert restored.authenticated
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
    kept = [path.name for path in copies(studio.settings())]
    assert len(kept) == 3
    assert kept == made[:1:-1]
    names = {path.name for path in (studio.root.parent / "backups").iterdir()}
    assert names == {name + end for name in kept for end in ("", MAC)}
    assert backup(studio.storage, keep=1).removed
    assert len(copies(studio.settings())) == 1
    with pytest.raises(InvalidRequestError):
        backup(studio.storage, keep=0)


def test_what_others_put_there_stays(studio: Studio) -> None:
    backup(studio.storage)
    place = studio.root.parent / "backups"
    (place / "precious.sqlite3").write_text("mine")
    old = "backend-20200101T000000000000Z-abcdef.sqlite3"
    (place / f"{old}.part").write_text("of one that was killed")
    (place / f"{old}{MAC}").write_text("of one that was killed")
    (place / ".backup-killed").mkdir()
    (place / ".backup-killed" / "copy").write_text("of one that was killed")
    (place / ".backup-at-work").mkdir()
    os.utime(place / ".backup-killed", (0, 0))
    backup(studio.storage, keep=1)
    assert (place / "precious.sqlite3").read_text() == "mine"
    assert not (place / f"{old}.part").exists()
    assert not (place / f"{old}{MAC}").exists()
    assert not (place / ".backup-killed").exists()
    assert (place / ".backup-at-work").is_dir()


def test_no_database_is_written_over(studio: Studio) -> None:
    fill(studio.storage)
    made = backup(studio.storage)
    with pytest.raises(ConflictError, match="already"):
        restore(studio.settings(), made.path)


def test_a_second_place_gets_the_same_and_loses_nothing(studio: Studio, tmp_path: Path) -> None:
    made = [backup(studio.storage, keep=1, to=tmp_path) for _ in range(2)]
    assert [one.second for one in made] == [tmp_path / one.name for one in made]
    assert {path.name for path in tmp_path.iterdir()} == {one.name + end for one in made for end in ("", MAC)}
    for end in ("", MAC):
        assert (tmp_path / (made[1].name + end)).read_bytes() == made[1].path.with_name(made[1].name + end).read_bytes()
    with pytest.raises(ConfigurationError, match="no directory"):
        backup(studio.storage, to=tmp_path / "nothing")


def test_a_changed_copy_is_refused(studio: Studio, elsewhere: Settings, tmp_path: Path) -> None:
    """Whoever can write where a copy lies can bring another one, and cannot make its keyed checksum."""
    made, other = (backup(studio.storage, to=tmp_path) for _ in range(2))
    copy, mac = tmp_path / made.name, tmp_path / (made.name + MAC)
    right, line = copy.read_bytes(), mac.read_text()

    def put(path: Path, content: bytes | str) -> None:
        path.unlink()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    put(copy, right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(ContentMismatchError, match="not what this studio wrote"):
        restore(elsewhere, copy)
    # Nor does an old copy pass for a newer one.
    put(copy, (tmp_path / other.name).read_bytes())
    for text in ((tmp_path / (other.name + MAC)).read_text(), line.replace(made.mac, other.mac)):
        put(mac, text)
        with pytest.raises(ContentMismatchError, match=r"was named|not what this studio wrote"):
            restore(elsewhere, copy)
    put(copy, right)
    put(mac, line)
    with pytest.raises(ContentMismatchError, match="made with the key"):
        restore(elsewhere, copy, secret=Key(bytes(32)))
    for text in ("", "nonsense", f"{made.mac}  {made.name}\n"):
        put(mac, text)
        with pytest.raises(ContentMismatchError, match="no keyed checksum"):
            restore(elsewhere, copy)
    mac.unlink()
    with pytest.raises(ContentMismatchError, match="--unauthenticated"):
        restore(elsewhere, copy)
    mac.write_text(line)
    assert restore(elsewhere, copy).authenticated


def test_a_copy_of_a_version_before_is_taken_only_when_that_is_wanted(
    studio: Studio, elsewhere: Settings, tmp_path: Path
) -> None:
    """Those have a checksum without a key, which tells of damage."""
    made = backup(studio.storage)
    copy, checksum = tmp_path / made.name, tmp_path / (made.name + CHECKSUM)
    shutil.copy(made.path, copy)
    checksum.write_text(f"{blake3(made.path.read_bytes()).hexdigest()}  {made.name}\n")
    with pytest.raises(ContentMismatchError, match="no keyed checksum"):
        restore(elsewhere, copy)
    copy.chmod(0o600)
    copy.write_bytes(made.path.read_bytes() + b"x")
    with pytest.raises(ContentMismatchError, match="is damaged"):
        restore(elsewhere, copy, unauthenticated=True)
    shutil.copy(made.path, copy)
    assert not restore(elsewhere, copy, unauthenticated=True).authenticated


def test_on_another_host_the_key_has_to_be_brought(studio: Studio, elsewhere: Settings, tmp_path: Path) -> None:
    made = backup(studio.storage)
    there = elsewhere.model_copy(update={"backup_key_file": tmp_path / "backup.key"})
    with pytest.raises(ContentMismatchError, match="--key-file"):
        restore(there, made.path)
    written_down = own_key(studio.settings()).text
    assert restore(there, made.path, secret=Key.parse(f"{written_down}\n")).authenticated


class TestKey:
    """The key's file."""

    def test_it_is_made_once_and_for_the_account_alone(self, studio: Studio) -> None:
        settings = studio.settings()
        threads = 8
        with ThreadPoolExecutor(threads) as pool:
            made = set(pool.map(lambda _: own_key(settings).text, range(threads)))
        assert len(made) == 1
        assert settings.backup_key_file.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in settings.backup_key_file.parent.glob("*backup.key*")] == ["backup.key"]

    def test_one_that_others_may_have_read_is_refused(self, studio: Studio) -> None:
        backup(studio.storage)
        settings = studio.settings()
        settings.backup_key_file.chmod(0o640)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            backup(studio.storage)

    def test_a_link_or_nonsense_is_refused(self, studio: Studio, tmp_path: Path) -> None:
        settings = studio.settings()
        (tmp_path / "elsewhere").write_text("0" * 64)
        settings.backup_key_file.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConfigurationError, match="cannot be read"):
            own_key(settings)
        settings.backup_key_file.unlink()
        settings.backup_key_file.touch(mode=0o600)
        with pytest.raises(ConfigurationError, match="no backup key"):
            own_key(settings)

    def test_it_is_not_shown_by_accident(self, studio: Studio) -> None:
        key = own_key(studio.settings())
        assert key.text not in f"{key} {key!r} {key.id}"
        assert key.id not in key.text


def test_backups_do_not_lie_where_hosts_can_write(studio: Studio) -> None:
    for name in ("backup_dir", "backup_key_file"):
        with pytest.raises(ValidationError, match=f"NOSLOP_{name.upper()}.*every host of the studio can write"):
            studio.settings(**{name: studio.root / "x"})


def test_a_directory_that_others_can_read_is_closed_to_them(studio: Studio) -> None:
    place = studio.settings().backup_dir
    place.mkdir(mode=0o755)
    backup(studio.storage)
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_directory_of_somebody_else_is_refused(studio: Studio, tmp_path: Path) -> None:
    place = studio.settings().backup_dir
    place.symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="no directory"):
        backup(studio.storage)
    place.unlink()
    place.mkdir()
    if os.geteuid() == 0:
        os.chown(place, 65534, 65534)
        with pytest.raises(ConfigurationError, match="belongs to the uid 65534"):
            backup(studio.storage)


def test_a_copy_of_another_kind_is_refused(studio: Studio, elsewhere: Settings, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no database at all")
    with pytest.raises(InvalidRequestError, match="no copy of a"):
        restore(elsewhere, file, unauthenticated=True)
    with pytest.raises(NotFoundError):
        restore(elsewhere, tmp_path / "nothing")


def test_a_share_that_is_away_hinders_no_copy(studio: Studio) -> None:
    studio.storage.start()
    (studio.root / ".noslop-share").unlink()
    assert backup(studio.storage).path.exists()
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
            restore(studio.settings(database_url=f"sqlite:///{target}"), torn, unauthenticated=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["db.sqlite3", "torn.sqlite3"]

    def test_the_database_of_another_studio_is_refused(self, tmp_path: Path) -> None:
        path = make_sqlite(tmp_path / "db.sqlite3")
        with closing(sqlite3.connect(path)) as opened:
            opened.execute("INSERT INTO store (id, studio_id, used_bytes, reserved_bytes) VALUES (1, 'other', 0, 0)")
            opened.commit()
        studio = Studio(tmp_path, "", "x")
        with pytest.raises(ConflictError, match="'other'"):
            restore(studio.settings(database_url=f"sqlite:///{tmp_path}/new.sqlite3"), path, unauthenticated=True)

    def test_a_left_over_log_is_not_married_to_a_copy(self, tmp_path: Path) -> None:
        path = make_sqlite(tmp_path / "db.sqlite3")
        (tmp_path / "new.sqlite3-wal").write_bytes(b"of the old one")
        studio = Studio(tmp_path, "", "x")
        with pytest.raises(ConflictError, match="-wal"):
            restore(studio.settings(database_url=f"sqlite:///{tmp_path}/new.sqlite3"), path, unauthenticated=True)

    def test_nobody_else_reads_it(self, tmp_path: Path) -> None:
        path = make_sqlite(tmp_path / "db.sqlite3")
        studio = Studio(tmp_path, "", "x")
        restore(studio.settings(database_url=f"sqlite:///{tmp_path}/new.sqlite3"), path, unauthenticated=True)
        assert os.stat(tmp_path / "new.sqlite3").st_mode & 0o777 == 0o600


def test_without_a_program_the_refusal_says_what_to_install() -> None:
    """On a host that has no PostgreSQL programs the backend runs with psycopg alone."""
    with pytest.raises(ConfigurationError, match="postgresql-client"):
        program("pg_dump_of_a_host_without_it")
