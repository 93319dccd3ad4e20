# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects, workflows and prompts."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from noslop_backend.core.enums import ProjectState, ProjectStatus
from noslop_backend.core.errors import (
    ConflictError,
    InvalidRequestError,
    KeyReusedError,
    NotFoundError,
    QuotaExceededError,
    RevisionConflictError,
)
from noslop_backend.models import ProjectModel
from noslop_backend.repositories import ProjectRepository
from noslop_backend.schemas import ProjectCreate, ProjectUpdate
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from sqlalchemy import update
from sqlmodel import select

from tests.backend.attacks import hostile_names
from tests.backend.studio import Studio, png


def test_a_new_project_has_the_layout_and_nothing_else(studio: Studio) -> None:
    made = studio.storage.create_project_structure(
        ProjectCreate(name="Größer: ../Film", description="d", settings={"fps": 24}, quota_bytes=1000)
    )
    top = studio.root / made.id
    found = {str(path.relative_to(top)) for path in top.rglob("*")}
    assert found == {*layout.DIRECTORIES, layout.METADATA}
    known = json.loads((top / "metadata.json").read_text())["project"]
    assert (known["id"], known["name"], known["settings"]) == (made.id, "Größer: ../Film", {"fps": 24})
    assert (known["quota_bytes"], known["status"], known["revision"]) == (1000, "active", 1)
    assert made.state == ProjectState.PRESENT
    assert studio.storage.get_project(made.id) == made
    with studio.storage.database.read() as session:
        assert ProjectRepository(session).get_folder_path(made.id, studio.root) == top
    assert studio.open_intents() == []


def test_two_projects_of_one_name_are_two(storage: ProjectStorage) -> None:
    one, two = (storage.create_project_structure(ProjectCreate(name="Film")) for _ in range(2))
    assert one.id != two.id
    assert [project.id for project in storage.list_projects().items] == [one.id, two.id]


def test_a_key_makes_one_project(studio: Studio) -> None:
    create = ProjectCreate(name="Film")
    one = studio.storage.create_project_structure(create, key="k")
    assert studio.another().create_project_structure(create, key="k") == one
    with pytest.raises(KeyReusedError):
        studio.storage.create_project_structure(ProjectCreate(name="Other"), key="k")
    assert [path.name for path in studio.root.iterdir() if path.is_dir()] == [one.id]


def test_settings_give_a_new_project_its_limits(studio: Studio) -> None:
    storage = studio.another(project_quota_bytes=5, intermediate_days=3, trash_days=9)
    made = storage.create_project_structure(ProjectCreate(name="a"))
    assert (made.quota_bytes, made.intermediate_days, made.trash_days) == (5, 3, 9)
    other = storage.create_project_structure(ProjectCreate(name="b", quota_bytes=None, trash_days=1))
    assert (other.quota_bytes, other.intermediate_days, other.trash_days) == (None, 3, 1)


def test_an_update_changes_what_it_names(studio: Studio, project: str) -> None:
    done = studio.storage.update_project_metadata(
        project, ProjectUpdate(name="New", status=ProjectStatus.DONE, quota_bytes=7), expected_revision=1
    )
    assert (done.name, done.status, done.quota_bytes, done.revision, done.description) == ("New", "done", 7, 2, "")
    known = json.loads((studio.root / project / "metadata.json").read_text())["project"]
    assert (known["name"], known["status"], known["revision"]) == ("New", "done", 2)
    assert studio.storage.update_project_metadata(project, ProjectUpdate(quota_bytes=None)).quota_bytes is None
    with pytest.raises(RevisionConflictError):
        studio.storage.update_project_metadata(project, ProjectUpdate(name="Late"), expected_revision=2)
    assert studio.storage.get_project(project).name == "New"


