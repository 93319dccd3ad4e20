# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in for ComfyUI made of prompts, filed under a project: all of it, once, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from noslop_backend.comfyui import ingest
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import InProgressError, InvalidRequestError, KeyReusedError, NotFoundError
from noslop_backend.maintenance import rebuild
from noslop_backend.models import IntentModel
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind
from sqlmodel import delete

from tests.backend.comfyui import IMAGE, WORKFLOW, StandIn, content, making, names, shown
from tests.backend.hostile import Server
from tests.backend.studio import Studio, png
from tests.backend.test_embedded import made


@pytest.fixture
def filer(studio: Studio, comfy: StandIn, server: Server) -> ProjectStorage:
    """A service of a studio with two hosts: alpha is the stand-in, beta answers as no ComfyUI would."""
    # A decoder on a busy host takes its time.
    return studio.another(comfyui_hosts=f"{comfy.hosts},{server.hosts}", decode_wall_s=3600.0)


def test_a_render_is_filed_with_its_workflow_prompt_and_parameters(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str
) -> None:
    prompt_id = comfy.run(IMAGE, WORKFLOW)
    report = ingest(filer, project, "alpha", prompt_id)
    assert (report.status, report.problem, report.left_out) == ("success", "", [])
    (image,) = report.files
    assert image.kind is FileKind.IMAGE
    assert content(filer, image) == comfy.view(image.name)
    assert image.parameters["comfyui"] == {
        "host": "alpha",
        "prompt_id": prompt_id,
        "node": "2",
        "class": "SaveImage",
        "output": "images",
        "type": "output",
        "subfolder": "",
        "filename": image.name,
    }
    assert image.parameters["sizes"] == [
        {"node": "1", "class": "EmptyImage", "width": 64, "height": 48, "batch_size": 1}
    ]
    assert image.parameters["media"] == {
        "decoded": True,
        "format": "PNG",
        "width": 64,
        "height": 48,
        "frames": 1,
    }
    assert report.workflow is not None
    assert report.prompt is not None
    assert json.loads(content(filer, report.workflow)) == WORKFLOW
    assert json.loads(content(filer, report.prompt)) == IMAGE
    assert report.prompt.parameters["comfyui"] == {"host": "alpha", "prompt_id": prompt_id, "status": "success"}
    sidecar = filer.load_metadata(project, image.id)
    assert sidecar["inputs"] == sorted([report.workflow.id, report.prompt.id])
    assert sidecar["parameters"] == image.parameters
    assert sidecar["embedded"]["prompt"] == IMAGE
    studio.check(project)


def test_every_kind_of_output_goes_where_it_belongs(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str
) -> None:
    graph = {
        **IMAGE,
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {"class_type": "SaveLatent", "inputs": {"samples": ["4", 0], "filename_prefix": "latents/kept"}},
        **making(
            {
                **shown("clip.mp4", key="gifs", subfolder="video"),
                **shown("tone.flac", key="audio"),
                **shown("shape.glb", "gone.png", "wrong.mp4", "broken.png", key="3d"),
                "text": ["words"],
                "animated": [False],
            },
            {
                "video/clip.mp4": made("mp4", "mpeg4", True),
                "tone.flac": made("flac", "flac", False),
                "shape.glb": b"glTF\2\0\0\0",
                # A name says what somebody hoped.
                "wrong.mp4": png(7),
                "broken.png": png(8)[:-30],
            },
        ),
    }
    report = ingest(filer, project, "alpha", comfy.run(graph))
    files = {file.name: file for file in report.files}
    kinds = {name.partition("_")[0]: str(file.kind) for name, file in files.items()}
    assert kinds == {
        "made": "image",
        "kept": "latent",
        "clip.mp4": "video",
        "tone.flac": "audio",
        "wrong.mp4": "image",
        "broken.png": "image",
        "shape.glb": "other",
    }
    assert files["clip.mp4"].parameters["media"]["codec"] == "mpeg4"
    assert files["tone.flac"].parameters["media"]["audio"]["sample_rate"] == 48_000
    assert files["wrong.mp4"].path.endswith(".png")
    # What cannot be decoded is filed all the same, and says so of itself.
    problem = filer.load_metadata(project, files["broken.png"].id)["parameters"]["media"]["problem"]
    assert problem.startswith("could not be decoded: ")
    # No user interface sent it, so there is no workflow.
    assert report.workflow is None
    assert report.prompt is not None
    assert [one["text"] for one in report.prompt.parameters["shown"]] == ["words"]
    left_out = {one.filename.partition("_")[0]: (one.why, one.again) for one in report.left_out}
    assert left_out.keys() == {"ComfyUI", "gone.png"}
    assert "preview" in left_out["ComfyUI"][0]
    # There is nothing to decode in it.
    assert "media" not in files["shape.glb"].parameters
    assert left_out["gone.png"] == ("it is not there any more (404)", False)
    stats = filer.get_storage_stats(project)
    counted = (stats.image_count, stats.video_count, stats.audio_count, stats.other_count, stats.intermediate_count)
    assert counted == (3, 1, 1, 1, 1)
    studio.check(project)


