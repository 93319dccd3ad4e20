# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do on the share without the backend is found, and nothing is believed too early."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import ConfirmationNeededError, NotFoundError, ShareUnavailableError
from noslop_backend.maintenance.reconcile import HANDFUL, ReconcileReport, reconcile
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

from tests.backend.filled import Filled, facts, fill
from tests.backend.studio import STUDIO, Studio, png, write_marker


def look(studio: Studio, *, apply: bool = True, yes_really: bool = False) -> ReconcileReport:
    return reconcile(studio.storage, apply=apply, apart_s=0, yes_really=yes_really)


def twice(studio: Studio) -> ReconcileReport:
    """Two runs, the second of which believes."""
    first = look(studio)
    assert {name for name in first.counts if name not in {"left", "stranger", "altered"}} == set()
    return look(studio)


def outcomes(report: ReconcileReport) -> dict[str, str]:
    return {finding.path: finding.outcome for finding in report.findings}


def state_of(studio: Studio, filled: Filled) -> dict[str, object]:
    """Everything that a run may change."""
    return facts(studio, filled.project_id)


def sound(studio: Studio, filled: Filled) -> None:
    assert studio.drift(filled.project_id) == []


@pytest.fixture
def filled(studio: Studio) -> Filled:
    return fill(studio.storage)


@pytest.fixture
def many(studio: Studio, filled: Filled) -> list[str]:
    """Paths of so many files that a few that go are no fifth."""
    return [
        studio.storage.save_intermediate(filled.project_id, FileKind.MASK, f"m{number}", b"%d" % number).path
        for number in range(30)
    ]


def test_nothing_new_is_nothing(studio: Studio, filled: Filled) -> None:
    before = state_of(studio, filled)
    report = twice(studio)
    assert (report.counts, report.waiting_count) == ({}, 0)
    assert report.files_count == len(studio.rows(filled.project_id))
    assert state_of(studio, filled) == before


def test_a_file_that_went_is_missing_and_comes_back_by_itself(studio: Studio, filled: Filled) -> None:
    before = state_of(studio, filled)
    path = studio.root / filled.project_id / filled.workflow.path
    away = path.rename(studio.root.parent / "away")
    assert look(studio).waiting_count == 1
    assert state_of(studio, filled)["files"] == before["files"]
    assert outcomes(look(studio)) == {filled.workflow.path: "missing"}
    gone = studio.storage.get_file(filled.project_id, filled.workflow.id)
    assert (gone.state, gone.charged_bytes) == (FileState.MISSING, 0)
    assert studio.storage.load_workflow(filled.project_id, "Fluß").file.version == 2
    sound(studio, filled)
    away.rename(path)
    assert outcomes(twice(studio)) == {filled.workflow.path: "back"}
    after = state_of(studio, filled)
    # A content that was away is another one to those that shared it.
    for each in (before, after):
        del each["files"][filled.workflow.id]["content_id"]  # type: ignore[index]  # a dict by its name
    assert after == before
    sound(studio, filled)


def test_a_final_pays_when_its_source_went(studio: Studio, filled: Filled, many: list[str]) -> None:
    path = studio.root / filled.project_id / filled.image.path
    away = path.rename(studio.root.parent / "away")
    assert outcomes(twice(studio)) == {filled.image.path: "missing"}
    final = studio.storage.get_file(filled.project_id, filled.final.id)
    assert final.charged_bytes == final.size_bytes
    sound(studio, filled)
    # The very file that the final pays for costs nothing; another one with the same content does.
    os.link(studio.root / filled.project_id / final.path, path)
    assert outcomes(twice(studio)) == {filled.image.path: "back"}
    assert studio.storage.get_file(filled.project_id, filled.image.id).charged_bytes == 0
    sound(studio, filled)
    path.unlink()
    twice(studio)
    shutil.copy2(away, path)
    assert outcomes(twice(studio)) == {filled.image.path: "back"}
    assert studio.storage.get_file(filled.project_id, filled.image.id).charged_bytes == final.size_bytes
    sound(studio, filled)
    assert len(many) == 30


def test_a_changed_file_is_marked_and_counted_anew(studio: Studio, filled: Filled) -> None:
    path = studio.root / filled.project_id / filled.workflow.path
    original = path.read_bytes()
    used = studio.storage.get_project(filled.project_id).used_bytes
    path.chmod(0o644)
    path.write_bytes(original + b"\n\n\n")
    assert outcomes(twice(studio)) == {filled.workflow.path: "altered"}
    row = studio.storage.get_file(filled.project_id, filled.workflow.id)
    assert (row.size_bytes, row.blake3) == (len(original) + 3, blake3(original + b"\n\n\n").hexdigest())
    assert studio.storage.get_project(filled.project_id).used_bytes == used + 3
    sound(studio, filled)
    # The mark stays as long as the content is another than was saved.
    assert outcomes(look(studio)) == {filled.workflow.path: "altered"}
    assert outcomes(look(studio, apply=False)) == {filled.workflow.path: "altered"}
    path.write_bytes(original)
    twice(studio)
    assert look(studio).counts == {}
    assert studio.storage.get_file(filled.project_id, filled.workflow.id).blake3 == filled.workflow.blake3
    sound(studio, filled)


