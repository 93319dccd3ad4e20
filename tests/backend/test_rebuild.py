# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database is lost, and comes again from the share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import ConflictError, NotFoundError, ShareUnavailableError
from noslop_backend.maintenance import rebuild
from noslop_backend.repositories import JobRepository
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

from tests.backend import samples
from tests.backend.filled import facts, fill
from tests.backend.studio import Studio, png, write_marker

Lose = Callable[[], Studio]


@pytest.fixture
def lose(studio: Studio, new_database: Callable[[], str]) -> Iterator[Lose]:
    """Take the database away; gives the same studio with a new one."""
    made: list[Studio] = []

    def loses() -> Studio:
        fresh = Studio(studio.root, new_database(), studio.share_id)
        made.append(fresh)
        return fresh

    yield loses
    for each in made:
        each.close()


def test_everything_comes_back(studio: Studio, lose: Lose) -> None:
    filled = fill(studio.storage)
    other = fill(studio.storage, "Another")
    studio.storage.trash_project(other.project_id)
    before = [facts(studio, each.project_id, rebuilt=True) for each in (filled, other)]
    share_before = {path: path.stat().st_mtime_ns for path in studio.root.rglob("*")}
    fresh = lose()
    report = rebuild.rebuild(fresh.storage, verify=True)
    assert (report.projects, report.unplaced, report.problems) == (2, {}, {})
    assert report.files == sum(len(each["files"]) for each in before)
    assert [facts(fresh, each.project_id, rebuilt=True) for each in (filled, other)] == before
    fresh.check(filled.project_id)
    assert {path: path.stat().st_mtime_ns for path in studio.root.rglob("*")} == share_before


def test_intermediates_need_what_they_name(studio: Studio, lose: Lose) -> None:
    storage = studio.storage
    project_id = storage.create_project_structure(ProjectCreate(name="A film")).id
    noise = storage.save_intermediate(project_id, FileKind.LATENT, "noise", b"0123")
    texts = {"prompt": json.dumps({"1": {"inputs": {"latent": noise.path}}})}
    for kind, content in ((FileKind.LATENT, samples.latent(texts)), (FileKind.FRAME, png(1, texts))):
        storage.save_intermediate(project_id, kind, "later", content)
    fresh = lose()
    rebuild.rebuild(fresh.storage)
    needs = [
        [one.id for one in fresh.storage.get_inputs(project_id, row.id)]
        for row in fresh.rows(project_id)
        if row.id != noise.id
    ]
    assert needs == [[noise.id], [noise.id]]


def test_work_goes_on_after_it(studio: Studio, lose: Lose) -> None:
    filled = fill(studio.storage)
    fresh = lose()
    rebuild.rebuild(fresh.storage)
    storage = fresh.storage
    project = filled.project_id
    assert storage.save_workflow(project, "Fluß", {"new": True}).version == 4
    assert storage.load_workflow(project, "Fluß", version=2).data["steps"] == 20
    storage.restore(project, [filled.trashed_image.id])
    assert storage.save_metadata(project, filled.image.id, {"rating": 1}).path.endswith(".meta.0005.json")
    assert storage.cleanup_intermediate(project).kept_referenced_count == 1
    fresh.check(project)


def test_a_number_is_never_given_again(studio: Studio, lose: Lose) -> None:
    """The newest version of one document is purged, and all of another: only metadata.json knows their numbers."""
    filled = fill(studio.storage)
    project, storage = filled.project_id, studio.storage
    prompts = [storage.save_prompt(project, "gone", f"{number}").id for number in range(2)]
    storage.trash(project, [filled.workflow.id, *prompts], force=True)
    storage.purge(project, [filled.workflow.id, *prompts])
    before = facts(studio, project, rebuilt=True)
    fresh = lose()
    assert rebuild.rebuild(fresh.storage).problems == {}
    assert facts(fresh, project, rebuilt=True) == before
    assert fresh.storage.save_workflow(project, "Fluß", {"new": True}).version == 4
    assert fresh.storage.save_prompt(project, "gone", "again").version == 3
    fresh.check(project)


def test_the_source_of_a_final_pays(studio: Studio, lose: Lose) -> None:
    filled = fill(studio.storage)
    fresh = lose()
    rebuild.rebuild(fresh.storage)
    assert fresh.storage.get_file(filled.project_id, filled.final.id).charged_bytes == 0
    fresh.storage.trash(filled.project_id, [filled.image.id], force=True)
    fresh.storage.purge(filled.project_id, [filled.image.id])
    final = fresh.storage.get_file(filled.project_id, filled.final.id)
    assert final.charged_bytes == final.size_bytes
    fresh.check(filled.project_id)


def test_a_database_with_projects_is_refused(studio: Studio) -> None:
    fill(studio.storage)
    with pytest.raises(ConflictError, match="has 1 projects already"):
        rebuild.rebuild(studio.storage)


