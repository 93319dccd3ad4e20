# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cleanup, trash and questions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from noslop_backend.core.database import clock
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import InvalidRequestError, NotFoundError, ReferencedError
from noslop_backend.models import FileModel
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from sqlalchemy import update
from sqlmodel import col

from tests.backend.studio import Studio, png


def age(storage: ProjectStorage, file_id: str, days: float) -> None:
    """Make a file older than it is."""
    with storage.database.write() as session:
        moment = clock(session) - timedelta(days=days)
        session.exec(update(FileModel).where(col(FileModel.id) == file_id).values(created_at=moment, trashed_at=moment))


def ids(storage: ProjectStorage, project: str) -> set[str]:
    return {file.id for file in storage.get_project_files(project).items}


def test_a_cleanup_removes_all_or_the_old_or_down_to_a_size(studio: Studio, project: str) -> None:
    storage = studio.storage
    files = [storage.save_intermediate(project, FileKind.FRAME, f"f{n}", b"x" * 100) for n in range(6)]
    latent = storage.save_intermediate(project, FileKind.LATENT, "l", b"y" * 10)
    for number, file in enumerate(files):
        age(storage, file.id, 10 - number)
    dry = storage.cleanup_intermediate(project, older_than=timedelta(days=8.5), dry_run=True)
    assert (dry.files_count, dry.freed_bytes, [f.id for f in dry.files]) == (2, 200, [files[0].id, files[1].id])
    assert len(ids(storage, project)) == 7
    done = storage.cleanup_intermediate(project, older_than=timedelta(days=8.5))
    assert (done.files_count, done.freed_bytes, done.dry_run) == (2, 200, False)
    assert storage.cleanup_intermediate(project, keep_bytes=250).files_count == 2
    assert ids(storage, project) == {files[4].id, files[5].id, latent.id}
    assert storage.cleanup_intermediate(project, keep_bytes=210).files_count == 0
    assert storage.cleanup_intermediate(project, kinds=frozenset({FileKind.LATENT})).files_count == 1
    assert storage.cleanup_intermediate(project).files_count == 2
    assert ids(storage, project) == set()
    for kinds in (frozenset[FileKind](), frozenset({FileKind.IMAGE})):
        with pytest.raises(InvalidRequestError):
            storage.cleanup_intermediate(project, kinds=kinds)
    with pytest.raises(InvalidRequestError):
        storage.cleanup_intermediate(project, keep_bytes=-1)
    studio.check(project)


def test_a_cleanup_keeps_what_something_needs(studio: Studio, project: str) -> None:
    storage = studio.storage
    names = ["workflow", "named in workflow", "sidecar", "later sidecar", "named in parameters", "open intent", "free"]
    files = {name: storage.save_intermediate(project, FileKind.MASK, name, name.encode()) for name in names}
    storage.save_workflow(
        project, "w", {"1": {"image": files["named in workflow"].path}}, inputs=[files["workflow"].id]
    )
    media = storage.save_generated_media(
        project, "m", png(), inputs=[files["sidecar"].id], parameters={"mask": files["named in parameters"].path}
    )
    storage.save_metadata(project, media.id, {}, inputs=[files["later sidecar"].id])
    with storage.begin_generated_media(project, "n", inputs=[files["open intent"].id]) as upload:
        dry = storage.cleanup_intermediate(project, dry_run=True)
        assert ([file.name for file in dry.files], dry.kept_referenced_count) == (["free"], 6)
        report = storage.cleanup_intermediate(project)
        assert (report.files_count, report.kept_referenced_count) == (1, 6)
        upload.abort()
    assert [file.name for file in storage.cleanup_intermediate(project).files] == ["open intent"]
    storage.trash(project, [media.id])
    # What the trash needs is kept too: it may come back.
    assert storage.cleanup_intermediate(project).files_count == 0
    storage.purge(project)
    assert storage.cleanup_intermediate(project).files_count == 3
    assert {file.name for file in storage.get_project_files(project).items} == {"workflow", "named in workflow", "w"}
    studio.check(project)


