# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check files that are moved to another project: what goes along, what it costs, and what may not go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from noslop_backend.core.enums import FileState, IntentState, ProjectStatus
from noslop_backend.core.errors import (
    ConflictError,
    InProgressError,
    InvalidRequestError,
    LeaseLostError,
    NotFoundError,
    QuotaExceededError,
    ReferencedError,
)
from noslop_backend.journal.intent import IntentHandle
from noslop_backend.maintenance.rebuild import rebuild
from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.models import IntentModel
from noslop_backend.operations.transfer import TransferFiles
from noslop_backend.repositories import IntentRepository
from noslop_backend.schemas import FileUpdate, ProjectCreate, ProjectUpdate
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind
from sqlalchemy import update
from sqlmodel import col

from tests.backend.studio import Studio, make_sqlite, png


@pytest.fixture
def other(storage: ProjectStorage) -> str:
    """Id of the project that receives files."""
    return storage.create_project_structure(ProjectCreate(name="Other")).id


def test_files_go_with_sidecars_labels_references_and_costs(studio: Studio, project: str, other: str) -> None:
    storage = studio.storage
    latent = storage.save_intermediate(project, FileKind.LATENT, "l", b"latent")
    image = storage.save_generated_media(project, "Cat.png", png(1), inputs=[latent.id], parameters={"seed": 7})
    final = storage.promote_to_final(project, image.id)
    storage.update_file(project, image.id, FileUpdate(tags=["hero"]))
    kept = storage.save_generated_media(project, "scene.blend", b"BLENDER-v404", kind=FileKind.OTHER)
    cost = storage.get_project(project).used_bytes
    report = storage.move_files(project, [image.id, final.id, latent.id], other)
    assert (report.project_id, {file.id for file in report.files}) == (other, {image.id, final.id, latent.id})
    moved = storage.get_file(other, image.id)
    assert (moved.name, moved.tags, moved.parameters["seed"]) == ("Cat.png", ["hero"], 7)
    assert moved.path != image.path
    assert [file.id for file in storage.get_project_files(project).items] == [kept.id]
    with pytest.raises(NotFoundError):
        storage.get_file(project, image.id)
    assert [len(storage.search_files("hero", project_id=each).items) for each in (project, other)] == [0, 1]
    # The final is a link there too, and costs nothing.
    assert storage.get_file(other, final.id).charged_bytes == 0
    assert storage.get_project(project).used_bytes + storage.get_project(other).used_bytes == cost
    assert storage.cleanup_intermediate(other).kept_referenced_count == 1
    for each in (project, other):
        studio.check(each)
    # And back again, under yet another name.
    storage.move_files(other, [image.id, latent.id], project)
    assert storage.get_file(project, image.id).path not in {image.path, moved.path}
    assert storage.get_file(other, final.id).charged_bytes == final.size_bytes
    storage.update_file(project, image.id, FileUpdate(rating=4))
    for each in (project, other):
        studio.check(each)


def test_a_moved_file_is_rebuilt_where_it_is(studio: Studio, project: str, other: str, tmp_path: Path) -> None:
    storage = studio.storage
    image = storage.save_generated_media(project, "Cat", png(1))
    storage.update_file(project, image.id, FileUpdate(rating=3))
    storage.move_files(project, [image.id], other)
    assert reconcile(storage, apply=True, apart_s=0).findings == []
    rebuilt = Studio(studio.root, f"sqlite:///{make_sqlite(tmp_path / 'rebuilt.sqlite3')}", studio.share_id)
    report = rebuild(rebuilt.storage)
    assert (report.unplaced_count, report.problems_count) == (0, 0)
    expected = storage.get_file(other, image.id)
    assert rebuilt.storage.get_file(other, image.id) == expected
    assert storage.save_metadata(other, image.id, {"a": 1}).path.endswith(".meta.0003.json")
    rebuilt.close()


def test_what_others_need_stays(studio: Studio, project: str, other: str) -> None:
    storage = studio.storage
    latent = storage.save_intermediate(project, FileKind.LATENT, "l", b"latent")
    image = storage.save_generated_media(project, "i", png(1), inputs=[latent.id])
    workflow = storage.save_workflow(project, "w", {"image": image.path})
    storage.trash(project, [gone := storage.save_generated_media(project, "gone", png(2)).id])
    before = studio.tree(project), studio.tree(other)
    refused: list[tuple[str, type[Exception], str]] = [
        (image.id, ReferencedError, "is an input of a workflow or of another file"),
        (latent.id, ReferencedError, "Move that file along"),
        (workflow.id, InvalidRequestError, "is a version of a workflow"),
        (gone, NotFoundError, "it is trashed"),
        ("0" * 13, NotFoundError, "there is none"),
    ]
    for file_id, error, message in refused:
        with pytest.raises(error, match=message):
            storage.move_files(project, [file_id], other)
    for target, wrong in ((project, InvalidRequestError), ("none-00000000", NotFoundError)):
        with pytest.raises(wrong):
            storage.move_files(project, [latent.id], target)
    assert (studio.tree(project), studio.tree(other)) == before
    assert studio.open_intents() == []


