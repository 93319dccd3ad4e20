# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database and a share of commit 8ae3555, killed within each operation: this version migrates and recovers them.

The fixture is made by `fixtures/kill_8ae3555.py`, with the backend of that commit.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from noslop_backend import migrations
from noslop_backend.core.database import Database
from noslop_backend.core.enums import IntentOp, ProjectState
from noslop_backend.schemas import ProjectUpdate
from noslop_backend.share.layout import FileKind
from sqlalchemy import JSON, DateTime, MetaData, Table, insert

from tests.backend.studio import Studio

FIXTURE = Path(__file__).parent / "fixtures/killed_8ae3555.json.gz"
OLD: dict[str, Any] = json.loads(gzip.decompress(FIXTURE.read_bytes()))
SHARE_ID = "8ae35550-0000-4000-8000-000000000000"
#: Cases in which nothing had its final name: recovery undoes them.
RELEASED = {
    *("write at os.link 1", "write at os.link 2", "write_version at os.link 1", "write_sidecar at os.link 1"),
    *("promote at os.link 2", "import_project at os.mkdir 5", "import_project at os.rename 2"),
}
#: Attempts at a ticket that still lasts, which goes back to its worker.
HANDED_BACK = {"adopt at os.link 1", "adopt at os.link 2"}


def _insert(database: Database) -> None:
    reflected = MetaData()
    with database.write() as session:
        connection = session.connection()
        reflected.reflect(connection)
        for table in reflected.sorted_tables:
            # A sidecar comes after what it describes.
            rows = sorted(OLD["tables"].get(table.name, ()), key=lambda row: row.get("of_file_id") is not None)
            if table.name != "alembic_version" and rows:
                connection.execute(insert(table), [_values(table, row) for row in rows])


def _values(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for name, value in row.items():
        kind = table.c[name].type
        if isinstance(value, str) and isinstance(kind, JSON):
            values[name] = json.loads(value)
        elif isinstance(value, str) and isinstance(kind, DateTime):
            moment = datetime.fromisoformat(value)
            values[name] = moment.replace(tzinfo=UTC) if kind.timezone else moment
        elif not (table.name == "reference" and name == "id"):
            values[name] = value
    return values


def _write_tree(root: Path) -> None:
    root.mkdir()
    for name, entry in OLD["tree"].items():
        path = root / name
        if not entry:
            path.mkdir()
        elif "same_as" in entry:
            os.link(root / entry["same_as"], path)
        else:
            path.write_bytes(base64.b64decode(entry["content"]))
            path.chmod(entry["mode"])
            os.utime(path, ns=(entry["mtime_ns"], entry["mtime_ns"]))


@pytest.fixture
def old(new_database: Callable[[], str], place: Path) -> Iterator[Studio]:
    """The studio as it was when the last process died, migrated to this version."""
    url = new_database()
    database = Database(url)
    migrations.downgrade(database, OLD["tables"]["alembic_version"][0]["version_num"])
    _insert(database)
    migrations.upgrade(database)
    database.close()
    _write_tree(place / "projects")
    studio = Studio(place / "projects", url, SHARE_ID)
    yield studio
    studio.close()


def test_the_fixture_holds_an_open_intent_of_each_operation() -> None:
    # `trash_project` and `restore_project` are updates of a project, and files did not move to other projects yet.
    assert {row["op"] for row in OLD["tables"]["intent"] if row["state"] == "open"} == set(IntentOp) - {
        IntentOp.TRANSFER
    }


def test_each_operation_is_finished_or_undone(old: Studio) -> None:
    storage = old.storage
    killed = {intent.id: intent.project_id for intent in old.open_intents()}
    report = storage.recover()
    assert report.failed == {}
    by_project = {project: case for case, project in OLD["cases"].items()}
    # A project that was being made has an id that the case does not have.
    assert {by_project.get(killed[each]) for each in report.released} - {None} == RELEASED - {
        case for case in RELEASED if case.startswith("import_project")
    }
    tickets = old.open_intents()
    assert {by_project[intent.project_id] for intent in tickets} == HANDED_BACK
    for intent in tickets:
        adopted = storage.adopt(intent.project_id, intent.id)
        assert [file.id for file in storage.get_project_files(intent.project_id).items] == [adopted.id]
    assert old.open_intents() == []
    projects = {
        project.id: project
        for state in (ProjectState.PRESENT, ProjectState.TRASHED)
        for project in storage.list_projects(state=state).items
    }
    for project_id in projects:
        old.check(project_id)
    assert {path.name for path in old.root.iterdir() if path.is_dir() and path.name != ".imports"} == set(projects)
    assert sum(project.name == "Made" for project in projects.values()) == 2
    gone = {case for case, project in OLD["cases"].items() if project not in projects}
    assert gone == {"purge_project at os.remove 1", "purge_project at os.rmdir 1"}
    assert projects[OLD["cases"]["update_project at os.rename 1"]].name == "Other"
    assert projects[OLD["cases"]["trash_project at os.rename 1"]].state == ProjectState.TRASHED


def test_a_repeated_request_gets_the_answer_of_its_key(old: Studio) -> None:
    storage, cases = old.storage, OLD["cases"]
    # Without a recovery in between: the request itself finds what is in the way.
    for case in ("write_version at os.link 1", "write_version at os.remove 1"):
        project = cases[case]
        saved = storage.save_workflow(project, "w", {"n": 2}, key="key")
        assert storage.save_workflow(project, "w", {"n": 2}, key="key") == saved
        assert storage.load_workflow(project, "w").data == {"n": 2}
        # The number of a write that was undone is a gap.
        assert saved.version == (3 if "os.link" in case else 2)
        old.storage.recover(project_id=project)
        assert len(storage.get_project_files(project, kinds=frozenset({FileKind.WORKFLOW})).items) == 2
    for case in ("trash at os.link 1", "trash at os.remove 1"):
        file = storage.get_project_files(cases[case]).items[0]
        assert [each.state for each in storage.trash(cases[case], [file.id], key="key").files] == ["trashed"]
    for case in ("promote at os.link 2", "promote at os.remove 1"):
        source = storage.get_project_files(cases[case], kinds=frozenset({FileKind.IMAGE})).items[0]
        final = storage.promote_to_final(cases[case], source.id, name="Poster", key="key")
        assert [f.id for f in storage.get_project_files(cases[case], kinds=frozenset({FileKind.FINAL})).items] == [
            final.id
        ]


def test_a_trashed_project_comes_back(old: Studio) -> None:
    project = OLD["cases"]["trash_project at os.rename 1"]
    old.storage.recover(project_id=project)
    assert old.storage.restore_project(project).state == ProjectState.PRESENT
    assert old.storage.update_project_metadata(project, ProjectUpdate(name="New")).name == "New"
