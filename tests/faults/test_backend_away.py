"""The storage server goes away while a backend on a worker takes an upload, and comes back.

The backend is asked over HTTP, from the lab's host, as a person's computer would.
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
from tests.support.lab.power import cache_of, switch

PIECE_BYTES = 1 << 20
PIECES, CUT_AFTER = 48, 12
#: What the documentation promises to a writer (docs/backend.md): an answer within this time, whatever the share does.
ANSWER_WITHIN_S = 30.0


def pieces() -> Iterator[bytes]:
    """The same body each time, in pieces."""
    content = blake3(b"away")
    for number in range(PIECES):
        yield content.digest(PIECE_BYTES, seek=number * PIECE_BYTES)


def cut_off() -> Iterator[bytes]:
    """The same, and the storage server loses its power in the middle."""
    for number, piece in enumerate(pieces()):
        if number == CUT_AFTER:
            switch("server", "off")
        yield piece


@dataclass(frozen=True)
class Api:
    """The backend, as a client with a token meets it."""

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

    def insist(self, project: str, name: str, content: Callable[[], bytes | Iterator[bytes]]) -> dict[str, Any]:
        """Send it again with its key, as the answers say, until it is saved; gives the file."""

        def again() -> httpx.Response | None:
            answer = self.save(project, name, content())
            later = answer.status_code == 503 or (answer.status_code, answer.json().get("code")) == (409, "in_progress")
            return None if later else answer

        answer = wait_for(f"an answer to {name}, sent again", again, timeout_s=UP_WITHIN_S)
        assert answer.status_code == 201, answer.text
        saved: dict[str, Any] = answer.json()
        return saved


def assert_away(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["code"] == "share_unavailable"


@pytest.fixture
def host(backends: Backends) -> Host:
    return backends.hosts[0]


@pytest.fixture
def api(host: Host) -> Iterator[Api]:
    """A client that waits as long for an answer as it was promised."""
    made = host.machine.output_of("noslop-backend token create away-$RANDOM --scope admin --days 1", root=True)
    headers = {"Authorization": f"Bearer {made.strip()}"}
    timeout = httpx.Timeout(60.0, read=ANSWER_WITHIN_S)
    url = f"http://{host.machine.address}:8765/api/v1"
    with httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False) as client:
        yield Api(client)


@contextmanager
def server_comes_back() -> Iterator[None]:
    """Whatever happens in the block, the server has power afterwards."""
    mode = cache_of("server")
    try:
        yield
    finally:
        switch("server", "on", disk_cache=mode)


def test_an_upload_is_cut_off_and_done_once(host: Host, api: Api) -> None:
    project = str(api.create("Away").json()["id"])
    at = f"/projects/{project}"
    with server_comes_back():
        assert_away(api.save(project, "noise", cut_off()))
        # Whoever needs no share is served, and told what is wrong.
        health = api.get("/health").json()
        assert health["database"]["status"] == "ok"
        assert health["share"]["status"] == health["status"] == "degraded"
        assert api.get("/health/ready").status_code == 503
        for path in ("/stats", f"{at}/stats", at, f"{at}/files", "/projects", "/quota", "/metrics"):
            assert api.get(path).status_code == 200, path
        assert api.get(f"{at}/files").json()["items"] == []
        # Whoever does is told so in time, each time.
        assert_away(api.save(project, "small", b"small"))
        assert_away(api.create("Another"))

    def is_ready() -> bool:
        return api.get("/health/ready").status_code == 200

    wait_for("the backend with its share again, by itself", is_ready, timeout_s=UP_WITHIN_S)
    saved = api.insist(project, "noise", pieces)
    whole = blake3()
    for piece in pieces():
        whole.update(piece)
    assert (saved["blake3"], saved["size_bytes"]) == (whole.hexdigest(), PIECES * PIECE_BYTES)
    assert api.insist(project, "noise", pieces) == saved
    api.insist(project, "small", lambda: b"small")
    files = api.get(f"{at}/files").json()["items"]
    assert sorted(file["name"] for file in files) == ["noise", "small"]

    # What was given up is ended by whoever comes by when its lease has run out.
    def is_swept() -> bool:
        host.machine.output_of("noslop-backend recover", root=True)
        return not host.machine.output_of(f"ls -A {PROJECTS}/{project}/.staging", root=True).strip()

    wait_for("nothing left over in .staging", is_swept, timeout_s=UP_WITHIN_S)
    host.forget_cached()
    host.ask("project", ENV_FILE, project)
    content = api.get(f"{at}/files/{saved['id']}/content").content
    assert blake3(content).hexdigest() == whole.hexdigest()
