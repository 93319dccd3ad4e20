# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A share that is newer than its database, as after an older copy of it was restored: nothing acknowledged is lost."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from noslop_backend.api.paths import PREFIX
from noslop_backend.core.enums import ProjectState
from noslop_backend.core.errors import NotFoundError, RevisionConflictError
from noslop_backend.maintenance import generation
from noslop_backend.maintenance.rebuild import ProjectRebuilder, rebuild
from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.repositories import JobRepository
from noslop_backend.schemas import FileUpdate, ProjectCreate, ProjectUpdate
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout

from tests.backend.api.serving import serving
from tests.backend.studio import Studio, make_studio, png
from tests.backend.test_cli import commands_of


class Past:
    """A studio whose database can be brought back to an earlier moment. SQLite: copying it is what a restore does."""

    def __init__(self, studio: Studio, path: Path) -> None:
        self.studio = studio
        self.path = path
        self.copy = path.with_name("copy")

    def save(self) -> None:
        """Keep the database as it is now."""
        self.studio.storage.database.close()
        with self.studio.storage.database.read() as session:
            session.connection().exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self.studio.storage.database.close()
        shutil.copyfile(self.path, self.copy)

    def restore(self) -> ProjectStorage:
        """Bring that database back; gives a service of a process that starts now."""
        for service in self.studio.opened:
            service.close()
        self.studio.opened.clear()
        for ending in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        shutil.copyfile(self.copy, self.path)
        return self.studio.storage


@pytest.fixture
def past(sqlite_template: Path, place: Path) -> Iterator[Past]:
    path = place / "backend.sqlite3"
    shutil.copyfile(sqlite_template, path)
    studio = make_studio(place, f"sqlite:///{path}")
    yield Past(studio, path)
    studio.close()


@pytest.fixture
def film(past: Past) -> str:
    return past.studio.storage.create_project_structure(ProjectCreate(name="A film")).id


def save(storage: ProjectStorage, project: str, name: str, seed: int) -> int | None:
    return storage.save_workflow(project, name, {"seed": seed}).version


def trash_version(storage: ProjectStorage, project: str) -> None:
    storage.trash(project, [storage.load_workflow(project, "w").file.id])


def purge_version(storage: ProjectStorage, project: str) -> None:
    trash_version(storage, project)
    storage.purge(project)


@pytest.mark.parametrize(
    "then",
    [lambda _storage, _project: None, trash_version, purge_version],
    ids=["on the share", "in the trash", "purged"],
)
@pytest.mark.parametrize("saved_before", [0, 1], ids=["made since", "there before"])
def test_a_number_that_was_acknowledged_is_never_given_again(
    past: Past, film: str, then: Callable[[ProjectStorage, str], None], saved_before: int
) -> None:
    storage = past.studio.storage
    for number in range(saved_before):
        save(storage, film, "w", number)
    past.save()
    last = save(storage, film, "w", 7)
    then(storage, film)
    restored = past.restore()
    assert save(restored, film, "w", 9) == (last or 0) + 1
    assert save(restored, film, "w", 10) == (last or 0) + 2
    for _ in range(2):
        reconcile(restored, apply=True, apart_s=0)
    past.studio.check(film)


def test_prompts_are_numbered_as_workflows_are(past: Past, film: str) -> None:
    past.save()
    past.studio.storage.save_prompt(film, "p", "a cat")
    restored = past.restore()
    assert restored.save_prompt(film, "p", "a dog").version == 2


def test_a_sidecar_that_was_acknowledged_is_not_in_the_way_of_the_next(past: Past, film: str) -> None:
    image = past.studio.storage.save_generated_media(film, "A picture", png(1))
    past.save()
    storage = past.studio.storage
    storage.update_file(film, image.id, FileUpdate(name="The storm", tags=["hero"]))
    kept = storage.save_metadata(film, image.id, {"rating": 4})
    restored = past.restore()
    before = past.studio.tree(film)
    newest = restored.save_metadata(film, image.id, {"rating": 5})
    assert (kept.path, newest.path) == (f"{image.path}.meta.0003.json", f"{image.path}.meta.0004.json")
    # What was saved since the copy of the database was made is in the row, and in the newest sidecar.
    row = restored.get_file(film, image.id)
    assert (row.name, row.tags, row.parameters) == ("The storm", ["hero"], {"rating": 5})
    assert restored.load_metadata(film, image.id)["tags"] == ["hero"]
    assert before.items() <= past.studio.tree(film).items()
    assert restored.load_metadata(film, image.id)["parameters"] == {"rating": 5}


def test_two_backends_at_once_give_no_number_twice(past: Past, film: str) -> None:
    save(past.studio.storage, film, "w", 1)
    past.save()
    save(past.studio.storage, film, "w", 2)
    past.restore()
    services = [past.studio.another() for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda seed: save(services[seed % 2], film, "w", 100 + seed), range(8)))
    assert sorted(number or 0 for number in numbers) == list(range(3, 11))


