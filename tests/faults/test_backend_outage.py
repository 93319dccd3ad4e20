"""Test an upload to a backend on a worker while the storage server loses its power.

The requests come over HTTP from the lab's host, as from a person's computer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from blake3 import blake3

from tests.faults.backends import ENV_FILE, PROJECTS, UP_WITHIN_S, Backends, Host
from tests.support.lab.machines import wait_for
from tests.support.lab.power import read_cache_mode, switch_power

PIECE_BYTES = 1 << 20
PIECES, CUT_AFTER = 48, 12
#: What the documentation promises to a writer (docs/backend.md): an answer within this time, whatever the share does.
ANSWER_WITHIN_S = 30.0


def generate_body() -> Iterator[bytes]:
    """Yield the pieces of a body that is the same each time."""
    content = blake3(b"away")
    for number in range(PIECES):
        yield content.digest(PIECE_BYTES, seek=number * PIECE_BYTES)


def generate_body_and_cut_power() -> Iterator[bytes]:
    """Yield the same pieces, and cut the storage server's power in the middle."""
    for number, piece in enumerate(generate_body()):
        if number == CUT_AFTER:
            switch_power("server", "off")
        yield piece


@dataclass(frozen=True)
class BackendClient:
    """A client of the backend, with a token."""

    client: httpx.Client

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def create(self, name: str) -> httpx.Response:
        return self.client.post("/projects", json={"name": name}, headers={"Idempotency-Key": name})

    def save(self, project: str, name: str, content: bytes | Iterator[bytes]) -> httpx.Response:
        """Upload an intermediate, with its name as the key."""
        return self.client.post(
            f"/projects/{project}/intermediate",
            params={"kind": "latent", "name": name},
            headers={"Idempotency-Key": name},
            content=content,
        )

    def save_until_done(
        self, project: str, name: str, content: Callable[[], bytes | Iterator[bytes]]
    ) -> dict[str, Any]:
        """Send an upload with its key again, as the answers advise, until it is saved. Return the file."""

        def try_save() -> httpx.Response | None:
            answer = self.save(project, name, content())
            later = answer.status_code == 503 or (answer.status_code, answer.json().get("code")) == (409, "in_progress")
            return None if later else answer

        answer = wait_for(f"an answer to {name}, sent again", try_save, timeout_s=UP_WITHIN_S)
        assert answer.status_code == 201, answer.text
        saved: dict[str, Any] = answer.json()
        return saved


def assert_share_unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["code"] == "share_unavailable"


@pytest.fixture
def host(backends: Backends) -> Host:
    return backends.hosts[0]


@pytest.fixture
def api(host: Host) -> Iterator[BackendClient]:
    """Return a client that waits for an answer no longer than the documentation promises."""
    made = host.machine.check_output("noslop-backend token create away-$RANDOM --scope admin --days 1", root=True)
    headers = {"Authorization": f"Bearer {made.strip()}"}
    timeout = httpx.Timeout(60.0, read=ANSWER_WITHIN_S)
    url = f"http://{host.machine.address}:8765/api/v1"
    with httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False) as client:
        yield BackendClient(client)


@contextmanager
def restored_power() -> Iterator[None]:
    """Switch the server on when the block ends, in whatever way."""
    mode = read_cache_mode("server")
    try:
        yield
    finally:
        switch_power("server", "on", disk_cache=mode)


def test_upload_that_loses_the_server_is_saved_once(host: Host, api: BackendClient) -> None:
    project = str(api.create("Away").json()["id"])
    url = f"/projects/{project}"
    with restored_power():
        assert_share_unavailable(api.save(project, "noise", generate_body_and_cut_power()))
        # Requests that need no share succeed, and the health check names what is wrong.
        health = api.get("/health").json()
        assert health["database"]["status"] == "ok"
        assert health["share"]["status"] == health["status"] == "degraded"
        assert api.get("/health/ready").status_code == 503
        for path in ("/stats", f"{url}/stats", url, f"{url}/files", "/projects", "/quota", "/metrics"):
            assert api.get(path).status_code == 200, path
        assert api.get(f"{url}/files").json()["items"] == []
        # Requests that need the share get 503 in time, each time.
        assert_share_unavailable(api.save(project, "small", b"small"))
        assert_share_unavailable(api.create("Another"))

    def is_ready() -> bool:
        return api.get("/health/ready").status_code == 200

    wait_for("the backend with its share again, by itself", is_ready, timeout_s=UP_WITHIN_S)
    saved = api.save_until_done(project, "noise", generate_body)
    whole = blake3()
    for piece in generate_body():
        whole.update(piece)
    assert (saved["blake3"], saved["size_bytes"]) == (whole.hexdigest(), PIECES * PIECE_BYTES)
    assert api.save_until_done(project, "noise", generate_body) == saved
    api.save_until_done(project, "small", lambda: b"small")
    files = api.get(f"{url}/files").json()["items"]
    assert sorted(file["name"] for file in files) == ["noise", "small"]

    # The interrupted upload is cleaned up by any process once its lease has ended.
    def is_clean() -> bool:
        host.machine.check_output("noslop-backend recover", root=True)
        return not host.machine.check_output(f"ls -A {PROJECTS}/{project}/.staging", root=True).strip()

    wait_for("nothing left over in .staging", is_clean, timeout_s=UP_WITHIN_S)
    host.drop_caches()
    host.run_program("project", ENV_FILE, project)
    content = api.get(f"{url}/files/{saved['id']}/content").content
    assert blake3(content).hexdigest() == whole.hexdigest()