def test_a_touched_file_is_the_same(studio: Studio, filled: Filled) -> None:
    os.utime(studio.root / filled.project_id / filled.workflow.path, ns=(1, 1))
    assert outcomes(twice(studio)) == {filled.workflow.path: "touched"}
    assert look(studio).counts == {}
    assert studio.storage.get_file(filled.project_id, filled.workflow.id).blake3 == filled.workflow.blake3


def test_files_that_are_carried_in_with_their_sidecars_are_taken_in(
    studio: Studio, filled: Filled, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """A whole project's files, put by hand into an empty one of the same id in another studio."""
    directory = tmp_path / "other"
    directory.mkdir()
    (directory / "projects").mkdir()
    other = Studio(directory / "projects", new_database(), write_marker(directory / "projects"))
    home = fill(other.storage, "Home")
    top = other.root / home.project_id
    for path, body in studio.tree(filled.project_id).items():
        if path != layout.METADATA and not path.startswith(".trash"):
            (top / path).write_bytes(body)
    report = twice(other)
    taken = {path for path, outcome in outcomes(report).items() if outcome == "taken_in"}
    left = {path for path, outcome in outcomes(report).items() if outcome == "left"}
    # There is a workflow and a prompt of these names already; intermediates have nothing that tells of them.
    assert taken == {
        path
        for path in studio.tree(filled.project_id)
        if path.startswith(("generated/", "final/")) and not path.startswith(".trash")
    }
    assert {path.split("/")[0] for path in left} == {"intermediate", "workflows", "prompts"}
    assert other.storage.get_file(home.project_id, filled.image.id).name == "Eine Katze"
    assert other.storage.load_metadata(home.project_id, filled.image.id)["parameters"] == {"rating": 4}
    sound(other, home)
    assert look(other).counts == {"left": len(left)}
    other.close()


def test_what_came_without_a_sidecar_is_left(studio: Studio, filled: Filled) -> None:
    top = studio.root / filled.project_id
    (top / "generated/images/holiday.png").write_bytes(png(9))
    nameless = layout.path(FileKind.IMAGE, "x", ProjectStorage.new_id(), "png")
    (top / nameless).write_bytes(png(8))
    (top / "generated/images/secret").symlink_to("/etc/passwd")
    (top / "final/deeper").mkdir()
    (top / "strange").mkdir()
    (top / "generated/images/.nfs0001").write_bytes(b"x")
    (top / ".staging/abc").write_bytes(b"x")
    before, tree = state_of(studio, filled), studio.tree(filled.project_id)
    report = twice(studio)
    assert outcomes(report) == {
        "generated/images/holiday.png": "left",
        nameless: "left",
        "generated/images/secret": "stranger",
        "final/deeper": "stranger",
        "strange": "stranger",
    }
    assert (state_of(studio, filled), studio.tree(filled.project_id)) == (before, tree)


def test_a_lost_row_is_made_again(studio: Studio, filled: Filled, many: list[str]) -> None:
    """What a restored older database does not know."""
    moved = studio.storage.save_generated_media(filled.project_id, "Later", png(77), inputs=[filled.image.id])
    copy = {path: body for path, body in studio.tree(filled.project_id).items() if moved.id in path}
    studio.storage.trash(filled.project_id, [moved.id])
    studio.storage.purge(filled.project_id, [moved.id])
    for path, body in copy.items():
        (studio.root / filled.project_id / path).write_bytes(body)
    assert outcomes(twice(studio)) == dict.fromkeys(copy, "taken_in")
    again = studio.storage.get_file(filled.project_id, moved.id)
    assert (again.name, again.blake3, again.charged_bytes) == (moved.name, moved.blake3, moved.charged_bytes)
    sound(studio, filled)
    assert len(many) == 30


def test_a_file_that_does_not_fit_its_sidecar_is_left(studio: Studio, filled: Filled) -> None:
    moved = studio.storage.save_generated_media(filled.project_id, "Later", png(77))
    copy = {path: body for path, body in studio.tree(filled.project_id).items() if moved.id in path}
    studio.storage.trash(filled.project_id, [moved.id])
    studio.storage.purge(filled.project_id, [moved.id])
    for path, body in copy.items():
        content = body if path.endswith(".json") else body[:-1] + bytes([body[-1] ^ 1])
        (studio.root / filled.project_id / path).write_bytes(content)
    assert set(outcomes(twice(studio)).values()) == {"left"}
    with pytest.raises(NotFoundError):
        studio.storage.get_file(filled.project_id, moved.id)


def test_a_dry_run_counts_as_a_look_and_changes_nothing(studio: Studio, filled: Filled, many: list[str]) -> None:
    (studio.root / filled.project_id / many[0]).unlink()
    before = state_of(studio, filled)
    assert look(studio, apply=False).waiting_count == 1
    second = look(studio, apply=False)
    assert outcomes(second) == {many[0]: "missing"}
    assert {**state_of(studio, filled), "tree": 0} == {**before, "tree": 0}
    assert outcomes(look(studio)) == {many[0]: "missing"}
    sound(studio, filled)


def test_two_looks_have_to_lie_apart(studio: Studio, filled: Filled, many: list[str]) -> None:
    (studio.root / filled.project_id / many[0]).unlink()
    for _ in range(3):
        assert reconcile(studio.storage, apply=True, apart_s=3600).waiting_count == 1
    assert outcomes(reconcile(studio.storage, apply=True, apart_s=0)) == {many[0]: "missing"}
    sound(studio, filled)


def test_what_is_there_again_was_never_away(studio: Studio, filled: Filled, many: list[str]) -> None:
    path = studio.root / filled.project_id / many[0]
    away = path.rename(studio.root.parent / "away")
    look(studio)
    away.rename(path)
    assert look(studio).waiting_count == 0
    path.rename(away)
    assert look(studio).counts == {}
    sound(studio, filled)


def test_a_file_that_goes_on_changing_is_not_believed(studio: Studio, filled: Filled) -> None:
    path = studio.root / filled.project_id / filled.workflow.path
    for number in range(4):
        os.utime(path, ns=(number, number))
        assert look(studio).counts == {}
    assert look(studio).counts == {"touched": 1}


@pytest.mark.parametrize("away", ["marker", "unmounted", "another"])
def test_a_share_that_is_away_is_no_empty_one(studio: Studio, filled: Filled, away: str) -> None:
    look(studio)
    before = state_of(studio, filled)
    if away == "marker":
        (studio.root / ".noslop-share").unlink()
    elif away == "another":
        write_marker(studio.root)
    else:
        studio.root.rename(studio.root.with_name("real"))
        studio.root.mkdir()
    with pytest.raises(ShareUnavailableError):
        look(studio, yes_really=True)
    if away == "unmounted":
        studio.root.rmdir()
        studio.root.with_name("real").rename(studio.root)
    write_marker(studio.root, STUDIO, share_id=studio.share_id)
    assert state_of(studio, filled) == before
    assert look(studio).counts == {}


def test_a_directory_that_cannot_be_listed_stops_the_run(studio: Studio, filled: Filled) -> None:
    images = studio.root / filled.project_id / "generated/images"
    images.rename(images.with_name("elsewhere"))
    images.symlink_to("elsewhere")
    before = {row.id: row.state for row in studio.rows(filled.project_id)}
    for _ in range(2):
        with pytest.raises(Exception, match="generated/images"):
            look(studio, yes_really=True)
    assert {row.id: row.state for row in studio.rows(filled.project_id)} == before


def test_a_fifth_that_went_is_asked_about(studio: Studio, filled: Filled, many: list[str]) -> None:
    top = studio.root / filled.project_id
    for path in many[: HANDFUL + 8]:
        (top / path).unlink()
    dry = look(studio, apply=False)
    assert dry.would_ask == [filled.project_id]
    for _ in range(2):
        with pytest.raises(ConfirmationNeededError) as caught:
            look(studio)
        assert caught.value.details["went_count"] == HANDFUL + 8
    assert all(row.state != FileState.MISSING for row in studio.rows(filled.project_id))
    assert look(studio, yes_really=True).counts == {"missing": HANDFUL + 8}
    assert len([row for row in studio.rows(filled.project_id) if row.state == FileState.MISSING]) == HANDFUL + 8
    sound(studio, filled)


def test_a_whole_project_that_went_is_asked_about(studio: Studio, filled: Filled) -> None:
    shutil.rmtree(studio.root / filled.project_id)
    for _ in range(2):
        with pytest.raises(ConfirmationNeededError):
            look(studio)
    look(studio, yes_really=True)
    assert {row.state for row in studio.rows(filled.project_id)} == {FileState.MISSING}
    assert studio.storage.get_project(filled.project_id).used_bytes == 0
    sound(studio, filled)


def test_a_file_moved_into_the_trash_by_hand_is_in_the_trash(studio: Studio, filled: Filled, many: list[str]) -> None:
    top = studio.root / filled.project_id
    (top / ".trash/intermediate/masks").mkdir(parents=True)
    (top / many[0]).rename(top / ".trash" / many[0])
    look(studio)
    assert outcomes(look(studio)) == {many[0]: "missing", f".trash/{many[0]}": "left"}
    assert outcomes(twice(studio)) == {f".trash/{many[0]}": "back"}
    row = next(row for row in studio.rows(filled.project_id) if row.path == many[0])
    assert row.state == FileState.TRASHED
    sound(studio, filled)
    studio.storage.restore(filled.project_id, [row.id])
    studio.check(filled.project_id)
