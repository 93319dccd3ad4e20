# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the services of this host what they do: models that are loaded, jobs that run and wait, the backend's health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from ansible_collections.noslop.studio.plugins.module_utils.checks import service_checks, service_probe
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import shorten

REQUEST_S = 5.0
#: Service to the path that says what it does.
PATHS = {"ollama": "/api/ps", "comfyui": "/queue", "backend": service_checks.HEALTH}


class LoadedModel(TypedDict):
    """A model in Ollama's memory, with its bytes, and those of them on a graphics card."""

    name: str
    size: int
    on_gpu: int


class Work(TypedDict):
    """The work of one service. ``problem`` is why it is unavailable or unhealthy; ``None`` is what it has not."""

    problem: str
    models: list[LoadedModel] | None
    running: int | None
    waiting: int | None


def ask(service: str, address: str, port: int) -> Work:
    """Request the work of a service. Meant for a worker without rights, since its answer may be anything."""
    answer = service_probe.get_json(address, port, PATHS[service], REQUEST_S)
    if answer.error:
        return _describe(shorten(answer.error))
    try:
        return parse(service, answer.data)
    except (TypeError, KeyError, ValueError, AttributeError):
        return _describe(f"{answer.url} answered something else than {service} does")


def parse(service: str, data: Any) -> Work:
    """Return the work that a service answered.

    Raises:
        TypeError, KeyError, ValueError, AttributeError: it is no answer of that service.
    """
    if service == "ollama":
        return _describe(models=[_read_model(model) for model in data["models"] or []])
    if service == "comfyui":
        return _describe(running=len(data["queue_running"]), waiting=len(data["queue_pending"]))
    return _describe(shorten("; ".join(service_probe.find_health_problems(data))))


def _read_model(model: Mapping[str, Any]) -> LoadedModel:
    return {
        "name": shorten(str(model["name"])),
        "size": int(model.get("size") or 0),
        "on_gpu": int(model.get("size_vram") or 0),
    }


def _describe(
    problem: str = "",
    models: list[LoadedModel] | None = None,
    running: int | None = None,
    waiting: int | None = None,
) -> Work:
    return {"problem": problem, "models": models, "running": running, "waiting": waiting}
