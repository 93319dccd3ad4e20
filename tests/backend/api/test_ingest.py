# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ingest over HTTP, from the stand-in for ComfyUI and from what is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from noslop_backend.api.paths import PREFIX

from tests.backend.api.hanging import hanging
from tests.backend.api.serving import Served, limits_for_tests, serving
from tests.backend.comfyui import IMAGE, StandIn, shown
from tests.backend.hostile import PROMPT_ID, Handler, Server, giving, hostile
from tests.backend.studio import Studio, png


@pytest.fixture
def served(studio: Studio, comfy: StandIn, server: Server) -> Iterator[Served]:
    storage = studio.another(comfyui_hosts=f"{comfy.hosts},{server.hosts}", decode_wall_s=3600.0)
    with serving(storage, limits_for_tests(ingests=1, disk_limit_s=30)) as running:
        yield running
    for project in storage.list_projects().items:
        studio.check(project.id)


def asked(
    served: Served,
    project_id: str,
    host: str,
    prompt_id: str,
    *,
    client: httpx.Client | None = None,
    key: str | None = None,
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return (client or served.writer).post(
        f"{PREFIX}/projects/{project_id}/ingest", json={"host": host, "prompt_id": prompt_id}, headers=headers
    )


def test_a_prompt_is_filed_and_its_files_are_served(served: Served, comfy: StandIn, project_id: str) -> None:
    prompt_id = comfy.run(IMAGE, {"nodes": []})
    answer = asked(served, project_id, "alpha", prompt_id, key="one")
    assert answer.status_code == 200, answer.text
    report = answer.json()
    (image,) = report["files"]
    assert (image["kind"], image["size_bytes"]) == ("image", len(comfy.view(image["name"])))
    got = served.reader.get(f"{PREFIX}/projects/{project_id}/files/{image['id']}/content")
    assert got.content == comfy.view(image["name"])
    prompt = report["prompt"]
    loaded = served.reader.get(f"{PREFIX}/projects/{project_id}/prompts/{prompt['document_id']}/content")
    assert loaded.json() == IMAGE
    # Again, with the key, without one, and with the key for another prompt.
    assert asked(served, project_id, "alpha", prompt_id, key="one").json() == report
    assert asked(served, project_id, "alpha", prompt_id).json() == report
    other = asked(served, project_id, "alpha", comfy.run(IMAGE), key="one")
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")


def test_who_only_reads_files_nothing(served: Served, comfy: StandIn, project_id: str) -> None:
    prompt_id = comfy.run(IMAGE)
    assert asked(served, project_id, "alpha", prompt_id, client=served.reader).status_code == 403
    assert asked(served, project_id, "alpha", prompt_id, client=served.anybody).status_code == 401


def test_what_goes_wrong_has_a_status_of_its_own(served: Served, server: Server, project_id: str) -> None:
    def problem(host: str, prompt_id: str = PROMPT_ID, project: str = project_id) -> tuple[int, Any]:
        answer = asked(served, project, host, prompt_id)
        return answer.status_code, answer.json()["code"]

    unknown = asked(served, project_id, "gamma", PROMPT_ID)
    assert (unknown.status_code, unknown.json()["hosts"]) == (404, ["alpha", "beta"])
    assert problem("127.0.0.1") == (404, "not_found")
    assert problem("http://127.0.0.1/") == (422, "invalid_request")
    assert problem("alpha", "../queue") == (422, "invalid_request")
    assert problem("alpha", "nothing") == (404, "not_found")
    assert problem("alpha", "nothing", "no-such-00000000") == (404, "not_found")
    with hostile() as elsewhere:
        elsewhere.answers["/"] = giving(b"{}")
        there = f"http://127.0.0.1:{elsewhere.server_address[1]}/"
        server.answers[f"/history/{PROMPT_ID}"] = giving(b"", 302, Location=there)
        assert problem("beta") == (502, "comfyui_answer")
        assert elsewhere.asked == []
    server.answers[f"/history/{PROMPT_ID}"] = giving(b"{", Content_Length="9")
    away = asked(served, project_id, "beta", PROMPT_ID)
    assert (away.status_code, away.json()["code"]) == (503, "comfyui_unavailable")
    assert away.headers["Retry-After"]
    server.answers |= {
        f"/history/{PROMPT_ID}": giving(b"{}"),
        "/queue": giving(f'{{"queue_running": [[1, "{PROMPT_ID}"]], "queue_pending": []}}'.encode()),
    }
    assert problem("beta") == (409, "in_progress")


def test_a_share_that_hangs_is_said_in_time_and_what_is_filed_stays(
    served: Served, studio: Studio, server: Server, project_id: str
) -> None:
    pool = served.state.disk
    with ExitStack() as until:

        def while_it_hangs(handler: Handler) -> None:
            until.enter_context(hanging(studio.root))
            pool.limit_s = 0.2
            handler.give(png(2))

        server.has({"1": shown("a.png", "b.png")})
        server.answers |= {"a.png": giving(png(1)), "b.png": while_it_hangs}
        answer = asked(served, project_id, "beta", PROMPT_ID)
        assert (answer.status_code, answer.json()["code"]) == (503, "share_unavailable")
        assert answer.headers["Retry-After"]
        # The next one is not kept waiting by it.
        assert asked(served, project_id, "gamma", PROMPT_ID).status_code == 404
    assert pool.drained(60)
    pool.limit_s = 30
    server.answers["b.png"] = giving(png(2))
    while (again := asked(served, project_id, "beta", PROMPT_ID)).status_code == 409:
        pass
    assert [file["name"] for file in again.json()["files"]] == ["a.png", "b.png"]
    assert served.client.get(f"{PREFIX}/projects/{project_id}/stats").json()["media_count"] == 2


def test_so_many_at_once_and_no_more(served: Served, server: Server, comfy: StandIn, project_id: str) -> None:
    reached, gone_on = threading.Event(), threading.Event()

    def waits(handler: Handler) -> None:
        reached.set()
        gone_on.wait()
        handler.give(b"[]")

    server.answers[f"/history/{PROMPT_ID}"] = waits
    ended: list[int] = []
    first = threading.Thread(target=lambda: ended.append(asked(served, project_id, "beta", PROMPT_ID).status_code))
    first.start()
    reached.wait()
    prompt_id = comfy.run(IMAGE)
    refused = asked(served, project_id, "alpha", prompt_id)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    # Whoever else wants something is served meanwhile.
    assert served.client.get(f"{PREFIX}/projects/{project_id}").status_code == 200
    gone_on.set()
    first.join()
    assert ended == [502]
    assert asked(served, project_id, "alpha", prompt_id).status_code == 200
