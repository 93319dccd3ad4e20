# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Save metadata of a file later: its row, its newest sidecar, its references and the search agree about it.

A rebuild, an export and an import of such files: `filled.fill` has them.
"""

from __future__ import annotations

from typing import Any

import pytest
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.schemas import FilePublic
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind

from tests.backend.studio import Studio, png

ORIGIN = {"comfyui": {"host": "render1", "filename": "a_00001_.png"}, "media": {"decoded": True}}


@pytest.fixture
def latent(storage: ProjectStorage, project: str) -> FilePublic:
    return storage.save_intermediate(project, FileKind.LATENT, "noise", b"0123")


@pytest.fixture
def image(storage: ProjectStorage, project: str, latent: FilePublic) -> FilePublic:
    parameters = {**ORIGIN, "seed": 7, "texts": ["a fox"]}
    text = {"prompt": '{"1": {}}'}
    return storage.save_generated_media(project, "m", png(1, text), parameters=parameters, inputs=[latent.id])


def found(storage: ProjectStorage, **wanted: Any) -> list[str]:  # noqa: ANN401 - of the search
    return [file.id for file in storage.search_files(**wanted).items]


def test_the_row_the_sidecar_and_the_search_agree(
    studio: Studio, storage: ProjectStorage, image: FilePublic, latent: FilePublic
) -> None:
    project = image.project_id
    mask = storage.save_intermediate(project, FileKind.MASK, "mask", png(2))
    storage.save_metadata(project, image.id, {"seed": 8}, inputs=[mask.id])
    storage.save_metadata(project, image.id, {"note": "a raven", "seed": 9})
    metadata, row = storage.load_metadata(project, image.id), storage.get_file(project, image.id)
    assert row.parameters == metadata["parameters"] == {**ORIGIN, "note": "a raven", "seed": 9}
    assert metadata["inputs"] == sorted([latent.id, mask.id])
    assert metadata["embedded"] == {"prompt": {"1": {}}}
    assert {one.id for one in storage.get_inputs(project, image.id)} == {latent.id, mask.id}
    assert found(storage, query="raven") == found(storage, seed=9) == [image.id]
    assert found(storage, query="fox") == found(storage, seed=7) == []
    studio.check(project)


def test_what_the_backend_wrote_is_replaced_only_when_it_is_given(storage: ProjectStorage, image: FilePublic) -> None:
    storage.save_metadata(image.project_id, image.id, {"media": {}})
    assert storage.get_file(image.project_id, image.id).parameters == ORIGIN | {"media": {}}
    # Both are within the limit, and what would be written is not.
    storage.save_metadata(image.project_id, image.id, {"media": {"long": "x" * 600_000}})
    with pytest.raises(InvalidRequestError, match="at most 1048576"):
        storage.save_metadata(image.project_id, image.id, {"long": "x" * 600_000})


def test_a_final_has_the_newest_parameters_and_a_restored_file_keeps_them(
    studio: Studio, storage: ProjectStorage, image: FilePublic
) -> None:
    project, parameters = image.project_id, ORIGIN | {"seed": 8}
    storage.save_metadata(project, image.id, {"seed": 8})
    final = storage.promote_to_final(project, image.id)
    assert final.parameters == storage.load_metadata(project, final.id)["parameters"] == parameters
    storage.trash(project, [image.id], force=True)
    assert storage.load_metadata(project, image.id)["parameters"] == parameters
    storage.restore(project, [image.id])
    assert storage.get_file(project, image.id).parameters == parameters
    storage.save_metadata(project, image.id, {"seed": 9})
    assert storage.get_file(project, final.id).parameters == parameters
    studio.check(project)


def test_a_version_that_was_described_is_the_answer_to_the_same_save(storage: ProjectStorage, project: str) -> None:
    saved = storage.save_workflow(project, "w", {"n": 1}, parameters={"a": 1})
    storage.save_metadata(project, saved.id, {"a": 1, "note": "good"})
    assert storage.save_workflow(project, "w", {"n": 1}).version == 1
    assert storage.save_workflow(project, "w", {"n": 1}, parameters={"a": 1}).parameters == {"a": 1, "note": "good"}
    assert storage.save_workflow(project, "w", {"n": 1}, parameters={"a": 2}).version == 2


def test_a_save_that_was_killed_is_finished_in_the_row_as_well(
    studio: Studio, storage: ProjectStorage, image: FilePublic, latent: FilePublic
) -> None:
    project = image.project_id
    mask = storage.save_intermediate(project, FileKind.MASK, "mask", png(2))
    with pytest.raises(KeyboardInterrupt):
        studio.dying(lease_s=0).save_metadata(project, image.id, {"seed": 8, "from": mask.path}, key="k")
    storage.recover()
    assert storage.get_file(project, image.id).parameters == ORIGIN | {"seed": 8, "from": mask.path}
    assert {one.id for one in storage.get_inputs(project, image.id)} == {latent.id, mask.id}
    assert found(storage, seed=8) == [image.id]
    assert storage.save_metadata(project, image.id, {"seed": 8, "from": mask.path}, key="k").of_file_id == image.id
    studio.check(project)


def test_a_file_whose_sidecar_is_gone_gets_another_one(
    studio: Studio, storage: ProjectStorage, image: FilePublic
) -> None:
    sidecar = studio.root / image.project_id / f"{image.path}.meta.json"
    sidecar.unlink()
    storage.save_metadata(image.project_id, image.id, {"seed": 8})
    metadata = storage.load_metadata(image.project_id, image.id)
    assert (metadata["file"]["blake3"], metadata["parameters"]) == (image.blake3, ORIGIN | {"seed": 8})
    assert metadata["embedded"] == {"prompt": {"1": {}}}
