# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check names, tags and stars of files: in lists, in the search, on the share, and in what is made from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from noslop_backend.archive.exporting import export
from noslop_backend.archive.importing import import_from
from noslop_backend.core.errors import InProgressError, InvalidRequestError, KeyReusedError, NotFoundError
from noslop_backend.maintenance.rebuild import rebuild
from noslop_backend.schemas import FilePublic, FileUpdate
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from pydantic import ValidationError

from tests.backend.studio import Studio, png


@pytest.fixture
def image(storage: ProjectStorage, project: str) -> FilePublic:
    return storage.save_generated_media(project, "shot", png(1, {"prompt": "{}"}), parameters={"seed": 7})


def update(storage: ProjectStorage, file: FilePublic, **change: Any) -> FilePublic:  # noqa: ANN401 - labels
    return storage.update_file(file.project_id, file.id, FileUpdate(**change))


def test_labels_are_in_lists_in_the_search_and_on_the_share(
    studio: Studio, storage: ProjectStorage, image: FilePublic
) -> None:
    project = image.project_id
    changed = update(storage, image, name="The storm", tags=["hero", "cafe\u0301", "hero", " b "], rating=4)
    assert (changed.name, changed.tags, changed.rating) == ("The storm", ["b", "café", "hero"], 4)
    assert (changed.id, changed.path, changed.parameters) == (image.id, image.path, {"seed": 7})
    assert storage.get_project_files(project).items == [changed]
    matching: list[dict[str, Any]] = [
        {"query": "storm"},
        {"query": "hero"},
        {"tags": ["café", "hero"]},
        {"min_rating": 4},
        {"seed": 7},
    ]
    for wanted in matching:
        assert [file.id for file in storage.search_files(**wanted).items] == [image.id], wanted
    others: list[dict[str, Any]] = [
        {"query": "shot"},
        {"tags": ["Hero"]},
        {"min_rating": 5},
        {"tags": ["hero", "none"]},
    ]
    for wanted in others:
        assert storage.search_files(**wanted).items == [], wanted
    sidecar = json.loads((studio.root / project / layout.sidecar(image.path, 2)).read_bytes())
    assert (sidecar["file"]["name"], sidecar["tags"], sidecar["rating"]) == ("The storm", ["b", "café", "hero"], 4)
    assert (sidecar["parameters"], sidecar["embedded_texts"]["keys"]) == ({"seed": 7}, ["prompt"])
    studio.check(project)


def test_tags_are_added_and_removed_and_what_is_not_set_stays(storage: ProjectStorage, image: FilePublic) -> None:
    update(storage, image, tags=["a", "b"], rating=0)
    changed = update(storage, image, add_tags=["c", "a"], remove_tags=["b", "none"])
    assert (changed.tags, changed.rating, changed.name) == (["a", "c"], 0, "shot")
    changed = update(storage, image, tags=[], rating=None)
    assert (changed.tags, changed.rating) == ([], None)
    metadata = storage.load_metadata(image.project_id, image.id)
    assert not {"tags", "rating"} & metadata.keys()


def test_an_update_that_changes_nothing_writes_nothing(
    studio: Studio, storage: ProjectStorage, image: FilePublic
) -> None:
    update(storage, image, tags=["a"], rating=1)
    before = studio.tree(image.project_id)
    for change in ({}, {"tags": ["a"]}, {"rating": 1}, {"name": "shot"}, {"add_tags": ["a"], "remove_tags": ["b"]}):
        assert update(storage, image, **change).tags == ["a"]
    assert studio.tree(image.project_id) == before


def test_a_repeated_key_gives_the_same_answer(studio: Studio, storage: ProjectStorage, image: FilePublic) -> None:
    project, change = image.project_id, FileUpdate(rating=2)
    first = storage.update_file(project, image.id, change, key="k")
    update(storage, image, rating=3)
    assert storage.update_file(project, image.id, change, key="k") == first
    with pytest.raises(KeyReusedError):
        storage.update_file(project, image.id, FileUpdate(rating=1), key="k")
    studio.check(project)


@pytest.mark.parametrize(
    "change",
    [
        {"tags": None},
        {"name": None},
        {"name": " "},
        {"tags": [""]},
        {"tags": ["x" * 101]},
        {"tags": ["a\nb"]},
        {"tags": ["a\ud800"]},
        {"tags": [str(number) for number in range(65)]},
        {"rating": 6},
        {"rating": -1},
        {"stars": 1},
    ],
)
def test_labels_without_meaning_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FileUpdate(**change)