def test_projects_come_in_pages(storage: ProjectStorage) -> None:
    made = [storage.create_project_structure(ProjectCreate(name=f"p{number}")).id for number in range(5)]
    seen, cursor = [], None
    while True:
        page = storage.list_projects(cursor=cursor, limit=2)
        seen += [project.id for project in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == made
    newest = storage.list_projects(newest_first=True, limit=2)
    older = storage.list_projects(newest_first=True, cursor=newest.next_cursor)
    assert [project.id for page in (newest, older) for project in page.items] == made[::-1]
    for broken in ("x", "", "W10=", "é"):
        with pytest.raises(InvalidRequestError):
            storage.list_projects(cursor=broken)
    for limit in (0, -1, 1001):
        with pytest.raises(InvalidRequestError):
            storage.list_projects(limit=limit)


def test_a_project_goes_to_the_trash_comes_back_and_goes_for_good(studio: Studio, project: str) -> None:
    storage = studio.storage
    file = storage.save_generated_media(project, "a", png())
    with pytest.raises(ConflictError):
        storage.purge_project(project)
    assert storage.trash_project(project).state == ProjectState.TRASHED
    with pytest.raises(NotFoundError):
        storage.save_workflow(project, "w", {})
    assert storage.list_projects().items == []
    assert [one.id for one in storage.list_projects(state=ProjectState.TRASHED).items] == [project]
    assert storage.restore_project(project).trashed_at is None
    assert storage.get_file(project, file.id) == file
    studio.check(project)
    storage.trash_project(project)
    used = storage.get_project(project).used_bytes
    report = storage.purge_project(project)
    assert (report.files_count, report.freed_bytes) == (1, used)
    assert not (studio.root / project).exists()
    with pytest.raises(NotFoundError):
        storage.get_project(project)
    assert storage.get_store_stats().used_bytes == 0


def test_versions_count_up_and_each_loads_as_it_was_saved(studio: Studio, project: str) -> None:
    storage = studio.storage
    texts = [b'{"a": 1}', b'{ "a":1 }', '{"a":"\u00e9", "n": NaN}'.encode()]
    for number, text in enumerate(texts, 1):
        saved = storage.save_workflow(project, "Portrait", text)
        assert (saved.version, saved.kind) == (number, FileKind.WORKFLOW)
    for number, text in enumerate(texts, 1):
        assert storage.load_workflow(project, "Portrait", version=number).content == text
    latest = storage.load_workflow(project, "Portrait")
    assert (latest.content, latest.file.version, latest.document.versions_count) == (texts[-1], 3, 3)
    assert storage.load_workflow(project, document_id=latest.document.id, version=1).content == texts[0]
    assert storage.get_project(project).workflows_count == 1
    assert len(storage.get_project_files(project, document_id=latest.document.id).items) == 3
    studio.check(project)


def test_content_that_is_the_latest_is_answered_with_it(studio: Studio, project: str) -> None:
    storage = studio.storage
    one = storage.save_workflow(project, "w", {"a": 1}, key="1")
    assert storage.save_workflow(project, "w", {"a": 1}, key="2") == one
    assert storage.save_workflow(project, "w", {"a": 1}) == one
    assert storage.save_workflow(project, "w", {"a": 2}).version == 2
    assert storage.save_workflow(project, "w", {"a": 1}).version == 3
    assert storage.save_workflow(project, "w", {"a": 1}, key="2") == one
    studio.check(project)


def test_names_that_are_one_to_a_person_are_one_workflow(studio: Studio, project: str) -> None:
    storage = studio.storage
    names = ["Caf\u00e9 noir", " Cafe\u0301  noir ", "CAF\u00c9\u00a0NOIR", "caf\u00e9 noir"]
    for number, name in enumerate(names, 1):
        saved = storage.save_workflow(project, name, {"n": number})
        assert (saved.version, saved.name) == (number, "Caf\u00e9 noir")
    assert len({storage.load_workflow(project, name).document.id for name in names}) == 1
    assert storage.save_workflow(project, "Cafe noir", {}).version == 1
    made = storage.create_project_structure(ProjectCreate(name="  e\u0301  x "))
    assert (made.name, storage.save_generated_media(project, " a  b ", png()).name) == ("\u00e9 x", "a b")
    studio.check(project)


def test_prompts_are_text_or_json(studio: Studio, project: str) -> None:
    storage = studio.storage
    assert storage.save_prompt(project, "p", "a cat\n").path.endswith(".txt")
    assert storage.save_prompt(project, "p", {"positive": "a cat"}).version == 2
    assert storage.load_prompt(project, "p", version=1).content == b"a cat\n"
    assert storage.load_prompt(project, "p").data == {"positive": "a cat"}
    assert storage.get_project(project).workflows_count == 0
    assert [one.name for one in storage.list_documents(project, FileKind.PROMPT).items] == ["p"]
    assert storage.list_documents(project, FileKind.WORKFLOW).items == []
    with pytest.raises(InvalidRequestError):
        storage.list_documents(project, FileKind.IMAGE)
    studio.check(project)


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b"{", b"\xff{}", b"[" * 100_000, b'"x"'])
def test_what_is_no_workflow_is_refused(studio: Studio, project: str, content: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        studio.storage.save_workflow(project, "w", content)
    studio.check(project)
    assert studio.storage.list_documents(project, FileKind.WORKFLOW).items == []


def test_what_is_too_large_or_not_text_is_refused(studio: Studio, project: str) -> None:
    with pytest.raises(InvalidRequestError):
        studio.another(max_document_bytes=10).save_workflow(project, "w", {"a": "x" * 10})
    for content in (b"\xff", "\ud800"):
        with pytest.raises(InvalidRequestError):
            studio.storage.save_prompt(project, "p", content)
    with pytest.raises(InvalidRequestError):
        studio.storage.save_workflow(project, "w", {"a": {1, 2}})


def test_documents_that_are_not_there(storage: ProjectStorage, project: str) -> None:
    storage.save_workflow(project, "w", {})
    document = storage.load_workflow(project, "w").document
    calls: list[Callable[[], object]] = [
        lambda: storage.load_workflow(project, "ww"),
        lambda: storage.load_workflow(project, "w", version=2),
        lambda: storage.load_workflow(project, "w", version=0),
        lambda: storage.load_prompt(project, "w"),
        lambda: storage.load_prompt(project, document_id=document.id),
        lambda: storage.load_workflow(project, "x\0"),
        lambda: storage.load_workflow("nothing-00000000", "w"),
    ]
    for call in calls:
        with pytest.raises(NotFoundError):
            call()
    for name, document_id in ((None, None), ("w", document.id)):
        with pytest.raises(InvalidRequestError):
            storage.load_workflow(project, name, document_id=document_id)


def test_published_files_cannot_be_written(studio: Studio, project: str) -> None:
    storage = studio.storage
    storage.save_workflow(project, "w", {})
    storage.save_prompt(project, "p", "x")
    storage.promote_to_final(project, storage.save_generated_media(project, "m", png()).id)
    storage.save_intermediate(project, FileKind.MASK, "i", b"x")
    for path in studio.tree(project):
        mode = stat.S_IMODE((studio.root / project / path).stat().st_mode)
        assert mode == 0o444, path


def test_hostile_names_are_data_everywhere(studio: Studio) -> None:
    """Each name makes a project, a workflow and a medium, or is refused; all stay where they belong."""
    storage = studio.storage
    before = {path.name for path in studio.root.parent.iterdir() if path.is_dir()}
    kept = storage.create_project_structure(ProjectCreate(name="kept")).id
    for number, name in enumerate(hostile_names()[::24]):
        if layout.title_problem(name):
            with pytest.raises(InvalidRequestError):
                storage.save_workflow(kept, name, {})
            continue
        saved = storage.save_workflow(kept, name, {"n": number})
        assert storage.load_workflow(kept, name).content == (studio.root / kept / saved.path).read_bytes()
        assert storage.get_file(kept, saved.id).name == layout.normalize_title(name)
    assert {path.name for path in studio.root.parent.iterdir() if path.is_dir()} == before
    assert {path.name for path in studio.root.iterdir()} == {kept, ".noslop-share"}
    studio.check(kept)


def test_hostile_ids_lead_nowhere(studio: Studio, project: str) -> None:
    storage = studio.storage
    media = storage.save_generated_media(project, "m", png()).id
    quick: list[Callable[[str], object]] = [
        storage.get_project,
        storage.get_project_files,
        lambda name: storage.get_file(project, name),
        lambda name: storage.open_file(project, name),
        lambda name: storage.get_file(name, media),
        lambda name: storage.load_workflow(name, "w"),
        lambda name: storage.load_workflow(project, document_id=name),
        storage.get_storage_stats,
    ]
    slow: list[Callable[[str], object]] = [
        lambda name: storage.save_workflow(name, "w", {}),
        lambda name: storage.save_workflow(project, "w", {}, inputs=[name]),
        lambda name: storage.save_generated_media(name, "m", png()),
        lambda name: storage.save_metadata(project, name, {}),
        lambda name: storage.promote_to_final(project, name),
        storage.cleanup_intermediate,
        lambda name: storage.trash(project, [name]),
        lambda name: storage.restore(project, [name]),
        lambda name: storage.purge(project, [name]),
        lambda name: storage.adopt(project, name),
        lambda name: storage.adopt(name, "0" * 32),
        lambda name: storage.renew_adoption(project, name),
        lambda name: storage.release_adoption(project, name),
        lambda name: storage.reserve_adoption(name, None, "m", 1),
        storage.trash_project,
        storage.restore_project,
        storage.purge_project,
        lambda name: storage.update_project_metadata(name, ProjectUpdate(name="x")),
    ]
    for calls, names in ((quick, hostile_names()[::3]), (slow, hostile_names()[::40])):
        for call, name in itertools.product(calls, names):
            with pytest.raises((NotFoundError, InvalidRequestError)):
                call(name)
    studio.check(project)


def test_a_quota_says_what_is_used_asked_and_free(studio: Studio, project: str) -> None:
    storage = studio.storage
    storage.save_workflow(project, "w", {"a": 1})
    used = storage.get_project(project).used_bytes
    storage.update_project_metadata(project, ProjectUpdate(quota_bytes=used + 10))
    with pytest.raises(QuotaExceededError) as refused:
        storage.save_generated_media(project, "m", png())
    error = refused.value
    assert (error.scope, error.used_bytes, error.asked_bytes, error.free_bytes) == ("project", used, len(png()), 10)
    storage.set_store_quota(used + 5)
    storage.update_project_metadata(project, ProjectUpdate(quota_bytes=None))
    with pytest.raises(QuotaExceededError) as refused:
        storage.save_generated_media(project, "m", png())
    assert (refused.value.scope, refused.value.free_bytes) == ("store", 5)
    studio.check(project)


def test_a_quota_can_be_used_to_its_last_byte(studio: Studio, project: str) -> None:
    storage = studio.storage
    first = storage.save_generated_media(project, "m", png(1))
    cost = storage.get_project(project).used_bytes
    storage.update_project_metadata(project, ProjectUpdate(quota_bytes=2 * cost))
    assert storage.save_generated_media(project, "m", png(2)).size_bytes == first.size_bytes
    stats = storage.get_storage_stats(project)
    assert (stats.used_bytes, stats.free_bytes, stats.reserved_bytes) == (2 * cost, 0, 0)
    with pytest.raises(QuotaExceededError):
        storage.save_intermediate(project, FileKind.MASK, "x", b"x")
    studio.check(project)


def test_counters_that_drifted_are_found_and_repaired(studio: Studio, project: str) -> None:
    storage = studio.storage
    storage.save_workflow(project, "w", {})
    storage.save_generated_media(project, "m", png())
    right = storage.get_project(project)
    assert studio.drift(project) == []
    with storage.database.write() as session:
        session.exec(update(ProjectModel).values(used_bytes=1, media_count=9, workflows_count=0))
    assert any("used_bytes" in line for line in studio.drift(project))
    assert storage.get_project(project) == right
    with storage.database.read() as session:
        assert session.exec(select(ProjectModel)).one().storage_size_mb == right.used_bytes / 1024 / 1024


def test_numbers_and_nesting_that_nothing_can_hold_are_refused(studio: Studio, project: str) -> None:
    storage = studio.storage
    storage.save_workflow(project, "w", {})
    storage.save_intermediate(project, FileKind.MASK, "m", b"x")
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"a": deep}
    with pytest.raises(NotFoundError):
        storage.load_workflow(project, "w", version=2**70)
    calls: list[Callable[[], object]] = [
        lambda: storage.save_generated_media(project, "m", iter([png()]), length=2**62),
        lambda: storage.reserve_adoption(project, None, "m", 2**63),
        lambda: storage.set_store_quota(2**63),
        lambda: storage.set_store_quota(-1),
        lambda: storage.cleanup_intermediate(project, older_than=timedelta.max),
        lambda: storage.purge(project, older_than=timedelta(seconds=-1)),
        lambda: storage.save_generated_media(project, "m", png(), parameters=deep),
        lambda: storage.save_generated_media(project, "m", png(), parameters={"a": float("nan")}),
        lambda: storage.save_generated_media(project, "m", png(), parameters={"a": "\ud800"}),
        lambda: storage.save_generated_media(project, "m", png(), inputs=["0" * 13] * 10_001),
    ]
    for call in calls:
        with pytest.raises(InvalidRequestError):
            call()
    text = json.dumps(deep)
    assert storage.save_workflow(project, "deep", text.encode()).version == 1
    embedded = {"deep": text, "huge": "[1e999]", "nan": "[NaN]"}
    saved = storage.save_generated_media(project, "m", png(1, embedded))
    assert storage.load_metadata(project, saved.id)["embedded"] == embedded
    studio.check(project)


