# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test engines, their files, and what the schema refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from noslop_backend.core.database import Database, clock, filesystem_type, protect_files
from noslop_backend.core.errors import ConfigurationError, DatabaseUnavailableError
from noslop_backend.core.settings import ENV_FILE, load
from noslop_backend.models import JobModel, ProjectModel, StoreModel, metadata
from noslop_backend.repositories import StoreRepository
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import SQLModel, select

from tests.backend.postgresql import Cluster
from tests.backend.studio import STUDIO, Studio


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


def test_the_models_are_the_migrated_schema(database: Database) -> None:
    with database.read() as session:
        options = {"compare_type": True, "include_name": _is_declared}
        context = MigrationContext.configure(session.connection(), opts=options)
        assert compare_metadata(context, metadata) == []


def _is_declared(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out what a model cannot declare for one kind of database: FTS5's tables, and PostgreSQL's GIN index."""
    return not (name or "").startswith(("search_text", "ix_search_entry_words"))


def test_checks_and_foreign_keys_are_the_same_as_in_the_models(database: Database) -> None:
    """What Alembic does not compare."""
    with database.read() as session:
        seen = inspect(session.connection())
        for table in metadata.tables.values():
            checks = {str(check["name"]) for check in seen.get_check_constraints(table.name)}
            assert checks == {str(c.name) for c in table.constraints if type(c).__name__ == "CheckConstraint"}
            foreign = {str(key["name"]): key["options"].get("ondelete") for key in seen.get_foreign_keys(table.name)}
            assert foreign == {str(key.name): key.ondelete for key in table.foreign_key_constraints}


def test_the_schema_refuses_what_the_models_would(database: Database) -> None:
    with database.write() as session:
        now = clock(session)
        assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)

    def project(**values: Any) -> ProjectModel:  # noqa: ANN401 - columns
        given: dict[str, Any] = {
            "id": "a-00000000",
            "name": "a",
            "folder_path": "a",
            "created_at": now,
            "updated_at": now,
        }
        return ProjectModel(**(given | values))

    rows = [
        project(name=""),
        project(name="x" * 201),
        project(status="nonsense"),
        project(state="nonsense"),
        project(used_bytes=-1),
        project(quota_bytes=-1),
        project(trash_days=0),
        StoreModel(id=2),
        StoreModel(id=1, reserved_bytes=-1),
    ]
    for row in rows:
        with pytest.raises(IntegrityError):
            _insert(database, row)
    with pytest.raises(StatementError, match="no time zone"):
        _insert(database, JobModel(name="j", last_run_at=datetime(2026, 1, 1)))  # noqa: DTZ001 - that is the point


def _insert(database: Database, row: SQLModel) -> None:
    with database.write() as session:
        session.add(row)


def test_times_come_back_as_they_went_in(database: Database) -> None:
    moment = datetime(2026, 3, 29, 3, 30, 0, 123456, tzinfo=UTC)
    with database.write() as session:
        session.add(JobModel(name="j", last_run_at=moment))
    with database.read() as session:
        assert session.exec(select(JobModel).where(JobModel.name == "j")).one().last_run_at == moment


def test_a_transaction_that_fails_changes_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            StoreRepository(session).set_quota(5)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.read() as session:
        assert StoreRepository(session).peek().quota_bytes is None


def test_sqlite_is_durable_and_checks_keys(studio: Studio) -> None:
    if not studio.storage.database.is_sqlite:
        return
    with studio.storage.database.read() as session:
        values = {
            name: session.connection().exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_database_that_is_away_is_said_to_be(place: Path) -> None:
    for url in (f"sqlite:///{place}/nowhere/x.sqlite3", f"postgresql+psycopg://x@/x?host={place}"):
        database = Database(url)
        with pytest.raises(DatabaseUnavailableError), database.write() as session:
            clock(session)
        database.close()


def test_a_server_that_ends_a_transaction_is_said_to_be_away(cluster: Cluster) -> None:
    """A process that was stopped in the middle of one holds locks: PostgreSQL ends its connection after a while."""
    url = cluster.new_database()
    database = Database(url, lock_timeout_s=0.05)

    def wait_until_it_is_ended() -> None:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as watching, database.write() as session:
            mine = session.connection().execute(text("SELECT pg_backend_pid()")).scalar_one()
            while watching.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [mine]).fetchone():
                pass
            clock(session)

    with pytest.raises(DatabaseUnavailableError, match="idle-in-transaction"):
        wait_until_it_is_ended()
    database.close()


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///relative.sqlite3", "sqlite:///:memory:"]
)
def test_addresses_that_will_not_do_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="NOSLOP_DATABASE_URL"):
        Database(url)


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /mnt/noslop/projects rw,relatime shared:1 - nfs4 10.0.0.1:/mnt/noslop/projects rw,vers=4.2
31 22 0:41 / /mnt/with\\040space rw - cifs //10.0.0.1/x rw
32 30 0:42 / /mnt/noslop/projects/local rw - tmpfs tmpfs rw
33 22 0:43 / /over rw - nfs 10.0.0.1:/x rw
34 22 0:44 / /over rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/noslop/x.sqlite3", "ext4"),
        ("/mnt/noslop/projects/a/x.sqlite3", "nfs4"),
        ("/mnt/noslop/projects2/x.sqlite3", "ext4"),
        ("/mnt/noslop/projects/local/x", "tmpfs"),
        ("/mnt/with space/x", "cifs"),
        ("/over/x", "xfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert filesystem_type(Path(path), MOUNTS) == kind


def test_the_cluster_gives_each_test_a_database_of_its_own(cluster: Cluster) -> None:
    assert cluster.new_database() != cluster.new_database()


def test_settings_come_from_the_environment_and_a_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("NOSLOP_") or name.endswith("_DIR"):
            monkeypatch.delenv(name)
    file = place / "backend.env"
    file.write_text(
        f'NOSLOP_STUDIO_ID="{STUDIO}"\nPROJECT_STORAGE_DIR="/srv/projects"\nSHARED_STORAGE_ENABLED="true"\n'
    )
    settings = load(file)
    assert (settings.studio_id, settings.project_storage_dir) == (STUDIO, Path("/srv/projects"))
    assert settings.shared_storage_enabled
    monkeypatch.setenv("PROJECT_STORAGE_DIR", "/other/projects")
    monkeypatch.setenv("NOSLOP_LEASE_S", "5")
    assert (load(file).project_storage_dir, load(file).lease_s) == (Path("/other/projects"), 5)
    assert ENV_FILE == "/etc/noslop/backend.env"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("PROJECT_STORAGE_DIR=relative", "PROJECT_STORAGE_DIR"),
        ("PROJECT_STORAGE_DIR=/mnt/../etc", "PROJECT_STORAGE_DIR"),
        ("MEDIA_CACHE_DIR=/mnt/noslop/projects/cache", "MEDIA_CACHE_DIR"),
        ("MEDIA_CACHE_DIR=/mnt/noslop/projects", "MEDIA_CACHE_DIR"),
        ("NOSLOP_LEASE_S=0", "LEASE_S"),
        ("NOSLOP_ADOPT_LEASE_S=inf", "ADOPT_LEASE_S"),
        ("NOSLOP_STUDIO_ID=", "STUDIO_ID"),
        ("SHARED_STORAGE_ENABLED=perhaps", "SHARED_STORAGE_ENABLED"),
    ],
)
def test_wrong_settings_are_refused_by_name(place: Path, line: str, said: str) -> None:
    file = place / "backend.env"
    file.write_text(f"NOSLOP_STUDIO_ID={STUDIO}\n{line}\n")
    with pytest.raises(ConfigurationError, match=said):
        load(file)


class TestFiles:
    """Whoever reads the database knows the tokens' hashes, and whoever writes it makes tokens."""

    @pytest.fixture
    def served(self, sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
        """A database whose log is there, since somebody has it open."""
        directory = tmp_path / "state"
        directory.mkdir(mode=0o755)
        path = directory / "backend.sqlite3"
        path.write_bytes(sqlite_template.read_bytes())
        path.chmod(0o644)
        made = Database(f"sqlite:///{path}")
        with made.write() as session:
            StoreRepository(session).get()
        yield made
        made.close()

    def _modes(self, database: Database) -> dict[str, int]:
        path = Path(database.url.database or "")
        return {each.name: each.stat().st_mode & 0o7777 for each in (path.parent, *path.parent.iterdir())}

    def test_others_are_kept_from_them(self, served: Database) -> None:
        before = self._modes(served)
        assert before["state"] == 0o755
        assert before["backend.sqlite3-wal"] == before["backend.sqlite3-shm"] == before["backend.sqlite3"] == 0o644
        # Not even while this process writes: closing a descriptor of the file would end its locks.
        with served.write() as session:
            StoreRepository(session).get()
            protect_files(served)
            assert "database is locked" in _begins_elsewhere(Path(served.url.database or ""))
        assert _begins_elsewhere(Path(served.url.database or "")) == ""
        assert self._modes(served) == dict.fromkeys(before, 0o600) | {"state": 0o700}

    def test_what_is_closer_than_asked_stays(self, served: Database) -> None:
        path = Path(served.url.database or "")
        path.chmod(0o400)
        protect_files(served)
        assert path.stat().st_mode & 0o777 == 0o400

    def test_files_of_another_account_are_refused(self, served: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
        with pytest.raises(ConfigurationError, match=r"state belongs to the uid \d+, and this runs as 4000000"):
            protect_files(served)
        assert self._modes(served)["backend.sqlite3"] == 0o644

    def test_a_link_in_place_of_the_file_is_refused_and_of_the_directory_is_not(
        self, served: Database, tmp_path: Path
    ) -> None:
        path = Path(served.url.database or "")
        (tmp_path / "link.sqlite3").symlink_to(path)
        with pytest.raises(ConfigurationError, match="is a link"):
            protect_files(Database(f"sqlite:///{tmp_path}/link.sqlite3"))
        assert path.stat().st_mode & 0o777 == 0o644
        (tmp_path / "elsewhere").symlink_to(path.parent)
        protect_files(Database(f"sqlite:///{tmp_path}/elsewhere/backend.sqlite3"))
        assert path.stat().st_mode & 0o777 == 0o600


def _begins_elsewhere(path: Path) -> str:
    """Begin a write in another process; returns what hinders it."""
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    return subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False).stderr
