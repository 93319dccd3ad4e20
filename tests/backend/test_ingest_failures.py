# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ingest from a server that answers as no ComfyUI would, and from a process that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from noslop_backend.comfyui import ingest
from noslop_backend.core.database import clock
from noslop_backend.core.errors import ComfyAnswerError, ComfyUnavailableError, QuotaExceededError
from noslop_backend.models import IntentModel
from noslop_backend.schemas import ProjectUpdate
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind
from sqlalchemy import update

from tests.backend.comfyui import WORKFLOW, content, names, shown
from tests.backend.hostile import PROMPT_ID, Handler, Server, giving, hostile
from tests.backend.studio import Studio, png


@pytest.fixture
def filer(studio: Studio, server: Server) -> ProjectStorage:
    """A service of a studio whose one host, beta, is that server."""
    # A decoder on a busy host takes its time.
    return studio.another(comfyui_hosts=server.hosts, decode_wall_s=3600.0)


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


def test_killed_in_the_middle_and_repeated_it_is_there_once(
    studio: Studio, server: Server, project: str, tmp_path: Path
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
    server.answers["b.png"] = half
    settings = studio.settings(comfyui_hosts=server.hosts)
    env = {
        **os.environ,
        "NOSLOP_STUDIO_ID": settings.studio_id,
        "NOSLOP_DATABASE_URL": settings.database_url,
        "NOSLOP_COMFYUI_HOSTS": server.hosts,
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
        while not reached.wait(0.1):
            assert killed.poll() is None
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    # Its lease runs out.
    with studio.storage.database.write() as session:
        session.exec(update(IntentModel).values(lease_expires_at=clock(session)))
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
