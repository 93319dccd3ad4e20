# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: each change leaves one row in its own transaction, and refusals cannot fill the disk."""

from __future__ import annotations

import io
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from noslop_backend import archive
from noslop_backend.core.database import Database, clock
from noslop_backend.core.enums import TokenScope
from noslop_backend.core.errors import QuotaExceededError
from noslop_backend.journal import audit
from noslop_backend.journal.audit import LISTED, Actor, ActorKind, Refusals
from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.maintenance.retention import apply_retention
from noslop_backend.models import AuditModel
from noslop_backend.repositories.audit import AuditRepository
from noslop_backend.schemas import ProjectCreate, ProjectUpdate
from noslop_backend.services import ProjectStorage
from noslop_backend.services.tokens import Tokens
from noslop_backend.share.layout import FileKind
from sqlalchemy import update

from tests.backend.studio import Studio, png

ANNA = Actor(ActorKind.TOKEN, "0123456789abc", "Anna's", "192.0.2.7")


def rows(database: Database, **only: Any) -> list[AuditModel]:  # noqa: ANN401 - filters
    with database.read() as session:
        logged = AuditRepository(session).latest(limit=1000, **only)
        session.expunge_all()
    return logged


def test_each_change_leaves_one_row_with_its_author(studio: Studio) -> None:
    storage = studio.storage
    with audit.acting(ANNA):
        project = storage.create_project_structure(ProjectCreate(name="Film")).id
        storage.update_project_metadata(project, ProjectUpdate(description="new", quota_bytes=10**9))
        workflow = storage.save_workflow(project, "w", {"a": 1})
        # The same again changes nothing.
        storage.save_workflow(project, "w", {"a": 1})
        image = storage.save_generated_media(project, "m", png(), key="k")
        storage.save_generated_media(project, "m", png(), key="k")
        sidecar = storage.save_metadata(project, image.id, {"a": 1})
        final = storage.promote_to_final(project, image.id)
        latent = storage.save_intermediate(project, FileKind.LATENT, "l.latent", b"latent")
        storage.cleanup_intermediate(project, dry_run=True)
        storage.cleanup_intermediate(project)
        storage.trash(project, [final.id])
        storage.restore(project, [final.id])
        storage.trash(project, [final.id])
        storage.purge(project, [final.id])
        assert workflow.document_id is not None
        storage.rename_document(project, FileKind.WORKFLOW, workflow.document_id, "v")
        other = storage.create_project_structure(ProjectCreate(name="Other")).id
        moved = storage.move_files(project, [image.id], other).files[0]
        storage.set_store_quota(10**9)
        archived = io.BytesIO()
        archive.export(storage, project, archived)
        archived.seek(0)
        imported = archive.import_from(storage, archived).project.id
        storage.trash_project(project)
        storage.restore_project(project)
        storage.trash_project(project)
        storage.purge_project(project)
    logged = rows(storage.database)
    assert {(row.actor_kind, row.actor_id, row.actor_name, row.origin, row.outcome) for row in logged} == {
        ("token", ANNA.id, "Anna's", "192.0.2.7", "done")
    }
    one = {"objects_count": 1}
    expected: list[tuple[str, str | None, dict[str, Any]]] = [
        ("create_project", project, {"name": "Film"}),
        ("update_project", project, {"changed": ["description", "quota_bytes"]}),
        ("save_workflow", project, {"objects": [workflow.path], **one}),
        ("save_image", project, {"objects": [image.path], **one}),
        ("save_sidecar", project, {"objects": [sidecar.path], **one}),
        ("promote", project, {"objects": [final.path], **one}),
        ("save_latent", project, {"objects": [latent.path], **one}),
        ("cleanup", project, {"objects": [latent.path], **one}),
        ("trash", project, {"objects": [final.path], **one}),
        ("restore", project, {"objects": [final.path], **one}),
        ("trash", project, {"objects": [final.path], **one}),
        ("purge", project, {"objects": [final.path], **one}),
        (
            "rename_workflow",
            project,
            {"document_id": workflow.document_id, "before": "w", "name": "v"},
        ),
        ("create_project", other, {"name": "Other"}),
        ("move_files", other, {"from_project": project, "objects": [moved.path], **one}),
        ("set_store_quota", None, {"quota_bytes": 10**9}),
    ]
    assert [(row.operation, row.project_id, row.details) for row in logged[: len(expected)]] == expected
    assert [(row.operation, row.project_id) for row in logged[len(expected) :]] == [
        ("export_project", project),
        ("import_project", imported),
        *[(name, project) for name in ("trash_project", "restore_project", "trash_project", "purge_project")],
    ]


def test_what_fails_and_what_only_reads_leaves_none(studio: Studio, project: str) -> None:
    storage = studio.storage
    before = len(rows(storage.database))
    storage.update_project_metadata(project, ProjectUpdate(quota_bytes=0))
    with pytest.raises(QuotaExceededError):
        storage.save_generated_media(project, "m", png())
    storage.list_projects()
    storage.get_storage_stats(project)
    assert [row.operation for row in rows(storage.database)[before:]] == ["update_project"]


