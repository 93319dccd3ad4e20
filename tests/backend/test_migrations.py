# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test migrations on data, up and down, on both databases."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from noslop_backend import migrations
from noslop_backend.core.database import Database
from noslop_backend.core.enums import TokenScope
from noslop_backend.core.errors import ConfigurationError, NewerDatabaseError
from noslop_backend.journal.intent import IntentHandle
from noslop_backend.maintenance.rebuild import rebuild
from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.models import metadata
from noslop_backend.operations.transfer import TransferFiles
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services.tokens import Tokens
from noslop_backend.share.layout import FileKind
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio, make_sqlite, png


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


def test_migrations_go_up_down_and_up_again(database: Database) -> None:
    migrations.check(database)
    migrations.downgrade(database, "base")
    with database.read() as session:
        assert inspect(session.connection()).get_table_names() == ["alembic_version"]
    with pytest.raises(ConfigurationError, match="migrate"):
        migrations.check(database)
    migrations.upgrade(database)
    migrations.check(database)


def test_several_hosts_may_migrate_at_once(cluster: Cluster, place: Path) -> None:
    """As when a new version is put on all of them in one play."""
    program = (
        "import sys; from noslop_backend import migrations; from noslop_backend.core.database import Database;"
        "made = Database(sys.argv[1]); print(flush=True); sys.stdin.readline(); migrations.upgrade(made); made.close()"
    )
    for url in (cluster.new_database("template0"), f"sqlite:///{place}/new.sqlite3"):
        command = [sys.executable, "-c", program, url]
        hosts = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
        for host in hosts:
            assert host.stdout is not None
            host.stdout.readline()
        for host in hosts:
            assert host.stdin is not None
            host.stdin.write(b"\n")
            host.stdin.flush()
        for host in hosts:
            host.communicate()
        assert [host.returncode for host in hosts] == [0] * 4
        database = Database(url)
        migrations.check(database)
        database.close()


def test_a_database_of_a_later_version_is_refused_and_left_as_it_is(studio: Studio, project: str) -> None:
    database = studio.storage.database
    with database.write() as session:
        session.connection().execute(text("UPDATE alembic_version SET version_num = 'later'"))
    for refuses in (migrations.pending, migrations.check, migrations.upgrade):
        with pytest.raises(NewerDatabaseError, match=r"revision later, which this version .* does not know"):
            refuses(database)
    assert migrations.current(database) == "later"
    assert studio.storage.get_project(project).id == project


def test_migrations_up_on_data_lose_none(studio: Studio, project: str) -> None:
    """Every migration is run on a database that has rows in its tables, and they are all there after."""
    storage = studio.storage
    storage.promote_to_final(project, storage.save_generated_media(project, "m", png()).id)
    storage.save_workflow(project, "w", {}, key="k")
    storage.save_metadata(project, storage.get_project_files(project).items[0].id, {})

    def rows() -> dict[str, int]:
        with storage.database.read() as session:
            return {
                name: session.connection().execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one()  # noqa: S608 - our names
                for name in metadata.tables
            }

    before = rows()
    migrations.upgrade(storage.database)
    assert rows() == before
    migrations.downgrade(storage.database, "0001")
    migrations.upgrade(storage.database)
    # The version before has no audit log.
    assert before["audit"] > 0
    assert rows() == before | {"audit": 0}
    studio.check(project)


def test_other_files_are_for_this_version_and_stay_on_the_share_for_the_version_before(
    studio: Studio, project: str
) -> None:
    storage = studio.storage
    database = storage.database
    image = storage.save_generated_media(project, "m", png())
    other = storage.save_generated_media(project, "scene.blend", b"BLENDER-v404" + bytes(99), inputs=[image.id])
    note = storage.save_generated_media(project, "notes.txt", b"a note")
    final = storage.promote_to_final(project, other.id)
    storage.save_metadata(project, other.id, {"a": 1})
    storage.trash(project, [note.id])
    before = studio.tree(project)
    migrations.downgrade(database, "0003")
    with database.read() as session:
        # The tables are those of that version, and the models are not.
        found = session.connection().execute(text("SELECT id, kind, charged_bytes FROM file")).all()
    rows = {file_id: (kind, charged_bytes) for file_id, kind, charged_bytes in found}
    assert {kind for kind, _ in rows.values()} == {"image", "final", "sidecar"}
    assert rows[final.id] == ("final", other.size_bytes)
    assert studio.tree(project) == before
    with pytest.raises(IntegrityError), database.write() as session:
        session.connection().execute(text("UPDATE file SET kind = 'other' WHERE id = :id"), {"id": image.id})
    migrations.upgrade(database)
    assert studio.drift(project) == []
    assert storage.save_generated_media(project, "more.txt", b"a note").kind == "other"
    for _ in range(3):
        reconcile(storage, apply=True, apart_s=0)
    assert storage.get_file(project, other.id).blake3 == other.blake3
    studio.check(project)