def test_what_has_no_place_is_listed_and_left(studio: Studio, lose: Lose) -> None:
    filled = fill(studio.storage)
    top = studio.root / filled.project_id
    (top / "generated/images/holiday.png").write_bytes(png(9))
    (top / "generated/images/secret").symlink_to("/etc/passwd")
    (top / "notes").mkdir()
    (top / "generated/images/.nfs0000001").write_bytes(b"x")
    orphan = top / layout.path(FileKind.IMAGE, "x", ProjectStorage.new_id(), "png")
    orphan.write_bytes(png(8))
    widow = top / layout.sidecar(layout.path(FileKind.IMAGE, "y", ProjectStorage.new_id(), "png"))
    widow.write_text("{}")
    (studio.root / "readme.txt").write_text("no project")
    before = studio.tree(filled.project_id)
    fresh = lose()
    report = rebuild.rebuild(fresh.storage)
    left = {path.removeprefix(f"{filled.project_id}/"): why for path, why in report.unplaced.items()}
    assert left.keys() == {
        "generated/images/holiday.png",
        "generated/images/secret",
        "notes",
        str(orphan.relative_to(top)),
        str(widow.relative_to(top)),
        "readme.txt",
    }
    assert report.unplaced_count == 6
    assert "no sidecar" in left[str(orphan.relative_to(top))]
    assert studio.tree(filled.project_id) == before


def test_a_damaged_file_is_named(studio: Studio, lose: Lose) -> None:
    filled = fill(studio.storage)
    path = studio.root / filled.project_id / filled.trashed_image.path
    path = studio.root / filled.project_id / layout.trash(filled.trashed_image.path)
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not rebuild.rebuild(lose().storage).problems
    report = rebuild.rebuild(lose().storage, verify=True)
    assert list(report.problems) == [f"{filled.project_id}/{layout.trash(filled.trashed_image.path)}"]


def test_a_damaged_sidecar_is_replaced_by_a_later_one(studio: Studio, lose: Lose) -> None:
    filled = fill(studio.storage)
    sidecar = layout.sidecar(filled.image.path)
    path = studio.root / filled.project_id / sidecar
    path.chmod(0o644)
    path.write_text("{")
    fresh = lose()
    report = rebuild.rebuild(fresh.storage)
    assert list(report.problems) == [f"{filled.project_id}/{filled.image.path}"]
    assert list(report.unplaced) == [f"{filled.project_id}/{sidecar}"]
    image = fresh.storage.get_file(filled.project_id, filled.image.id)
    assert (image.name, image.blake3) == (filled.image.name, filled.image.blake3)
    assert fresh.drift(filled.project_id) == []


def test_a_project_without_metadata_keeps_its_files(studio: Studio, lose: Lose) -> None:
    filled = fill(studio.storage)
    (studio.root / filled.project_id / layout.METADATA).write_text("{")
    fresh = lose()
    report = rebuild.rebuild(fresh.storage)
    assert list(report.problems) == [f"{filled.project_id}/{layout.METADATA}"]
    project = fresh.storage.get_project(filled.project_id)
    assert project.name == filled.project_id.rpartition("-")[0]
    assert project.media_count == studio.storage.get_project(filled.project_id).media_count


def test_a_rebuild_that_was_killed_is_begun_anew(studio: Studio, lose: Lose) -> None:
    filled = fill(studio.storage)
    before = facts(studio, filled.project_id, rebuilt=True)
    fresh = lose()
    rebuild.rebuild(fresh.storage)
    with fresh.storage.database.write() as session:
        JobRepository(session).remember(rebuild.JOB, datetime.now(UTC), {"unfinished": True})
    assert rebuild.rebuild(fresh.storage).projects == 1
    assert facts(fresh, filled.project_id, rebuilt=True) == before
    with pytest.raises(ConflictError):
        rebuild.rebuild(fresh.storage)


def test_a_share_that_cannot_be_listed_is_not_taken_for_empty(studio: Studio, lose: Lose) -> None:
    filled = fill(studio.storage)
    images = studio.root / filled.project_id / "generated/images"
    os.rename(images, images.with_name("elsewhere"))
    images.symlink_to("elsewhere")
    fresh = lose()
    with pytest.raises((ShareUnavailableError, ConflictError)):
        rebuild.rebuild(fresh.storage)
    with pytest.raises(NotFoundError):
        fresh.storage.save_prompt(filled.project_id, "too early", "x")


def test_another_share_than_the_recorded_is_refused(studio: Studio, lose: Lose) -> None:
    fresh = lose()
    fresh.storage.start()
    write_marker(studio.root)
    with pytest.raises(ConflictError, match="belongs to the share"):
        rebuild.rebuild(fresh.storage)


def test_an_empty_share_makes_an_empty_database(studio: Studio) -> None:
    report = rebuild.rebuild(studio.storage)
    assert report.projects == 0
    created = studio.storage.create_project_structure(ProjectCreate(name="First"))
    assert created.media_count == 0
    assert studio.storage.get_project_files(created.id, state=FileState.PRESENT).items == []