def test_a_cleanup_of_more_than_one_batch(studio: Studio, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noslop_backend.operations.cleanup.BATCH", 3)
    storage = studio.storage
    files = [storage.save_intermediate(project, FileKind.FRAME, f"f{n}", b"x") for n in range(8)]
    storage.save_workflow(project, "w", {}, inputs=[files[3].id])
    assert storage.cleanup_intermediate(project, dry_run=True).files_count == 7
    report = storage.cleanup_intermediate(project)
    assert (report.files_count, report.kept_referenced_count, len(report.files)) == (7, 1, 7)
    studio.check(project)


def test_the_trash_keeps_files_until_they_are_purged(studio: Studio, project: str) -> None:
    storage = studio.storage
    files = [storage.save_generated_media(project, f"m{n}", png(n)) for n in range(3)]
    storage.save_metadata(project, files[0].id, {"a": 1})
    cost = storage.get_project(project).used_bytes
    report = storage.trash(project, [file.id for file in files], key="k")
    assert storage.trash(project, [file.id for file in files], key="k").files_count == report.files_count == 3
    assert {file.state for file in report.files if file.of_file_id is None} == {FileState.TRASHED}
    assert ids(storage, project) == set()
    assert len(storage.get_project_files(project, state=FileState.TRASHED).items) == 3
    stats = storage.get_storage_stats(project)
    assert (stats.media_count, stats.trash_count, stats.trash_bytes, stats.used_bytes) == (0, 3, cost, cost)
    with pytest.raises(NotFoundError):
        storage.open_file(project, files[0].id)
    assert storage.load_metadata(project, files[0].id)["parameters"] == {"a": 1}
    studio.check(project)
    assert storage.restore(project, [files[0].id]).files[0].path == files[0].path
    with storage.open_file(project, files[0].id) as opened:
        assert opened.stream.read() == png(0)
    with pytest.raises(NotFoundError):
        storage.restore(project, [files[0].id])
    with pytest.raises(NotFoundError):
        storage.purge(project, [files[0].id])
    age(storage, files[1].id, 5)
    assert storage.purge(project, older_than=timedelta(days=1)).files_count == 1
    assert storage.purge(project, [files[2].id], key="p").files_count == 1
    assert storage.purge(project, [files[2].id], key="p").files_count == 1
    assert storage.purge(project).files_count == 0
    assert storage.get_storage_stats(project).media_count == 1
    studio.check(project)


def test_the_trash_does_not_take_what_is_needed_unless_told(studio: Studio, project: str) -> None:
    storage = studio.storage
    mask = storage.save_intermediate(project, FileKind.MASK, "m", b"x")
    storage.save_workflow(project, "w", {}, inputs=[mask.id])
    with pytest.raises(ReferencedError):
        storage.trash(project, [mask.id])
    assert storage.trash(project, [mask.id], force=True).files_count == 1
    storage.restore(project, [mask.id])
    assert storage.cleanup_intermediate(project).kept_referenced_count == 1
    with pytest.raises(InvalidRequestError):
        storage.trash(project, [])
    sidecar = storage.get_project_files(project, kinds=frozenset({FileKind.SIDECAR})).items[0]
    with pytest.raises(InvalidRequestError):
        storage.trash(project, [sidecar.id])
    studio.check(project)


def test_versions_in_the_trash_are_not_the_latest(studio: Studio, project: str) -> None:
    storage = studio.storage
    versions = [storage.save_workflow(project, "w", {"n": n}) for n in range(3)]
    storage.trash(project, [versions[2].id])
    assert storage.load_workflow(project, "w").file == versions[1]
    assert storage.save_workflow(project, "w", {"n": 9}).version == 4
    storage.trash(project, [version.id for version in storage.get_project_files(project).items])
    assert storage.get_project(project).workflows_count == 0
    with pytest.raises(NotFoundError):
        storage.load_workflow(project, "w")
    storage.restore(project, [versions[0].id])
    assert storage.get_project(project).workflows_count == 1
    storage.purge(project)
    assert storage.save_workflow(project, "w", {"n": 10}).version == 5
    studio.check(project)


@pytest.mark.parametrize("newest_first", [False, True])
def test_files_come_in_pages_of_every_size(studio: Studio, project: str, newest_first: bool) -> None:
    storage = studio.storage
    saved = [storage.save_intermediate(project, FileKind.FRAME, f"f{n}", b"x").id for n in range(7)]
    expected = saved[::-1] if newest_first else saved
    for limit in (1, 2, 3, 7, 8):
        seen: list[str] = []
        cursor = None
        while True:
            page = storage.get_project_files(project, newest_first=newest_first, cursor=cursor, limit=limit)
            seen += [file.id for file in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == expected


def test_files_of_one_project_are_not_those_of_another(studio: Studio, project: str) -> None:
    storage = studio.storage
    other = storage.create_project_structure(ProjectCreate(name="Other")).id
    file = storage.save_generated_media(project, "m", png())
    for call in (storage.get_file, storage.open_file, storage.promote_to_final, storage.load_metadata):
        with pytest.raises(NotFoundError):
            call(other, file.id)
    with pytest.raises(NotFoundError):
        storage.trash(other, [file.id])
    with pytest.raises(NotFoundError):
        storage.save_workflow(other, "w", {}, inputs=[file.id])
    totals = storage.get_store_stats(with_disk=True)
    assert (totals.projects_count, totals.media_count) == (2, 1)
    assert totals.disk_free_bytes is not None
    studio.check(project)
    studio.check(other)


def test_a_file_that_was_taken_away_is_said_to_be(studio: Studio, project: str) -> None:
    storage = studio.storage
    file = storage.save_generated_media(project, "m", png())
    (studio.root / project / file.path).unlink()
    with pytest.raises(NotFoundError, match="taken away"):
        storage.open_file(project, file.id)
    with pytest.raises(NotFoundError, match="taken away"):
        storage.promote_to_final(project, file.id)
    storage.trash(project, [file.id])
    assert storage.get_file(project, file.id).state == FileState.MISSING
    assert studio.drift(project) == []
    storage.purge(project, [file.id])
    studio.check(project)


def test_directories_that_were_taken_away_are_made_again(studio: Studio, project: str) -> None:
    for name in ("generated/images", layout.STAGING):
        (studio.root / project / name).rmdir()
        saved = studio.storage.save_generated_media(project, "m", png())
        studio.storage.trash(project, [saved.id])
    (studio.root / project / "generated/images").rmdir()
    studio.storage.restore(project, [saved.id])
    studio.check(project)
