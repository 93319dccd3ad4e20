# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Request data from the services over HTTP, and read files as their running processes."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, become
from ansible_collections.noslop.studio.plugins.module_utils.share import inspection

REQUEST_TIMEOUT_S = 10.0
POLL_S = 1.0
#: Hosts that are requested at once.
PARALLEL = 16


@dataclass(frozen=True)
class Answer:
    """The result of a GET: the decoded JSON as ``data``, or an ``error``."""

    url: str
    data: Any = None
    error: str = ""


def get_json(address: str, port: int, path: str, timeout_s: float = REQUEST_TIMEOUT_S) -> Answer:
    """Request a JSON document from a host, without the proxy that the environment names."""
    return _decode(*_request(address, port, path, timeout_s))


def post_json(address: str, port: int, path: str, body: Mapping[str, Any]) -> Answer:
    """Send a JSON document to a host, and return the one that it answers."""
    return _decode(*_request(address, port, path, REQUEST_TIMEOUT_S, body))


def get_bytes(address: str, port: int, path: str) -> tuple[bytes, str]:
    """Return what a host answers, and an error, which is empty when there is none."""
    __, content, error = _request(address, port, path, REQUEST_TIMEOUT_S)
    return content, error


def _request(
    address: str, port: int, path: str, timeout_s: float, body: Mapping[str, Any] | None = None
) -> tuple[str, bytes, str]:
    """Return URL, content and error of a request."""
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{port}{path}"
    method = "GET" if body is None else "POST"
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
        connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        return url, b"", f"{method} {url}: {error or type(error).__name__}"
    finally:
        connection.close()
    if response.status != 200:
        return url, b"", f"{method} {url} answered {response.status} {response.reason}"
    return url, content, ""


def _decode(url: str, content: bytes, error: str) -> Answer:
    if error:
        return Answer(url, error=error)
    try:
        return Answer(url, data=json.loads(content))
    except ValueError:
        return Answer(url, error=f"GET {url} answered something that is not JSON")


def wait_for(ask: Callable[[], Answer], enough: Callable[[Any], bool], bound_s: float) -> tuple[Answer, float]:
    """Repeat a request until its answer is enough or ``bound_s`` has passed. Returns the last answer and the time."""
    began = time.monotonic()
    while True:
        answer = ask()
        elapsed_s = time.monotonic() - began
        if (not answer.error and enough(answer.data)) or elapsed_s >= bound_s:
            return answer, elapsed_s
        time.sleep(POLL_S)


def ask_peers(peers: Mapping[str, tuple[str, int]], path: str) -> dict[str, str]:
    """Request one path from the service of many hosts.

    Maps host name to address and port; returns host name to an error, empty when none.
    """
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = pool.map(lambda where: get_json(where[0], where[1], path).error, peers.values())
        return dict(zip(peers, answers))


def find_health_problems(health: Any) -> list[str]:
    """Return the problems in an answer to ``/api/v1/health``, a sentence each; empty when the backend can write."""
    if not isinstance(health, dict) or "status" not in health:
        return ["its answer is not about its health"]
    if health["status"] == "ok":
        return []
    parts = [
        f"{name}: {part['detail']}" for name, part in health.items() if isinstance(part, dict) and part.get("detail")
    ]
    return parts or [f"its status is {health['status']}"]


def parse_ollama_models(tags: Any) -> list[str]:
    """Return the names of the models in an answer to ``/api/tags``.

    Raises:
        ValueError: it is no such answer.
    """
    try:
        return sorted(str(model["name"]) for model in tags["models"] or [])
    except (TypeError, KeyError) as error:
        raise ValueError("the answer to /api/tags has no list of models") from error


def read_as_process(
    pid: int, account: Account, path: str, expected: Mapping[str, Mapping[str, str]]
) -> Callable[[], dict[str, str]]:
    """Return a function for a worker process that reads nonces in the mount namespace of a running service."""

    def work() -> dict[str, str]:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
        become(account)
        return inspection.read_nonces(f"/proc/self/fd/{root}{path}", expected)

    return work


def folder_path(folder: str) -> str:
    """Return the path under which ComfyUI lists a folder of models."""
    return "/models/" + urllib.parse.quote(folder)


def find_missing(wanted: Iterable[str], listed: Any) -> list[str]:
    """Return the wanted names that are not listed."""
    names = {str(name) for name in listed} if isinstance(listed, list) else set()
    return [name for name in wanted if name not in names]
