# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that workflows and prompts keep their versions under another name, here and in what is made of the share."""

from __future__ import annotations

from pathlib import Path

import pytest
from noslop_backend.archive.exporting import export
from noslop_backend.archive.importing import import_from
from noslop_backend.core.errors import ConflictError, InvalidRequestError, NotFoundError
from noslop_backend.maintenance.rebuild import rebuild
from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind

from tests.backend.studio import Studio, make_sqlite

WORKFLOW, PROMPT = FileKind.WORKFLOW, FileKind.PROMPT


def rename(storage: ProjectStorage, project: str, old: str, new: str) -> str:
    """Rename a workflow; returns its id."""
    document_id = storage.load_workflow(project, old).document.id
    return storage.rename_document(project, WORKFLOW, document_id, new).id


def names(storage: ProjectStorage, project: str) -> dict[str, int]:
    """Return the last version of each workflow, by its name."""
    return {each.name: each.last_version for each in storage.list_documents(project, WORKFLOW).items}


def test_a_renamed_workflow_keeps_its_id_and_its_versions(studio: Studio, project: str) -> None:
    storage = studio.storage
    first = storage.save_workflow(project, "Portrait", {"n": 1})
    assert rename(storage, project, "portrait", "  Head  shot ") == first.document_id
    assert storage.save_workflow(project, "head SHOT", {"n": 1}) == first
    second = storage.save_workflow(project, "Head shot", {"n": 2})
    assert (second.version, second.name, storage.get_file(project, first.id).name) == (2, "Head shot", "Portrait")
    assert {file.id for file in storage.search_files('"head shot"').items} == {first.id, second.id}
    # The old name is free for another one.
    assert storage.save_workflow(project, "Portrait", {"n": 3}).version == 1
    studio.check(project)


def test_a_name_that_another_workflow_has_is_refused(studio: Studio, project: str) -> None:
    storage = studio.storage
    one = storage.save_workflow(project, "one", {}).document_id
    storage.save_workflow(project, "Two", {})
    storage.save_prompt(project, "three", "x")
    assert one is not None
    with pytest.raises(ConflictError, match=r"Another workflow of .* is called 'Two'. Take another name"):
        storage.rename_document(project, WORKFLOW, one, "two")
    for wrong in ("", " ", "x" * 201, "\n"):
        with pytest.raises(InvalidRequestError):
            storage.rename_document(project, WORKFLOW, one, wrong)
    with pytest.raises(NotFoundError):
        storage.rename_document(project, PROMPT, one, "x")
    revision = storage.get_project(project).revision
    assert storage.rename_document(project, WORKFLOW, one, "one").name == "one"
    assert storage.get_project(project).revision == revision
    # Only the case changes.
    assert storage.rename_document(project, WORKFLOW, one, "ONE", key="k").name == "ONE"
    assert storage.rename_document(project, WORKFLOW, one, "Three", key="l").name == "Three"
    assert storage.rename_document(project, WORKFLOW, one, "ONE", key="k").name == "ONE"
    assert names(storage, project) == {"Three": 1, "Two": 1}


def test_names_survive_a_rebuild_and_an_archive(studio: Studio, project: str, tmp_path: Path) -> None:
    storage = studio.storage
    for number in (1, 2):
        storage.save_workflow(project, "a", {"n": number})
    rename(storage, project, "a", "b")
    storage.save_workflow(project, "a", {"n": 3})
    storage.save_workflow(project, "c", {"n": 4})
    rename(storage, project, "c", "d")
    storage.save_workflow(project, "d", {"n": 5})
    storage.save_workflow(project, "c", {"n": 6})
    expected = {"b": 2, "a": 1, "d": 2, "c": 1}
    assert names(storage, project) == expected
    rebuilt = Studio(studio.root, f"sqlite:///{make_sqlite(tmp_path / 'rebuilt.sqlite3')}", studio.share_id)
    rebuild(rebuilt.storage)
    assert names(rebuilt.storage, project) == expected
    assert {file.version for file in rebuilt.storage.search_files("b").items} == {1, 2}
    rebuilt.close()
    with (tmp_path / "project.tar").open("w+b") as archive:
        export(storage, project, archive)
        archive.seek(0)
        copy = import_from(storage, archive).project.id
    assert names(storage, copy) == expected
    assert {file.version for file in storage.search_files("b", project_id=copy).items} == {1, 2}
    studio.check(copy)


def test_a_restored_database_learns_the_new_name(studio: Studio, project: str, tmp_path: Path) -> None:
    storage = studio.storage
    for name in ("a", "b"):
        storage.save_workflow(project, name, {"n": 1})
    older = Studio(studio.root, f"sqlite:///{make_sqlite(tmp_path / 'older.sqlite3')}", studio.share_id)
    rebuild(older.storage)
    for name in ("a", "b"):
        rename(storage, project, name, name * 2)
    storage.save_workflow(project, "bb", {"n": 2})
    saved = older.storage.save_workflow(project, "aa", {"n": 3})
    assert (saved.version, names(older.storage, project)) == (2, {"aa": 2, "bb": 2})
    for _ in range(3):
        reconcile(older.storage, apply=True, apart_s=0)
    assert older.storage.load_workflow(project, "bb").data == {"n": 2}
    older.close()