def test_a_newer_metadata_json_is_read_before_it_is_written_over(past: Past, film: str) -> None:
    past.save()
    storage = past.studio.storage
    storage.update_project_metadata(film, ProjectUpdate(name="A longer film", quota_bytes=10_000_000))
    newest = storage.update_project_metadata(film, ProjectUpdate(description="Two hours"))
    restored = past.restore()
    with pytest.raises(RevisionConflictError):
        restored.update_project_metadata(film, ProjectUpdate(description="x"), expected_revision=1)
    project = restored.update_project_metadata(film, ProjectUpdate(settings={"fps": 24}))
    assert (project.name, project.quota_bytes, project.description) == ("A longer film", 10_000_000, "Two hours")
    assert project.revision == newest.revision + 1
    on_share = json.loads((past.studio.root / film / layout.METADATA).read_bytes())["project"]
    assert (on_share["name"], on_share["revision"]) == ("A longer film", project.revision)


def test_a_project_that_was_put_away_takes_no_writes_after_a_restore(past: Past, film: str) -> None:
    past.save()
    past.studio.storage.trash_project(film)
    restored = past.restore()
    with pytest.raises(NotFoundError):
        restored.save_generated_media(film, "A picture", png(1))
    assert restored.get_project(film).state == ProjectState.TRASHED


@pytest.mark.parametrize("number", [999_999_999, 0])
def test_numbers_that_nobody_can_have_been_given_are_passed_over(past: Past, film: str, number: int) -> None:
    save(past.studio.storage, film, "w", 1)
    (path,) = (past.studio.root / film / "workflows").glob("*.json.meta.json")
    forged = json.loads(path.read_bytes())
    forged["file"]["id"] = "0" * 13
    name = f"w_v{number:04d}-{'0' * 13}.json"
    path.with_name(name).write_text("{}")
    path.with_name(f"{name}.meta.json").write_text(json.dumps(forged))
    assert save(past.studio.another(), film, "w", 2) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"noslop": 2}'], ids=repr)
def test_a_damaged_metadata_json_keeps_no_write_from_being_done(past: Past, film: str, content: bytes) -> None:
    path = past.studio.root / film / layout.METADATA
    path.unlink()
    path.write_bytes(content)
    assert save(past.studio.another(), film, "w", 1) == 1


def reconcile_twice(studio: Studio, *, adopt: bool = False) -> list[tuple[str, str]]:
    """Reconcile until what is on the share has its rows; gives every path with what became of it."""
    outcomes = []
    for _ in range(2):
        report = reconcile(studio.storage, apply=True, apart_s=0, adopt_projects=adopt)
        outcomes += [(each.path, each.outcome) for each in report.findings]
    return outcomes


def test_a_restore_is_noticed_and_reported_until_the_share_is_taken_in(past: Past, film: str) -> None:
    storage = past.studio.storage
    assert generation.advance(storage) == ""
    past.save()
    assert generation.advance(storage) == ""
    image = storage.save_generated_media(film, "A picture", png(1))
    made_since = storage.create_project_structure(ProjectCreate(name="Since")).id
    mask = storage.save_generated_media(made_since, "Another", png(2))
    restored = past.restore()
    assert "older than the share" in generation.advance(restored)
    # It stays so, whoever starts.
    assert "older than the share" in generation.advance(past.studio.another())
    with restored.database.read() as session:
        assert "older than the share" in JobRepository(session).questions()[0]
    assert (made_since, "unregistered") in reconcile_twice(past.studio)
    with restored.database.read() as session:
        assert JobRepository(session).behind()
    assert (made_since, "adopted") in reconcile_twice(past.studio, adopt=True)
    with restored.database.read() as session:
        assert JobRepository(session).behind() == ""
    assert generation.advance(restored) == ""
    assert restored.get_file(film, image.id).blake3 == image.blake3
    assert restored.get_file(made_since, mask.id).blake3 == mask.blake3
    for each in (film, made_since):
        past.studio.check(each)


def test_health_and_commands_report_a_restore_with_the_command_for_it(past: Past, film: str, tmp_path: Path) -> None:
    commands = commands_of(past.studio, tmp_path / "backend.env")
    assert commands.json("recover")["behind"] is None
    past.save()
    commands.json("recover")
    (past.studio.root / film).rename(past.studio.root / "My film")
    restored = past.restore()
    for words in (["recover"], ["reconcile"], ["stats"]):
        assert "reconcile --adopt-projects --apply" in commands.run(*words)[0]
    assert "renamed" in commands.run("reconcile")[0]
    assert "mv -nT" in commands.run("reconcile")[0]
    with serving(restored) as served:
        health = served.anybody.get(f"{PREFIX}/health").json()
        assert "reconcile --adopt-projects --apply" in health["behind"]
        assert (health["status"], served.anybody.get(f"{PREFIX}/health/ready").status_code) == ("ok", 200)
        (past.studio.root / "My film").rename(past.studio.root / film)
        commands.json("reconcile", "--apply", "--apart-s", "0")
        assert commands.json("reconcile")["behind"] is None
        assert "behind" not in served.anybody.get(f"{PREFIX}/health").json()


