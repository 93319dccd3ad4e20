# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Admit requests before any byte of a body is read: by token, or where there are none by the host that they name.

Without a valid token an address gets so many answers a second, and waits for a refusal after that: a client that asks
as fast as it is answered then costs next to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.to_thread
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from noslop_backend.api import incoming, problems
from noslop_backend.api.connections import Connections
from noslop_backend.api.deps import State
from noslop_backend.api.rates import AddressRate, network_of
from noslop_backend.api.routes import start
from noslop_backend.core.errors import BackendError, TooManyRequestsError
from noslop_backend.journal.audit import Actor, ActorKind
from noslop_backend.services.tokens import ANYBODY, Caller, UnauthenticatedError, require_no_token

CALLER = "noslop.caller"
#: Without a token anyone may ask whether the service works, and read its documentation.
OPEN_PATHS = frozenset({*start.PATHS, "/api/v1/health", "/api/v1/health/ready"})
EVENTS_PATH = "/api/v1/events"
#: Tokens that were valid a short time ago; each is looked up all the same.
_REMEMBERED = 1024


class Admission:
    """Admits requests, each with its caller in its scope."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app = app
        self.state = state
        self._rate = AddressRate()
        self._valid: dict[bytes, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            caller = await self._caller(scope)
        except BackendError as error:
            # What is left of its body may take a while, and its place is for others meanwhile.
            _note_refused(scope)
            if isinstance(error, UnauthenticatedError):
                await anyio.to_thread.run_sync(self.state.refusals.note, _actor(scope, error), error.reason, "")
            await problems.of_backend_error(error)(scope, receive, send)
            return
        if isinstance(caller, Response):
            await caller(scope, receive, send)
            return
        scope[CALLER] = caller
        if caller is None or caller.token_id is None:
            await self.app(scope, receive, send)
            return
        incoming.note_token(scope)
        if scope["path"] == EVENTS_PATH:
            # A stream lasts for as long as its client likes, and has places of its own (routes/events.py).
            await self.app(scope, receive, send)
            return
        try:
            with self.state.requests.reserve(caller.token_id):
                await self.app(scope, receive, send)
        except TooManyRequestsError as error:
            # What a route raises became an answer inside.
            await problems.of_backend_error(error)(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller | Response | None:
        """Return the caller; None for a request that needs no token, or the answer where the request is refused."""
        headers = dict(scope["headers"])
        if not self.state.asks_for_tokens:
            return _refused_by_name(headers, self.state.storage.settings.cors_origins) or ANYBODY
        require_no_token(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        text, problem = _token(headers)
        is_open = scope["path"] in OPEN_PATHS
        digest = hashlib.sha256(text.encode()).digest()
        if digest not in self._valid:
            await self._spend(scope)
        if is_open:
            return await self._health_caller(text)
        if not text:
            raise UnauthenticatedError(problem)
        try:
            caller = await anyio.to_thread.run_sync(self.state.tokens.check, text)
        except UnauthenticatedError:
            self._valid.pop(digest, None)
            raise
        self._remember(digest)
        if (connections := _connections(scope)) is not None:
            connections.note_token(scope["client"])
        return caller

    async def _health_caller(self, text: str) -> Caller | None:
        """Return the caller of a health check; None where the database does not answer, which the check will report."""
        if not text:
            return None
        with anyio.move_on_after(self.state.limits.probe_limit_s), contextlib.suppress(BackendError):
            return await anyio.to_thread.run_sync(self.state.tokens.check, text, abandon_on_cancel=True)
        return None

    async def _spend(self, scope: Scope) -> None:
        """Count a request without a token that is known to be valid.

        Raises:
            TooManyRequestsError: too many came from this address. It is raised after a delay.
        """
        limits, client = self.state.limits, scope["client"]
        if self._rate.spend(network_of(client[0]) if client else "", limits.anonymous_per_s):
            return
        _note_refused(scope)
        await asyncio.sleep(limits.refusal_delay_s)
        raise TooManyRequestsError(
            f"More than {limits.anonymous_per_s:g} requests a second without a valid token came from your address.",
            retry_after_s=1,
        )

    def _remember(self, digest: bytes) -> None:
        self._valid.pop(digest, None)
        if len(self._valid) >= _REMEMBERED:
            del self._valid[next(iter(self._valid))]
        self._valid[digest] = None


def origin(scope: Scope) -> str:
    """Return the address that a request came from."""
    return scope["client"][0] if scope.get("client") else "local"


def _actor(scope: Scope, error: UnauthenticatedError) -> Actor:
    """Return who was refused: the owner of a token that is not valid any more, or an address."""
    if error.token is None:
        return Actor(ActorKind.ANYBODY, None, "", origin(scope))
    return Actor(ActorKind.TOKEN, error.token.id, error.token.name, origin(scope))


def _connections(scope: Scope) -> Connections | None:
    connections: Connections | None = getattr(scope["app"].state, "connections", None)
    return connections


def _note_refused(scope: Scope) -> None:
    if (connections := _connections(scope)) is not None:
        connections.note_refused(scope["client"])


def _token(headers: dict[bytes, bytes]) -> tuple[str, str]:
    """Return the token of a request, or an empty text and why there is none."""
    given = headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, text = given.partition(" ")
    if scheme.lower() == "bearer" and text.strip():
        return text.strip(), "This token is not valid."
    if given:
        return "", "The Authorization header is to say 'Bearer' and a token."
    return "", (
        "A token is needed: send 'Authorization: Bearer TOKEN'. Who runs the studio makes one with "
        "'noslop-backend token create'."
    )


def _refused_by_name(headers: dict[bytes, bytes], allowed_origins: Sequence[str]) -> Response | None:
    """Refuse a browser that was led here: by a name that resolves to this host, or by a page of another host.

    Without tokens that is all that tells a page of the internet from a program on this host (DNS rebinding).
    """
    host = headers.get(b"host", b"").decode("latin-1")
    if not _is_loopback(f"//{host}"):
        return problems.problem(
            421,
            "wrong_host",
            "Without tokens the service answers to localhost and to loopback addresses only. Ask http://127.0.0.1.",
        )
    origin = headers.get(b"origin")
    page = "" if origin is None else origin.decode("latin-1")
    if page and page not in allowed_origins and not _is_loopback(page):
        return problems.problem(
            403,
            "wrong_origin",
            "Without tokens the service answers no pages of other hosts. Make tokens, or name them in "
            "NOSLOP_CORS_ORIGINS.",
        )
    return None


def _is_loopback(url: str) -> bool:
    try:
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
