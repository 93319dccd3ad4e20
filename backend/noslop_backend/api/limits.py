# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of everything one client, or one process, gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noslop_backend.errors import ConfigurationError
from noslop_backend.settings import ENV_FILE

MIB = 1024 * 1024


class Limits(BaseSettings):
    """Limits of the web interface, from the same file and environment as all settings."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", validate_by_name=True, validate_by_alias=True)

    #: Threads that may work on the share. Each may hold a connection of the database's pool, which has 16 and ten more.
    disk_threads: int = Field(16, alias="NOSLOP_DISK_THREADS", ge=1, le=64)
    #: Requests that may wait for such a thread.
    disk_waiting: int = Field(64, alias="NOSLOP_DISK_WAITING", ge=0, le=1024)
    #: How long a request waits for the share before it is answered with 503.
    disk_limit_s: float = Field(25.0, alias="NOSLOP_DISK_LIMIT_S", gt=0, le=30)
    #: Uploads at once; each holds up to two pieces of `piece_bytes`.
    uploads: int = Field(32, alias="NOSLOP_UPLOADS", ge=1, le=1024)
    #: Prompts of ComfyUI that are filed at once; each may hold a thread, and a decoder beside it.
    ingests: int = Field(2, alias="NOSLOP_INGESTS", ge=1, le=32)
    piece_bytes: int = Field(4 * MIB, alias="NOSLOP_PIECE_BYTES", ge=4096, le=64 * MIB)
    #: How long a client may send nothing in the middle of a body.
    body_idle_s: float = Field(60.0, alias="NOSLOP_BODY_IDLE_S", gt=0)
    #: For bodies that are JSON. The largest has settings or parameters, each of at most 1 MiB.
    json_bytes: int = Field(2 * MIB, alias="NOSLOP_JSON_BYTES", ge=1024)
    #: A health check waits no longer for the share.
    probe_limit_s: float = Field(2.0, alias="NOSLOP_PROBE_LIMIT_S", gt=0, le=30)
    #: Connections at once; who comes later is told to come again.
    connections: int = Field(512, alias="NOSLOP_CONNECTIONS", ge=8)
    #: How long the service, told to stop, lets requests end.
    stop_s: int = Field(20, alias="NOSLOP_STOP_S", ge=0)


def load(env_file: str | Path | None = ENV_FILE) -> Limits:
    """Read the limits from the environment and a file.

    Raises:
        ConfigurationError: one is wrong; the message names each with what is allowed.
    """
    try:
        return Limits(_env_file=env_file)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part).upper() for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise ConfigurationError(
            f"The backend's limits (the environment and {env_file}) are not usable: {problems}. "
            "Put them right and start again."
        ) from error


_KEY = "noslop.body"


@dataclass
class _Allowed:
    limit_bytes: int | None


class BodyLimit:
    """Counts what comes in, and refuses a body that is longer than its route takes.

    The limit is that of JSON until the route calls `set_body_limit`: nothing is read before.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self.app = app
        self.limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        allowed = scope[_KEY] = _Allowed(self.limit_bytes)
        announced = _announced(scope)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            limit = allowed.limit_bytes
            if limit is not None and announced > limit:
                raise _too_large(limit)
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if limit is not None and seen > limit:
                    raise _too_large(limit)
            return message

        await self.app(scope, counted, send)


def set_body_limit(scope: Scope, limit_bytes: int | None) -> None:
    """Say how long this request's body may be (None: as long as it likes), before any of it is read."""
    allowed: _Allowed = scope[_KEY]
    allowed.limit_bytes = limit_bytes


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        # The server has refused what is no number.
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _too_large(limit_bytes: int) -> HTTPException:
    return HTTPException(413, f"The body is longer than the {limit_bytes} bytes that this takes.")
