# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real server on loopback, over a real share and a real database."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from noslop_backend.api import Limits, create_app
from noslop_backend.api.deps import State
from noslop_backend.cli.uvicorn_config import Server, configured, listening
from noslop_backend.core.enums import TokenScope
from noslop_backend.services import ProjectStorage
from noslop_backend.services.tokens import Tokens

from tests.backend.studio import png


@dataclass
class Served:
    """What is served, and clients of it, one for each scope."""

    app: FastAPI
    storage: ProjectStorage
    url: str
    client: httpx.Client
    reader: httpx.Client
    writer: httpx.Client
    anybody: httpx.Client

    @property
    def state(self) -> State:
        state: State = self.app.state.noslop
        return state

    def project(self, name: str = "A project") -> str:
        """Make a project; gives its id."""
        answer = self.client.post("/api/v1/projects", json={"name": name})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def upload(self, project_id: str, number: int, name: str = "pixel.png") -> dict[str, object]:
        """Upload an image; gives its file."""
        answer = self.client.post(f"/api/v1/projects/{project_id}/media", params={"name": name}, content=png(number))
        assert answer.status_code == 201, answer.text
        found: dict[str, object] = answer.json()
        return found


@contextmanager
def serving(storage: ProjectStorage, limits: Limits | None = None, *, asks_for_tokens: bool = True) -> Iterator[Served]:
    """Serve until the end of the block."""
    limits = limits or limits_for_tests()
    app = create_app(storage, limits, asks_for_tokens=asks_for_tokens)
    tokens = Tokens(storage.database)
    texts = {scope: tokens.create(str(scope), scope, None).text for scope in TokenScope}
    with (
        answering(app, limits) as url,
        with_token(url, texts[TokenScope.ADMIN]) as admin,
        with_token(url, texts[TokenScope.READ]) as reader,
        with_token(url, texts[TokenScope.WRITE]) as writer,
        with_token(url, None) as anybody,
    ):
        yield Served(app, storage, url, admin, reader, writer, anybody)


@contextmanager
def answering(app: FastAPI, limits: Limits | None = None) -> Iterator[str]:
    """Run an application on a port of its own; gives its address."""
    with listening("127.0.0.1", 0) as listener:
        server = Server(configured(app, limits or limits_for_tests()))
        # Connections wait in the listener's queue until the server takes them: nobody has to wait for it to be up.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def limits_for_tests(**changes: Any) -> Limits:  # noqa: ANN401 - each limit has its own type
    """Limits that do not come from this host's settings."""
    # Nobody here asks too much, and what was unwell a moment ago is looked at again.
    return Limits(_env_file=None, **{"anonymous_per_s": 1e6, "health_s": 0, **changes})


def with_token(url: str, token: str | None) -> httpx.Client:
    """Make a client that sends this token, or none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # No limit of time: a test that waits for ever says so better than one that fails on a busy host.
    # A context without certificates: reading them takes 40 ms a client, and nothing here speaks TLS.
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(None), trust_env=False, verify=tls)