def test_the_same_prompt_twice_is_filed_once(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str
) -> None:
    graph = {
        **IMAGE,
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {"class_type": "SaveLatent", "inputs": {"samples": ["4", 0], "filename_prefix": "twice"}},
    }
    prompt_id = comfy.run(graph, WORKFLOW)
    first = ingest(filer, project, "alpha", prompt_id)
    assert len(first.files) == 2
    rows = len(studio.rows(project))
    # With another key too: the prompt is the same.
    assert ingest(filer, project, "alpha", prompt_id, key="another") == first
    with filer.database.write() as session:
        session.exec(delete(IntentModel))
    # Long after, when no key is known any more, and later versions of the workflow are there.
    filer.save_workflow(project, f"ComfyUI workflow {WORKFLOW['id']}", {**WORKFLOW, "nodes": []})
    assert ingest(filer, project, "alpha", prompt_id) == first
    assert len(studio.rows(project)) == rows + 2
    # Another project has files of its own.
    other = filer.create_project_structure(ProjectCreate(name="Another")).id
    elsewhere = ingest(filer, other, "alpha", prompt_id)
    assert [file.blake3 for file in elsewhere.files] == [file.blake3 for file in first.files]
    studio.check(project)
    studio.check(other)


def test_after_a_rebuild_it_is_known_what_is_filed(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str, new_database: Callable[[], str]
) -> None:
    prompt_id = comfy.run(IMAGE, WORKFLOW)
    first = ingest(filer, project, "alpha", prompt_id)
    fresh = Studio(studio.root, new_database(), studio.share_id)
    again = fresh.another(comfyui_hosts=comfy.hosts)
    rebuild.rebuild(again)
    assert ingest(again, project, "alpha", prompt_id) == first
    fresh.check(project)
    fresh.close()


def test_a_workflow_that_is_changed_gets_versions_and_each_prompt_stays_one(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str
) -> None:
    reports = [
        ingest(filer, project, "alpha", comfy.run(IMAGE, {**WORKFLOW, "links": [number]})) for number in (0, 1, 1)
    ]
    workflows = [report.workflow for report in reports if report.workflow]
    assert [file.version for file in workflows] == [1, 2, 2]
    assert workflows[1] == workflows[2]
    prompts = [report.prompt for report in reports if report.prompt]
    assert [file.version for file in prompts] == [1, 1, 1]
    assert len({file.document_id for file in prompts}) == 3
    studio.check(project)


def test_an_id_that_somebody_uses_twice_means_two_prompts(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str
) -> None:
    graphs = [making(shown(name), {name: png(number)}) for number, name in enumerate(("one.png", "two.png"))]
    own_id = str(uuid.uuid4())
    reports = [ingest(filer, project, "alpha", comfy.run(graph, prompt_id=own_id)) for graph in graphs]
    assert [names(report) for report in reports] == [["one.png"], ["two.png"]]
    for report, graph in zip(reports, graphs, strict=True):
        assert report.prompt is not None
        assert json.loads(content(filer, report.prompt)) == graph
        assert filer.load_metadata(project, report.files[0].id)["inputs"] == [report.prompt.id]
    studio.check(project)