def test_the_version_before_gets_the_database_when_no_file_is_being_moved(studio: Studio, project: str) -> None:
    storage, database = studio.storage, studio.storage.database
    image = storage.save_generated_media(project, "m", png()).id
    other = storage.create_project_structure(ProjectCreate(name="Other")).id
    operation = TransferFiles(project, [image], other, None)
    handle = storage.journal.begin(operation)
    assert isinstance(handle, IntentHandle)
    with pytest.raises(RuntimeError, match="Files are being moved to another project"):
        migrations.downgrade(database, "0006")
    migrations.check(database)
    with storage.context.share() as share:
        storage.journal.execute(share, operation, handle)
    migrations.downgrade(database, "0006")
    with pytest.raises(IntegrityError), database.write() as session:
        session.connection().execute(text("UPDATE intent SET op = 'transfer'"))
    migrations.upgrade(database)
    assert storage.move_files(other, [image], project).files_count == 1
    studio.check(project)


def test_workflows_of_the_version_before_that_have_one_key_stay_two(studio: Studio, project: str) -> None:
    storage, database = studio.storage, studio.storage.database
    for name in ("one", "two", "three"):
        storage.save_workflow(project, name, {"name": name})
    migrations.downgrade(database, "0005")
    with database.write() as session:
        for old, new in (("one", "W"), ("two", "w ")):
            values = {"old": old, "new": new}
            session.connection().execute(text("UPDATE document SET name = :new WHERE name = :old"), values)
    migrations.upgrade(database)
    assert [storage.load_workflow(project, name).data["name"] for name in ("W", "w ", "w", " Three")] == [
        *("one", "two", "one", "three")
    ]
    saved = storage.save_workflow(project, "w ", {"name": "newer"})
    assert (saved.version, saved.name) == (2, "w ")
    assert [each.name for each in storage.list_documents(project, FileKind.WORKFLOW).items] == ["W", "w ", "three"]
    studio.check(project)
    fresh = studio.root.parent / "fresh.sqlite3"
    rebuilt = Studio(studio.root, f"sqlite:///{make_sqlite(fresh)}", studio.share_id)
    rebuild(rebuilt.storage)
    assert rebuilt.storage.load_workflow(project, "w ").data == {"name": "newer"}
    rebuilt.close()


def test_tokens_of_the_version_before_are_for_all_projects_and_limits_do_not_survive_the_way_back(
    studio: Studio, project: str
) -> None:
    database, tokens = studio.storage.database, Tokens(studio.storage.database)
    migrations.downgrade(database, "0001")
    columns = {
        "id": "0123456789abc",
        "name": "old",
        "secret_hash": hashlib.sha256(b"0" * 52).hexdigest(),
        "scope": "write",
        "created_at": "2026-01-01 00:00:00+00:00",
    }
    with database.write() as session:
        insert = (
            "INSERT INTO token (id, name, secret_hash, scope, created_at) VALUES (:id, :name, :secret_hash, :scope, "
        )
        moment = ":created_at)" if database.is_sqlite else "CAST(:created_at AS timestamptz))"
        session.connection().execute(text(insert + moment), columns)
    migrations.upgrade(database)
    old = tokens.check(f"noslop_{columns['id']}_{'0' * 52}")
    assert old.projects is None
    old.require_store()
    bound = tokens.create("bound", TokenScope.READ, None, [project])
    assert tokens.check(bound.text).projects == frozenset({project})
    migrations.downgrade(database, "0001")
    migrations.upgrade(database)
    # The version before would have let it reach every project.
    assert [row.name for row in tokens.all()] == ["old"]