def test_a_text_may_mention_any_number_of_files(studio: Studio, project: str) -> None:
    storage = studio.storage
    mask = storage.save_intermediate(project, FileKind.MASK, "m", b"x")
    names = [f"x-{layout.encode_id(number.to_bytes(8, 'big'))}.png" for number in range(70_000)]
    storage.save_workflow(project, "w", {"names": [*names, mask.path]})
    assert storage.cleanup_intermediate(project).kept_referenced_count == 1
    studio.check(project)


def test_archived_project_refuses_writes_until_it_is_active_again(storage: ProjectStorage, project: str) -> None:
    image = storage.save_generated_media(project, "m", png())
    storage.save_intermediate(project, FileKind.MASK, "i", b"mask")
    storage.update_project_metadata(project, ProjectUpdate(status=ProjectStatus.ARCHIVED))
    for write in (
        lambda: storage.save_generated_media(project, "n", png(1)),
        lambda: storage.save_workflow(project, "w", {}),
        lambda: storage.reserve_adoption(project, None, "t", 10),
        lambda: storage.promote_to_final(project, image.id),
        lambda: storage.trash(project, [image.id]),
    ):
        with pytest.raises(ConflictError, match="archived and accepts no writes"):
            write()
    # Its retention goes on.
    assert storage.cleanup_intermediate(project).files_count == 1
    storage.update_project_metadata(project, ProjectUpdate(status=ProjectStatus.ACTIVE))
    storage.trash(project, [image.id])