def test_what_was_taken_away_since_is_told_or_filed_again(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str
) -> None:
    prompt_id = comfy.run(IMAGE, WORKFLOW)
    (image,) = ingest(filer, project, "alpha", prompt_id).files
    filer.trash(project, [image.id])
    (trashed,) = ingest(filer, project, "alpha", prompt_id).files
    assert (trashed.id, trashed.state) == (image.id, FileState.TRASHED)
    filer.purge(project, [image.id])
    (again,) = ingest(filer, project, "alpha", prompt_id).files
    assert again.id != image.id
    assert again.blake3 == image.blake3
    # All of it, within the time in which keys are known.
    everything = [row.id for row in studio.rows(project) if row.of_file_id is None]
    filer.trash(project, everything, force=True)
    filer.purge(project)
    anew = ingest(filer, project, "alpha", prompt_id)
    assert [file.state for file in anew.files] == [FileState.PRESENT]
    assert anew.workflow is not None
    assert filer.get_file(project, anew.workflow.id).state is FileState.PRESENT
    studio.check(project)


def test_a_prompt_that_failed_is_filed_with_why_and_what_came_of_it(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str
) -> None:
    graph = {**IMAGE, **making({}, fails="the GPU went away")}
    report = ingest(filer, project, "alpha", comfy.run(graph, WORKFLOW))
    assert report.status == "error"
    assert "the GPU went away" in report.problem
    assert len(report.files) == 1
    assert report.prompt is not None
    assert report.prompt.parameters["comfyui"]["problem"] == report.problem
    studio.check(project)


def test_what_has_not_ended_is_not_filed(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    running = comfy.send(making(shown("late.png"), {"late.png": png(1)}, gate))
    waiting = comfy.send(IMAGE)
    for prompt_id in (running, waiting):
        with pytest.raises(InProgressError, match="has not ended the prompt"):
            ingest(filer, project, "alpha", prompt_id)
    assert studio.rows(project) == []
    gate.write_bytes(b"")
    while not comfy.daemon.get(f"/history/{waiting}").json:
        pass
    assert names(ingest(filer, project, "alpha", running)) == ["late.png"]
    assert len(ingest(filer, project, "alpha", waiting).files) == 1
    studio.check(project)


def test_only_hosts_of_the_studio_by_name_and_prompts_by_id(
    studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str
) -> None:
    for host in ("gamma", "127.0.0.1", f"127.0.0.1:{comfy.daemon.port}", comfy.daemon.url, "", "alpha,beta"):
        with pytest.raises(NotFoundError, match="There are alpha, beta"):
            ingest(filer, project, host, "x")
    for prompt_id in ("", "../queue", "a/b", "a?b", "a b", "x" * 65, "ü", "a\n"):
        with pytest.raises(InvalidRequestError, match="no prompt's id"):
            ingest(filer, project, "alpha", prompt_id)
    with pytest.raises(NotFoundError, match="knows no prompt nothing"):
        ingest(filer, project, "alpha", "nothing")
    with pytest.raises(NotFoundError):
        ingest(filer, "no-such-00000000", "alpha", comfy.run(IMAGE))
    with pytest.raises(NotFoundError, match="The studio has none"):
        ingest(studio.another(), project, "alpha", "x")
    assert studio.rows(project) == []


def test_a_key_means_one_prompt(studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str) -> None:
    one, other = comfy.run(IMAGE), comfy.run(IMAGE)
    first = ingest(filer, project, "alpha", one, key="mine")
    assert ingest(filer, project, "alpha", one, key="mine") == first
    with pytest.raises(KeyReusedError):
        ingest(filer, project, "alpha", other, key="mine")
    assert filer.get_storage_stats(project).media_count == 1
    studio.check(project)


def test_two_at_once_file_it_once(studio: Studio, filer: ProjectStorage, comfy: StandIn, project: str) -> None:
    prompt_id = comfy.run(making(shown(*"abcd"), {name: png(number) for number, name in enumerate("abcd")}), WORKFLOW)
    barrier, ended = threading.Barrier(3), []

    def one() -> None:
        barrier.wait()
        try:
            ended.append(len(ingest(filer, project, "alpha", prompt_id).files))
        except InProgressError:
            ended.append(-1)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 3
    assert set(ended) <= {4, -1}
    assert names(ingest(filer, project, "alpha", prompt_id)) == ["a", "b", "c", "d"]
    assert filer.get_storage_stats(project).media_count == 4
    assert [row.version for row in studio.rows(project) if row.kind == FileKind.PROMPT] == [1]
    studio.check(project)