def test_what_cannot_be_labelled_is_refused(storage: ProjectStorage, project: str, image: FilePublic) -> None:
    update(storage, image, tags=[str(number) for number in range(64)])
    with pytest.raises(InvalidRequestError, match="65 tags"):
        update(storage, image, add_tags=["one more"])
    version = storage.save_workflow(project, "w", {})
    with pytest.raises(InvalidRequestError, match="rename the workflow"):
        update(storage, version, name="other")
    assert update(storage, version, tags=["draft"]).tags == ["draft"]
    storage.trash(project, [image.id])
    with pytest.raises(NotFoundError, match="trashed"):
        update(storage, image, rating=1)


def test_files_without_a_sidecar_have_labels_in_the_database(
    studio: Studio, storage: ProjectStorage, project: str
) -> None:
    latent = storage.save_intermediate(project, FileKind.LATENT, "l", b"latent")
    changed = update(storage, latent, name="noise", tags=["keep"], rating=5)
    assert (changed.name, changed.tags, changed.rating) == ("noise", ["keep"], 5)
    assert [file.id for file in storage.search_files("noise", tags=["keep"], min_rating=5).items] == [latent.id]
    assert len(studio.rows(project)) == 1
    studio.check(project)


def test_metadata_that_is_saved_later_keeps_the_labels(
    studio: Studio, storage: ProjectStorage, image: FilePublic, new_database: Callable[[], str]
) -> None:
    update(storage, image, name="new", tags=["a"], rating=3)
    storage.save_metadata(image.project_id, image.id, {"seed": 8})
    metadata = storage.load_metadata(image.project_id, image.id)
    assert (metadata["file"]["name"], metadata["tags"], metadata["rating"]) == ("new", ["a"], 3)
    changed = update(storage, image, rating=4)
    assert storage.load_metadata(image.project_id, image.id)["parameters"] == {"seed": 8}
    rebuilt = Studio(studio.root, new_database(), studio.share_id)
    rebuild(rebuilt.storage)
    again = rebuilt.storage.get_file(image.project_id, image.id)
    assert (again.name, again.tags, again.rating) == (changed.name, changed.tags, changed.rating)
    assert [file.id for file in rebuilt.storage.search_files("new", tags=["a"]).items] == [image.id]
    rebuilt.check(image.project_id)
    rebuilt.close()


def test_a_sidecar_whose_labels_cannot_be_read_has_none(
    studio: Studio, storage: ProjectStorage, image: FilePublic, new_database: Callable[[], str]
) -> None:
    update(storage, image, tags=["a"])
    path = studio.root / image.project_id / layout.sidecar(image.path, 2)
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"tags":["a"]', '"tags":[7]'))
    rebuilt = Studio(studio.root, new_database(), studio.share_id)
    rebuild(rebuilt.storage)
    assert rebuilt.storage.get_file(image.project_id, image.id).tags == []
    rebuilt.close()


def test_an_imported_project_has_the_labels(storage: ProjectStorage, image: FilePublic, place: Path) -> None:
    update(storage, image, name="new", tags=["a"], rating=3)
    latent = storage.save_intermediate(image.project_id, FileKind.LATENT, "l", b"latent")
    update(storage, latent, tags=["b"])
    with (place / "archive.tar").open("w+b") as archive:
        export(storage, image.project_id, archive)
        archive.seek(0)
        copy = import_from(storage, archive).project.id
    labels = {(file.name, *file.tags, file.rating) for file in storage.get_project_files(copy).items}
    assert labels == {("new", "a", 3), ("l", "b", None)}
    assert len(storage.search_files("new", project_id=copy, tags=["a"]).items) == 1


def test_a_file_that_something_works_on_is_not_labelled(studio: Studio, image: FilePublic) -> None:
    """Let the owner of a change die: while its lease runs no other change begins."""
    storage, running = studio.storage, studio.dying(lease_s=3600)
    with pytest.raises(KeyboardInterrupt):
        running.update_file(image.project_id, image.id, FileUpdate(rating=1))
    with pytest.raises(InProgressError):
        update(storage, image, rating=2)
    with pytest.raises(InProgressError):
        studio.storage.save_metadata(image.project_id, image.id, {})
    assert studio.storage.get_file(image.project_id, image.id).rating is None