def test_a_database_without_projects_is_noticed_on_a_share_that_has_some(past: Past) -> None:
    past.save()
    past.studio.storage.create_project_structure(ProjectCreate(name="A film"))
    generation.advance(past.studio.storage)
    fresh = past.restore()
    assert "rebuild" in generation.advance(fresh)
    rebuild(fresh)
    assert generation.advance(fresh) == ""


def test_a_new_studio_is_not_behind(past: Past) -> None:
    assert [generation.advance(past.studio.another()) for _ in range(3)] == ["", "", ""]


def test_backends_that_start_at_once_are_not_behind(past: Past, film: str) -> None:
    services = [past.studio.another() for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda number: generation.advance(services[number % 2]), range(24))) == {""}
    assert generation.advance(past.studio.storage) == ""
    assert past.studio.storage.get_project(film).id == film


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"generation": -1}', '{"generation": 1e99}', '{"generation": "x"}']
)
def test_a_generation_that_cannot_be_read_says_nothing(past: Past, film: str, content: str) -> None:
    generation.advance(past.studio.storage)
    path = past.studio.root / ".generation/generation.json"
    path.write_text(content)
    assert generation.advance(past.studio.storage) == ""
    assert json.loads(path.read_text())["generation"] == 2
    assert past.studio.storage.get_project(film).id == film


def test_a_link_in_place_of_the_generation_is_not_followed(past: Past) -> None:
    generation.advance(past.studio.storage)
    path = past.studio.root / ".generation/generation.json"
    outside = past.studio.root.parent / "outside"
    outside.write_text("kept")
    path.unlink()
    path.symlink_to(outside)
    generation.advance(past.studio.storage)
    assert outside.read_text() == "kept"
    assert not path.is_symlink()
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(past.studio.root.parent)
    assert generation.advance(past.studio.storage) == ""
    assert not (past.studio.root.parent / path.name).exists()


def test_an_adoption_that_was_killed_is_begun_anew(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.save()
    made_since = past.studio.storage.create_project_structure(ProjectCreate(name="Since")).id
    save(past.studio.storage, made_since, "w", 1)
    restored = past.restore()

    class KilledError(BaseException):
        pass

    def die(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(ProjectRebuilder, "_finish", die)
        with pytest.raises(KilledError):
            reconcile(restored, adopt_projects=True, apart_s=0)
    assert restored.list_projects().items == []
    assert (made_since, "adopted") in reconcile_twice(past.studio, adopt=True)
    past.studio.check(made_since)


def test_what_is_at_the_top_is_named_with_what_puts_it_right(past: Past, film: str) -> None:
    root, storage = past.studio.root, past.studio.storage
    other = storage.create_project_structure(ProjectCreate(name="Other")).id
    gone = storage.create_project_structure(ProjectCreate(name="Gone")).id
    (root / film).rename(root / "My film")
    shutil.copytree(root / other, root / "Other (copy)")
    (root / gone).rename(root.parent / "gone")
    (root / "notes.txt").write_text("x")
    (root / "link").symlink_to("/etc")
    (root / "folder").mkdir()
    (root / "folder" / layout.METADATA).symlink_to(root / other / layout.METADATA)
    (root / ".DS_Store").write_text("x")
    report = reconcile(storage, apart_s=0)
    top = {each.path: (each.outcome, each.note) for each in report.findings if not each.project_id}
    assert {name: outcome for name, (outcome, _) in top.items()} == {
        "My film": "renamed",
        "Other (copy)": "copy",
        gone: "vanished",
        "notes.txt": "stranger",
        "link": "stranger",
        "folder": "stranger",
    }
    command = top["My film"][1].partition("back: ")[2]
    subprocess.run(shlex.split(command), check=True)
    assert (root / film / layout.METADATA).is_file()
    for name, kind in (("notes.txt", "a file"), ("link", "a link"), ("folder", "a folder")):
        assert top[name][1].startswith(kind)
    again = reconcile(storage, apart_s=0)
    assert "My film" not in {each.path for each in again.findings}


def test_a_dry_run_names_what_is_newer_on_the_share_and_changes_nothing(past: Past, film: str) -> None:
    past.save()
    past.studio.storage.update_project_metadata(film, ProjectUpdate(name="A longer film"))
    save(past.studio.storage, film, "w", 1)
    restored = past.restore()
    report = reconcile(restored, apart_s=0)
    assert [each.outcome for each in report.findings] == ["ahead", "ahead"]
    assert restored.get_project(film).name == "A film"
    assert {each.path.partition("/")[0] for each in report.waiting} == {"workflows"}
    assert len(report.waiting) == report.waiting_count == 2
    report = reconcile(restored, apply=True, apart_s=0)
    assert "caught_up" in report.counts
    assert restored.get_project(film).name == "A longer film"


def test_a_share_that_is_as_its_database_changes_no_row(past: Past, film: str) -> None:
    save(past.studio.storage, film, "w", 1)
    before = past.studio.storage.get_project(film)
    again = past.studio.another()
    assert save(again, film, "w", 1) == 1
    assert again.get_project(film) == before
