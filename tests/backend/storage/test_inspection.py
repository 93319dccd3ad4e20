# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file whose texts could not be read in time is not saved without what it needs, unless its request says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from noslop_backend.api.problems import of_backend_error
from noslop_backend.core.errors import InspectionUnfinishedError, KeyReusedError
from noslop_backend.maintenance.inspection import inspect_files
from noslop_backend.maintenance.rebuild import rebuild
from noslop_backend.media import probe
from noslop_backend.media.probe import launcher
from noslop_backend.media.tags import LEFT_OUT
from noslop_backend.repositories import IntentRepository
from noslop_backend.schemas import FilePublic
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind

from tests.backend import samples
from tests.backend.filled import facts
from tests.backend.studio import Studio, png
from tests.backend.test_fields import EXPECTED, PROMPT


@pytest.fixture
def latent(storage: ProjectStorage, project: str) -> FilePublic:
    return storage.save_intermediate(project, FileKind.LATENT, "noise", b"0123")


@pytest.fixture
def content(latent: FilePublic) -> bytes:
    """Return a picture that names a latent."""
    return samples.png_text({"prompt": json.dumps({"1": {"inputs": {"latent": latent.path}}})})


@pytest.fixture
def overdue(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let the time of an inspection be over before its child can answer."""
    monkeypatch.setattr(probe, "INSPECTION", replace(probe.INSPECTION, wall_s=0))
    monkeypatch.setattr(launcher, "START_WALL_S", 0)
    return monkeypatch


def test_an_upload_that_could_not_be_read_is_refused_and_sent_again(
    studio: Studio, storage: ProjectStorage, latent: FilePublic, content: bytes, overdue: pytest.MonkeyPatch
) -> None:
    project, before = latent.project_id, studio.tree(latent.project_id)
    with pytest.raises(InspectionUnfinishedError, match="inspect=false") as refused:
        storage.save_generated_media(project, "m", content, key="k")
    answer = of_backend_error(refused.value)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert studio.tree(project) == before
    studio.check(project)
    overdue.undo()
    saved = storage.save_generated_media(project, "m", content, key="k")
    assert [one.id for one in storage.get_inputs(project, saved.id)] == [latent.id]
    assert storage.cleanup_intermediate(project).files_count == 0


@pytest.mark.usefixtures("overdue")
def test_an_upload_that_is_not_to_be_read_needs_its_inputs(
    studio: Studio, storage: ProjectStorage, latent: FilePublic, content: bytes
) -> None:
    project = latent.project_id
    saved = storage.save_generated_media(project, "m", content, inspect=False, inputs=[latent.id], key="k")
    assert (saved.facts, saved.fields) == (None, None)
    assert [one.id for one in storage.get_inputs(project, saved.id)] == [latent.id]
    with pytest.raises(KeyReusedError):
        storage.save_generated_media(project, "m", content, inputs=[latent.id], key="k")
    (left_out,) = storage.load_metadata(project, saved.id)["embedded_texts"]["left_out"]
    assert left_out["why"] == "it was not read: the request said inspect=false"
    # What is promoted needs nothing that its texts name.
    final = storage.promote_to_final(project, saved.id)
    (left_out,) = storage.load_metadata(project, final.id)["embedded"][LEFT_OUT]
    assert "did not end within 0 s" in left_out["why"]
    # A picture without texts is not asked for any.
    assert storage.save_generated_media(project, "plain", png(1)).facts is not None
    studio.check(project)


def test_a_ticket_whose_file_could_not_be_read_stays(
    studio: Studio, storage: ProjectStorage, latent: FilePublic, content: bytes, overdue: pytest.MonkeyPatch
) -> None:
    project = latent.project_id
    ticket, unread = (
        storage.reserve_adoption(project, FileKind.IMAGE, "m", len(content), inspect=inspect)
        for inspect in (True, False)
    )
    for each in (ticket, unread):
        Path(each.staging_path).write_bytes(content)
    with pytest.raises(InspectionUnfinishedError):
        storage.adopt(project, ticket.ticket_id)
    assert storage.get_inputs(project, storage.adopt(project, unread.ticket_id).id) == []
    overdue.undo()
    adopted = storage.adopt(project, ticket.ticket_id)
    assert [one.id for one in storage.get_inputs(project, adopted.id)] == [latent.id]
    studio.check(project)


@pytest.mark.parametrize("is_planned", [True, False])
def test_recovery_writes_a_sidecar_that_vanished(
    studio: Studio, storage: ProjectStorage, latent: FilePublic, content: bytes, is_planned: bool
) -> None:
    project = latent.project_id
    with pytest.raises(KeyboardInterrupt):
        studio.dying(lease_s=0).save_generated_media(project, "m", content, key="k")
    (intent,) = studio.open_intents()
    sidecar = studio.root / project / intent.plan["rows"][1]["path"]
    before = sidecar.read_bytes()
    sidecar.unlink()
    if not is_planned:
        # As a version planned it that wrote the texts themselves into sidecars.
        del intent.plan["file"]["embedded_texts"], intent.plan["file"]["references"]
        with storage.database.write() as session:
            IntentRepository(session).update(intent.id, intent.owner, plan=intent.plan)
    storage.recover()
    assert sidecar.read_bytes() == before
    saved = storage.save_generated_media(project, "m", content, key="k")
    assert [one.id for one in storage.get_inputs(project, saved.id)] == [latent.id]
    studio.check(project)


def test_files_that_were_saved_unread_are_inspected_later(
    studio: Studio, storage: ProjectStorage, latent: FilePublic, content: bytes, new_database: Callable[[], str]
) -> None:
    project, texts = latent.project_id, {"prompt": json.dumps(PROMPT)}
    image = storage.save_generated_media(project, "m", content, inspect=False, parameters={"a": 1})
    noise = storage.save_intermediate(project, FileKind.LATENT, "l", samples.latent(texts), inspect=False)
    final = storage.promote_to_final(project, image.id)
    gone = storage.save_generated_media(project, "gone", content, inspect=False)
    (studio.root / project / gone.path).rename(studio.root.parent / "gone")
    report = inspect_files(storage, project)
    # The final was inspected when it was made, and the first latent says nothing.
    assert (report.inspected_count, report.recorded_count) == (4, 2)
    assert list(report.failed) == [f"{project}/{gone.path}"]
    (studio.root.parent / "gone").rename(studio.root / project / gone.path)
    assert inspect_files(storage).recorded_count == 1
    row = storage.get_file(project, image.id)
    assert (row.facts, row.parameters) == (final.facts, {"a": 1})
    assert [one.id for one in storage.get_inputs(project, image.id)] == [latent.id]
    assert storage.load_metadata(project, image.id)["embedded"]["prompt"] == {"1": {"inputs": {"latent": latent.path}}}
    assert storage.get_file(project, noise.id).fields == EXPECTED
    assert [file.id for file in storage.search_files("cat").items] == [noise.id]
    # A second run has nothing to do.
    before = studio.tree(project)
    assert inspect_files(storage).recorded_count == 0
    assert studio.tree(project) == before
    studio.check(project)
    fresh = Studio(studio.root, new_database(), studio.share_id)
    rebuild(fresh.storage)
    assert facts(fresh, project, rebuilt=True) == facts(studio, project, rebuilt=True)
    fresh.close()