def test_a_write_that_somebody_else_finishes_keeps_its_author(studio: Studio, project: str) -> None:
    with audit.acting(ANNA):
        died = studio.another(lease_s=0).begin_generated_media(project, "m", length=len(png()))
        died.write(png())
        # It reserved, staged and published, and died before its last transaction.
        studio_intent = studio.open_intents()[0].id
        _publish_and_die(died)
    bert = Actor(ActorKind.USER, None, "bert", "noslop-backend recover")
    with audit.acting(bert):
        assert studio.storage.recover().finished == [studio_intent]
    assert [row.actor_name for row in rows(studio.storage.database) if row.operation == "save_image"] == ["Anna's"]


def _publish_and_die(upload: Any) -> None:  # noqa: ANN401 - its private parts stand for a process that was killed
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    upload._journal.finish = killed
    with pytest.raises(Killed):
        upload.finish()


def test_who_adopts_is_the_author_and_not_who_reserved(studio: Studio, project: str) -> None:
    with audit.acting(ANNA):
        ticket = studio.storage.reserve_adoption(project, None, "a.png", len(png()))
    with open(ticket.staging_path, "wb") as stream:
        stream.write(png())
    with audit.acting(Actor(ActorKind.TOKEN, "abc", "Bert's", "192.0.2.8")):
        studio.storage.adopt(project, ticket.ticket_id)
    assert [row.actor_name for row in rows(studio.storage.database) if row.operation == "adopt"] == ["Bert's"]


def test_tokens_are_logged_without_their_secrets(storage: ProjectStorage, project: str) -> None:
    tokens = Tokens(storage.database)
    made = tokens.create("worker", TokenScope.WRITE, None, [project])
    tokens.revoke("worker")
    tokens.revoke("worker")
    logged = [row for row in rows(storage.database) if row.operation.endswith("_token")]
    assert [row.operation for row in logged] == ["create_token", "revoke_token"]
    assert logged[0].details == {"token": made.row.id, "name": "worker", "scope": "write", "projects": [project]}
    secret = made.text.rsplit("_", 1)[1]
    assert not any(secret in row.model_dump_json() for row in rows(storage.database))


def test_reconcile_leaves_a_row_when_it_changes_something(studio: Studio, project: str) -> None:
    storage = studio.storage
    saved = storage.save_intermediate(project, FileKind.LATENT, "l.latent", b"latent")
    for _ in range(2):
        reconcile(storage, apply=True, apart_s=0)
    (studio.root / project / saved.path).unlink()
    for _ in range(2):
        reconcile(storage, apply=True, apart_s=0, yes_really=True)
    logged = [row.details for row in rows(storage.database) if row.operation == "reconcile"]
    assert logged == [{"missing": 1}]


def test_a_large_change_lists_some_and_counts_all() -> None:
    details = audit.objects([str(number) for number in range(1000)])
    assert (len(details["objects"]), details["objects_count"]) == (LISTED, 1000)


def test_rows_are_found_by_project_token_and_time(storage: ProjectStorage, project: str) -> None:
    with audit.acting(ANNA):
        storage.save_workflow(project, "w", {})
    with storage.database.read() as session:
        later = clock(session) + timedelta(hours=1)
    assert [row.operation for row in rows(storage.database, made_by="Anna's")] == ["save_workflow"]
    assert [row.operation for row in rows(storage.database, made_by=ANNA.id)] == ["save_workflow"]
    assert [row.operation for row in rows(storage.database, project_id=project)] == ["create_project", "save_workflow"]
    assert rows(storage.database, since=later) == []
    with storage.database.read() as session:
        assert [row.operation for row in AuditRepository(session).latest(limit=1)] == ["save_workflow"]


def test_retention_forgets_what_is_older_than_the_setting(studio: Studio, project: str) -> None:
    storage = studio.another(audit_days=30)
    storage.save_workflow(project, "w", {})
    apply_retention(storage)
    assert len(rows(storage.database)) == 2
    with storage.database.write() as session:
        old = update(AuditModel).where(AuditModel.operation == "create_project")  # type: ignore[arg-type]
        session.connection().execute(old.values(at=clock(session) - timedelta(days=31)))
    assert apply_retention(storage, dry_run=True).audit_rows_count == 0
    assert apply_retention(storage).audit_rows_count == 1
    assert [row.operation for row in rows(storage.database)] == ["save_workflow"]


def test_a_flood_of_refusals_is_a_handful_of_rows_that_count_them_all(storage: ProjectStorage) -> None:
    refusals = Refusals(storage.database, actors=4)
    actors = [Actor(ActorKind.ANYBODY, None, "", f"192.0.2.{number}") for number in range(50)]

    def flood() -> None:
        for actor in actors * 20:
            refusals.note(actor, "unknown_token", "listProjects")

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refusals.close()
    logged = rows(storage.database)
    assert len(logged) <= 2 * (4 + 1)
    counted = Counter[str]()
    for row in logged:
        assert (row.operation, row.outcome) == ("authenticate", "refused")
        counted[row.origin] += row.details["count"]
    assert sum(counted.values()) == 4 * 20 * 50
    assert counted.pop("several") == 4 * 20 * (50 - 4)
    assert set(counted.values()) == {4 * 20}


def test_a_window_ends_with_its_sums(storage: ProjectStorage) -> None:
    refusals = Refusals(storage.database, window_s=0)
    for _ in range(3):
        refusals.note(ANNA, "revoked", "getFile")
    refusals.close()
    # Each was the first of its window.
    assert [row.details["count"] for row in rows(storage.database)] == [1, 1, 1]
    assert {row.actor_name for row in rows(storage.database)} == {"Anna's"}
