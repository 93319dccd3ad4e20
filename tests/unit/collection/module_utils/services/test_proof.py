# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what counts as less than before, in answers of ComfyUI and in its journal."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.services.proof import (
    Baseline,
    ComfyuiProof,
    OllamaProof,
    read_baseline,
)

FAILED = "   0.1 seconds (IMPORT FAILED): /mnt/noslop/comfyui/custom_nodes/broken node"
NO_DATABASE = "Failed to initialize database. Please ensure you have installed the latest requirements"


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[int]:
    """Answer requests on a free port with these documents; 404 for any other. Yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = json.dumps(answers.get(self.path)).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("before", "journal", "problem"),
    [
        (Baseline(failed_nodes=[]), [FAILED], "it does not import broken node, which the version before it did"),
        (Baseline(failed_nodes=["broken node"]), [FAILED], "it does not take a workflow"),
        (Baseline(failed_nodes=None), [FAILED], "it does not take a workflow"),
        (Baseline(), [NO_DATABASE], f"its database cannot be opened: {NO_DATABASE}"),
        (Baseline(database_failed=True), [NO_DATABASE], "it does not take a workflow"),
    ],
)
def test_start_is_compared_with_the_one_before(before: Baseline, journal: list[str], problem: str) -> None:
    with answering({}) as port:
        found = ComfyuiProof("127.0.0.1", port).find_problem(before, lambda: journal, 5)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            {"status": {"status_str": "error", "messages": [["execution_error", {"exception_message": "no memory"}]]}},
            "a workflow without models ended as error: no memory",
        ),
        ({"status": {"status_str": "success"}, "outputs": {}}, "a workflow ended without its image"),
        (
            {
                "status": {"status_str": "success"},
                "outputs": {"2": {"images": [{"filename": "a.png", "subfolder": "", "type": "temp"}]}},
            },
            "the image of a workflow is not the one that was asked for",
        ),
    ],
)
def test_workflow_has_to_end_with_its_image(entry: dict[str, Any], problem: str) -> None:
    answers = {
        "/prompt": {"prompt_id": "its-own-id"},
        "/history/its-own-id": {"its-own-id": entry},
        "/view?filename=a.png&subfolder=&type=temp": "no image",
    }
    with answering(answers) as port:
        assert ComfyuiProof("127.0.0.1", port).find_problem(Baseline(), list, 5) == problem


def test_models_have_to_be_listed_still() -> None:
    tags = {"/api/tags": {"models": [{"name": "tinyllama:latest"}]}}
    with answering(tags) as port:
        before = OllamaProof("127.0.0.1", port).record([])
        assert read_baseline(json.loads(json.dumps(before.as_json()))) == before
        assert OllamaProof("127.0.0.1", port).find_problem(before, list, 5) == ""
        tags["/api/tags"]["models"] = [{"name": "another:latest"}]
        found = OllamaProof("127.0.0.1", port).find_problem(before, list, 0)
    assert found == "it does not list tinyllama:latest, which the version before it did"


def test_running_workflows_are_counted() -> None:
    with answering({"/queue": {"queue_running": [[1]], "queue_pending": [[2], [3]]}}) as port:
        assert ComfyuiProof("127.0.0.1", port).count_running() == 3
    assert ComfyuiProof("127.0.0.1", port).count_running() == 0
