# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what is read from the answers of services, which may be anything, with a stand-in for each service."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.status import services

from tests.support.service_standin import LOADED, QUEUE, standing_in

NOTHING = {"problem": "", "models": None, "running": None, "waiting": None}


def ask(service: str, answers: dict[str, Any]) -> services.Work:
    with standing_in(answers) as server:
        return services.ask(service, "127.0.0.1", server.server_port)


def test_ollama_lists_its_loaded_models_with_their_place() -> None:
    loaded = [{"name": "qwen3:8b", "size": 6_000_000_000, "on_gpu": 3_000_000_000}]
    assert ask("ollama", {"/api/ps": LOADED}) == {**NOTHING, "models": loaded}
    assert ask("ollama", {"/api/ps": {"models": None}}) == {**NOTHING, "models": []}


def test_comfyui_counts_its_jobs() -> None:
    assert ask("comfyui", {"/queue": QUEUE}) == {**NOTHING, "running": 1, "waiting": 2}


def test_backend_names_what_is_not_healthy() -> None:
    assert ask("backend", {"/api/v1/health": {"status": "ok"}}) == NOTHING
    health = {"status": "degraded", "share": {"status": "degraded", "detail": "no marker"}}
    assert ask("backend", {"/api/v1/health": health})["problem"] == "share: no marker"


@pytest.mark.parametrize("answer", [[], "text", 7, {"models": [1]}, {"models": "x"}, {"queue_running": 1}, None])
@pytest.mark.parametrize("service", services.PATHS)
def test_other_answers_are_a_problem(service: str, answer: object) -> None:
    work = ask(service, {services.PATHS[service]: answer})
    assert work["problem"]
    assert work == {**NOTHING, "problem": work["problem"]}


def test_service_that_does_not_answer_has_the_reason() -> None:
    with standing_in({}) as server:
        port = server.server_port
        assert services.ask("ollama", "127.0.0.1", port)["problem"].endswith("answered 404 Not Found")
    assert "refused" in services.ask("ollama", "127.0.0.1", port)["problem"]
