# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the limits of the web interface: how much of everything one client, or one process, gets."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from noslop_backend.core.errors import ConfigurationError
from noslop_backend.core.settings import ENV_FILE

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
    #: Uploads at once; each holds up to two pieces of `piece_bytes`. And those of one token.
    uploads: int = Field(32, alias="NOSLOP_UPLOADS", ge=1, le=1024)
    uploads_per_token: int = Field(16, alias="NOSLOP_UPLOADS_PER_TOKEN", ge=1, le=1024)
    #: Workflows and prompts above 1 MiB that are held at once, and those of one token.
    large_documents: int = Field(8, alias="NOSLOP_LARGE_DOCUMENTS", ge=1, le=1024)
    large_documents_per_token: int = Field(4, alias="NOSLOP_LARGE_DOCUMENTS_PER_TOKEN", ge=1, le=1024)
    #: Zip archives that are sent at once, each of up to 100,000 files, and those of one token.
    archives: int = Field(8, alias="NOSLOP_ARCHIVES", ge=1, le=1024)
    archives_per_token: int = Field(4, alias="NOSLOP_ARCHIVES_PER_TOKEN", ge=1, le=1024)
    #: Streams of events at once, those of one token, how often the database is asked for new events, and after which
    #: time without one a stream gives a sign of life. So many changes are sent to who comes back: beyond that reading
    #: the lists again is faster.
    event_streams: int = Field(256, alias="NOSLOP_EVENT_STREAMS", ge=1, le=65_536)
    event_streams_per_token: int = Field(64, alias="NOSLOP_EVENT_STREAMS_PER_TOKEN", ge=1, le=65_536)
    event_poll_s: float = Field(0.5, alias="NOSLOP_EVENT_POLL_S", gt=0, le=60)
    event_heartbeat_s: float = Field(15.0, alias="NOSLOP_EVENT_HEARTBEAT_S", gt=0, le=600)
    event_replay: int = Field(100_000, alias="NOSLOP_EVENT_REPLAY", ge=0)
    #: Requests of one token at once: no more than most of what may work on the share or wait for it.
    requests_per_token: int = Field(48, alias="NOSLOP_REQUESTS_PER_TOKEN", ge=1, le=1024)
    #: Requests without a valid token, a second and address; who asks for more waits so many seconds for a refusal.
    anonymous_per_s: float = Field(20.0, alias="NOSLOP_ANONYMOUS_PER_S", gt=0)
    refusal_delay_s: float = Field(1.0, alias="NOSLOP_REFUSAL_DELAY_S", ge=0, le=10)
    #: Prompts of ComfyUI that are filed at once; each may hold a thread, and a decoder beside it.
    ingests: int = Field(2, alias="NOSLOP_INGESTS", ge=1, le=32)
    piece_bytes: int = Field(4 * MIB, alias="NOSLOP_PIECE_BYTES", ge=4096, le=64 * MIB)
    #: How long a client may take for the head of a request, and be idle between two.
    header_s: float = Field(10.0, alias="NOSLOP_HEADER_S", gt=0, le=600)
    keep_alive_s: int = Field(30, alias="NOSLOP_KEEP_ALIVE_S", ge=1, le=75)
    #: How long a client may send nothing in the middle of a body.
    body_idle_s: float = Field(30.0, alias="NOSLOP_BODY_IDLE_S", gt=0)
    #: How many bytes a second have to come, and be read of an answer, over how many seconds of waiting for the client.
    body_bytes_per_s: int = Field(1024, alias="NOSLOP_BODY_BYTES_PER_S", ge=0)
    body_window_s: float = Field(60.0, alias="NOSLOP_BODY_WINDOW_S", gt=0)
    #: For bodies that are JSON. The largest has settings or parameters, each of at most 1 MiB.
    json_bytes: int = Field(2 * MIB, alias="NOSLOP_JSON_BYTES", ge=1024)
    #: A health check waits no longer for the share.
    probe_limit_s: float = Field(2.0, alias="NOSLOP_PROBE_LIMIT_S", gt=0, le=30)
    #: How long what a health check saw is the answer to further ones.
    health_s: float = Field(1.0, alias="NOSLOP_HEALTH_S", ge=0, le=60)
    #: Connections at once, and those of one address that have shown no token. For one more, the one that has been idle
    #: for longest is ended.
    connections: int = Field(512, alias="NOSLOP_CONNECTIONS", ge=8)
    connections_per_address: int = Field(64, alias="NOSLOP_CONNECTIONS_PER_ADDRESS", ge=1)
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