def test_quota_and_status_of_both_projects_are_asked(studio: Studio, project: str, other: str) -> None:
    storage = studio.storage
    image = storage.save_generated_media(project, "i", png(1))
    cost = storage.get_project(project).used_bytes
    refused: list[tuple[str, ProjectUpdate, type[Exception]]] = [
        (other, ProjectUpdate(quota_bytes=cost - 1), QuotaExceededError),
        (other, ProjectUpdate(quota_bytes=cost, status=ProjectStatus.ARCHIVED), ConflictError),
        (project, ProjectUpdate(status=ProjectStatus.ARCHIVED), ConflictError),
    ]
    for changed, change, error in refused:
        storage.update_project_metadata(changed, change)
        with pytest.raises(error):
            storage.move_files(project, [image.id], other)
        storage.update_project_metadata(changed, ProjectUpdate(status=ProjectStatus.ACTIVE))
        assert storage.get_project(other).reserved_bytes == storage.get_store_stats().reserved_bytes == 0
    first = storage.move_files(project, [image.id], other, key="k")
    assert storage.move_files(project, [image.id], other, key="k") == first
    stats = storage.get_storage_stats(other)
    assert (stats.used_bytes, stats.free_bytes, stats.image_count) == (cost, 0, 1)
    for each in (project, other):
        studio.check(each)


def begin(service: ProjectStorage, project: str, file_id: str, other: str) -> Callable[[], int]:
    """Begin a move; returns what ends it, and returns how many files were moved."""
    operation = TransferFiles(project, [file_id], other, None)
    handle = service.journal.begin(operation)
    assert isinstance(handle, IntentHandle)

    def end() -> int:
        with service.context.share() as share:
            return int(service.journal.execute(share, operation, handle)["files_count"])

    return end


def test_a_project_is_not_put_away_while_files_leave_it(studio: Studio, project: str, other: str) -> None:
    image = studio.storage.save_generated_media(project, "i", png(1)).id
    end = begin(studio.storage, project, image, other)
    for away in (project, other):
        with pytest.raises(InProgressError):
            studio.storage.trash_project(away)
    # A workflow would lose its input.
    for write in (
        lambda: studio.storage.trash(project, [image]),
        lambda: studio.storage.save_workflow(project, "w", {}, inputs=[image]),
    ):
        with pytest.raises(InProgressError):
            write()
    assert end() == 1
    studio.storage.trash_project(project)
    studio.check(other)


def test_a_move_whose_owner_stalls_is_finished_and_changes_nothing_late(
    studio: Studio, project: str, other: str
) -> None:
    storage = studio.storage
    image = storage.save_generated_media(project, "i", png(1)).id
    late = begin(studio.another(lease_s=0), project, image, other)
    assert len(storage.recover().finished) == 1
    storage.move_files(other, [image], project)
    assert late() == 1
    assert storage.get_file(project, image).state == FileState.PRESENT
    for each in (project, other):
        studio.check(each)


def test_a_move_that_was_undone_leaves_nothing_late(studio: Studio, project: str, other: str) -> None:
    storage = studio.storage
    image = storage.save_generated_media(project, "i", png(1)).id
    late = begin(studio.another(lease_s=0), project, image, other)
    with storage.database.write() as session:
        plan = IntentRepository(session).open_in(other)[0].plan | {"undo": True}
        session.exec(update(IntentModel).where(col(IntentModel.state) == IntentState.OPEN).values(plan=plan))
    assert len(storage.recover().released) == 1
    with pytest.raises(LeaseLostError):
        late()
    for each in (project, other):
        studio.check(each)


def test_a_move_that_fails_is_undone(studio: Studio, project: str, other: str) -> None:
    storage = studio.storage
    image = storage.save_generated_media(project, "i", png(1)).id
    before = studio.tree(project)
    (studio.root / other).rename(studio.root / "away")
    with pytest.raises(ConflictError, match=f"folder {other} is gone"):
        storage.move_files(project, [image], other)
    (studio.root / "away").rename(studio.root / other)
    assert studio.tree(project) == before
    for each in (project, other):
        studio.check(each)
    assert storage.move_files(project, [image], other).files_count == 1


def test_a_file_that_is_gone_is_missing_in_the_other_project(studio: Studio, project: str, other: str) -> None:
    storage = studio.storage
    image = storage.save_generated_media(project, "i", png(1))
    late = begin(storage, project, image.id, other)
    (studio.root / project / image.path).unlink()
    assert late() == 1
    assert storage.get_file(other, image.id).state == FileState.MISSING
    assert studio.drift(project) == studio.drift(other) == []
    assert studio.open_intents() == []
