# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in for ComfyUI made of prompts, filed under a project: all of it, once, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from noslop_backend.errors import (
    ComfyAnswerError,
    ComfyUnavailableError,
    InProgressError,
    InvalidRequestError,
    KeyReusedError,
    NotFoundError,
    QuotaExceededError,
)
from noslop_backend.ingest import ingest
from noslop_backend.layout import FileKind
from noslop_backend.models import FilePublic, FileState, IngestReport, IntentModel, ProjectCreate, ProjectUpdate
from noslop_backend.storage import ProjectStorage
from sqlmodel import delete

from tests.backend.comfyui import IMAGE, StandIn, making, shown, standin
from tests.backend.hostile import PROMPT_ID, Handler, Server, giving, hostile
from tests.backend.studio import Studio, png
from tests.backend.test_embedded import made

WORKFLOW = {"id": "7f3a1c9e-0d5b-4a55-9a51-2f6f8f0f7d10", "nodes": [{"id": 1, "type": "EmptyImage"}], "links": []}


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with standin(tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture
def server() -> Iterator[Server]:
    with hostile() as made:
        yield made


@pytest.fixture
def filer(studio: Studio, comfy: StandIn, server: Server) -> ProjectStorage:
    """A service of a studio with two hosts: alpha is the stand-in, beta answers as no ComfyUI would."""
    # A decoder on a busy host takes its time.
    return studio.another(comfyui_hosts=f"{comfy.hosts},{server.hosts}", decode_wall_s=3600.0)


def names(report: IngestReport) -> list[str]:
    return [file.name for file in report.files]


def content(storage: ProjectStorage, file: FilePublic) -> bytes:
    with storage.open_file(file.project_id, file.id) as opened:
        return opened.stream.read()


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
    }
    assert files["clip.mp4"].parameters["media"]["codec"] == "mpeg4"
    assert files["tone.flac"].parameters["media"]["audio"]["sample_rate"] == 48_000
    assert files["wrong.mp4"].path.endswith(".png")
    # What cannot be decoded is filed all the same, and says so of itself.
    problem = filer.load_metadata(project, files["broken.png"].id)["parameters"]["media"]["problem"]
    assert problem.startswith("could not be decoded: ")
    # No user interface sent it, so there is no workflow.
    assert report.workflow is None
    left_out = {one.filename.partition("_")[0]: (one.why, one.again) for one in report.left_out}
    assert left_out.keys() == {"ComfyUI", "shape.glb", "gone.png"}
    assert "preview" in left_out["ComfyUI"][0]
    assert "no place for others" in left_out["shape.glb"][0]
    assert left_out["gone.png"] == ("it is not there any more (404)", False)
    stats = filer.get_storage_stats(project)
    assert (stats.image_count, stats.video_count, stats.audio_count, stats.intermediate_count) == (3, 1, 1, 1)
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


def test_what_others_wrote_is_data(studio: Studio, filer: ProjectStorage, server: Server, project: str) -> None:
    odd = ["../../../evil.png", "/etc/evil.png", "a\u2028b\0.png", "x" * 400 + ".png", "..", "CON.png", "\ud800.png"]
    server.has(
        {"1\0": {"im\0ages": [{"filename": name, "subfolder": "../\0..", "type": "output"} for name in odd]}},
        workflow={"id": "../\0\n", "note": "\ud800 half a pair"},
        graph={"1\0": {"class_type": "a\0", "inputs": {"text": "\ud800\0", "seed": 2**70}}},
    )
    for number, name in enumerate(odd):
        server.answers[name] = giving(png(number))
    report = ingest(filer, project, "beta", PROMPT_ID)
    assert len(report.files) == len(odd) - 1
    assert [one.why for one in report.left_out] == ["its name is no text that can be asked for"]
    assert report.workflow is not None
    assert json.loads(content(filer, report.workflow))["note"] == "\ud800 half a pair"
    assert ingest(filer, project, "beta", PROMPT_ID) == report
    evil = list(studio.root.parent.rglob("*evil*"))
    assert len(evil) == 4
    assert {path.parent for path in evil} == {studio.root / project / "generated" / "images"}
    studio.check(project)


def test_one_file_that_cannot_be_had_hinders_no_other(
    studio: Studio, filer: ProjectStorage, server: Server, project: str
) -> None:
    server.has({"1": shown("a.png", "b.png", "c.png", "d.png", "e.png")})
    with hostile() as elsewhere:
        there = f"http://127.0.0.1:{elsewhere.server_address[1]}/view?filename=d.png"
        elsewhere.answers["d.png"] = giving(png(4))
        server.answers |= {
            "a.png": giving(png(1)),
            "b.png": giving(png(2)[:30], Content_Length=str(len(png(2)))),
            "c.png": giving(b"", 500),
            "d.png": giving(b"", 302, Location=there),
            "e.png": giving(png(5)),
        }
        report = ingest(filer, project, "beta", PROMPT_ID)
        assert elsewhere.asked == []
    assert names(report) == ["a.png", "e.png"]
    assert [(one.filename, one.again) for one in report.left_out] == [
        ("b.png", True),
        ("c.png", True),
        ("d.png", False),
    ]
    studio.check(project)
    server.answers |= {"b.png": giving(png(2)), "c.png": giving(png(3))}
    again = ingest(filer, project, "beta", PROMPT_ID)
    assert names(again) == ["a.png", "b.png", "c.png", "e.png"]
    assert {file.id for file in report.files} < {file.id for file in again.files}
    studio.check(project)


def test_a_file_without_end_ends_at_what_one_file_may_have(studio: Studio, server: Server, project: str) -> None:
    def endless(handler: Handler) -> None:
        handler.give(b"", Content_Length="", Transfer_Encoding="chunked")
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(png(1)), png(1)))
        while True:
            handler.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")

    server.has({"1": shown("a.png", "b.png")})
    server.answers |= {"a.png": endless, "b.png": giving(png(2))}
    filer = studio.another(comfyui_hosts=server.hosts, ingest_file_bytes=10_000_000, decode_wall_s=3600.0)
    report = ingest(filer, project, "beta", PROMPT_ID)
    assert names(report) == ["b.png"]
    assert "larger than the 10000000 bytes" in report.left_out[0].why
    studio.check(project)


def test_no_room_is_said_and_what_is_filed_stays(
    studio: Studio, filer: ProjectStorage, server: Server, project: str
) -> None:
    server.has({"1": shown("a.png", "b.png")})
    server.answers |= {"a.png": giving(png(1)), "b.png": giving(png(2) + bytes(100_000))}
    filer.update_project_metadata(project, ProjectUpdate(quota_bytes=50_000))
    with pytest.raises(QuotaExceededError):
        ingest(filer, project, "beta", PROMPT_ID)
    assert filer.get_storage_stats(project).media_count == 1
    studio.check(project)
    filer.update_project_metadata(project, ProjectUpdate(quota_bytes=None))
    assert names(ingest(filer, project, "beta", PROMPT_ID)) == ["a.png", "b.png"]
    studio.check(project)


def test_a_host_that_goes_away_in_the_middle_is_asked_again_for_the_rest(
    studio: Studio, filer: ProjectStorage, server: Server, project: str
) -> None:
    def gone(handler: Handler) -> None:
        handler.close_connection = True

    server.has({"1": shown("a.png", "b.png")})
    server.answers |= {"a.png": giving(png(1)), "b.png": gone}
    with pytest.raises(ComfyUnavailableError, match="1 of 2 files are filed by now"):
        ingest(filer, project, "beta", PROMPT_ID)
    server.answers["b.png"] = giving(png(2))
    assert names(ingest(filer, project, "beta", PROMPT_ID)) == ["a.png", "b.png"]
    assert [path for path in server.asked if "a.png" in path] == ["/view?filename=a.png&subfolder=&type=output"]
    studio.check(project)


@pytest.mark.parametrize("answer", [[], {PROMPT_ID: []}, {PROMPT_ID: {"prompt": []}}, {PROMPT_ID: {"prompt": [1] * 5}}])
def test_a_history_that_is_none_is_refused(filer: ProjectStorage, server: Server, project: str, answer: object) -> None:
    server.answers[f"/history/{PROMPT_ID}"] = giving(json.dumps(answer).encode())
    with pytest.raises(ComfyAnswerError, match=f"answered to /history/{PROMPT_ID} cannot be used"):
        ingest(filer, project, "beta", PROMPT_ID)


def test_a_prompt_that_ends_just_now_is_found(
    studio: Studio, filer: ProjectStorage, server: Server, project: str
) -> None:
    def ends(handler: Handler) -> None:
        server.has({"1": shown("a.png")})
        handler.give(b'{"queue_running": [], "queue_pending": []}')

    server.answers |= {f"/history/{PROMPT_ID}": giving(b"{}"), "/queue": ends, "a.png": giving(png(1))}
    assert names(ingest(filer, project, "beta", PROMPT_ID)) == ["a.png"]
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


@pytest.mark.parametrize("at", [f"/history/{PROMPT_ID}", "b.png"])
def test_killed_in_the_middle_and_repeated_it_is_there_once(
    studio: Studio, server: Server, project: str, at: str, tmp_path: Path
) -> None:
    """The command line, killed while it waits for the other side, at which nothing comes any more."""
    reached, body = threading.Event(), png(2)

    def half(handler: Handler) -> None:
        handler.give(body[:30], Content_Length=str(len(body)))
        reached.set()
        handler.stand_still()

    server.has({"1": shown("a.png", "b.png", "c.png")}, WORKFLOW)
    server.answers |= {name: giving(png(number)) for number, name in enumerate(("a.png", "b.png", "c.png"), 1)}
    answers = dict(server.answers)
    server.answers[at] = half
    settings = studio.settings(comfyui_hosts=server.hosts)
    env = {
        **os.environ,
        "NOSLOP_STUDIO_ID": settings.studio_id,
        "NOSLOP_DATABASE_URL": settings.database_url,
        "NOSLOP_COMFYUI_HOSTS": server.hosts,
        "NOSLOP_LEASE_S": "0",
        "NOSLOP_ACCOUNT": "root",
        **{
            name.upper(): str(getattr(settings, name))
            for name in (
                *("project_storage_dir", "ollama_models_dir", "comfyui_models_dir"),
                *("comfyui_custom_nodes_dir", "media_cache_dir"),
            )
        },
    }
    command = [sys.executable, "-m", "noslop_backend.cli", "--env-file", str(tmp_path / "none"), "ingest"]
    with subprocess.Popen([*command, project, "beta", PROMPT_ID], env=env) as killed:
        reached.wait()
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    server.answers |= answers
    done = subprocess.run([*command, project, "beta", PROMPT_ID, "--json"], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["report"]
    assert [file["name"] for file in report["files"]] == ["a.png", "b.png", "c.png"]
    studio.storage.recover()
    assert studio.storage.get_storage_stats(project).media_count == 3
    kinds = sorted(row.kind for row in studio.rows(project) if row.kind in {FileKind.WORKFLOW, FileKind.PROMPT})
    assert kinds == [FileKind.PROMPT, FileKind.WORKFLOW]
    studio.check(project)
