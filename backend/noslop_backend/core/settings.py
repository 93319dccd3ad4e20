# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the settings. The service, the timers and the command line read one file, so all of them use one database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from noslop_backend.core import comfyui_hosts
from noslop_backend.core.comfyui_hosts import ComfyHost
from noslop_backend.core.database import LOCK_TIMEOUT_S
from noslop_backend.core.errors import ConfigurationError

ENV_FILE = "/etc/noslop/backend.env"
GIB = 1024**3


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{path} is to be an absolute path without '..': it has to mean the same on every host")
    return path


Directory = Annotated[Path, AfterValidator(_absolute)]


def _hosts(given: object) -> object:
    return comfyui_hosts.parse(given) if isinstance(given, str) else given


#: Not JSON, as pydantic-settings would have it: a person reads and writes it.
ComfyHosts = Annotated[dict[str, ComfyHost], NoDecode, BeforeValidator(_hosts)]


def _origins(given: object) -> object:
    return [each.strip() for each in given.split(",") if each.strip()] if isinstance(given, str) else given


def _origin(text: str) -> str:
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise ValueError(f"{text!r} is no origin: write scheme, host and port only, as in https://studio.lan:3000")
    return text


def _root_path(text: str) -> str:
    if text and not _ROOT_PATH.fullmatch(text):
        raise ValueError(f"{text!r} is to be a path without a slash at its end, as in /noslop")
    return text


_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)
_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+", re.ASCII)


def _patterns(given: object) -> object:
    return tuple(each.strip() for each in given.split(",") if given.strip()) if isinstance(given, str) else given


def _names(given: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in given:
        if not pattern or "/" in pattern:
            raise ValueError(f"{pattern!r} is no name: list names or shell patterns without '/', with commas between")
    return given


NamePatterns = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_patterns), AfterValidator(_names)]


class Settings(BaseSettings):
    """Every setting with its default. Names that users know have no prefix, all others begin with NOSLOP_."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", validate_by_name=True, validate_by_alias=True)

    shared_storage_enabled: bool = False
    ollama_models_dir: Directory = Path("/mnt/noslop/ollama/models")
    comfyui_models_dir: Directory = Path("/mnt/noslop/comfyui/models")
    comfyui_custom_nodes_dir: Directory = Path("/mnt/noslop/comfyui/custom_nodes")
    project_storage_dir: Directory = Path("/mnt/noslop/projects")
    media_cache_dir: Directory = Path("/mnt/noslop/media_cache")

    #: Whose share the marker has to name.
    studio_id: str = Field(alias="NOSLOP_STUDIO_ID", min_length=1)
    #: sqlite:////absolute/path or postgresql+psycopg://...
    database_url: str = Field("sqlite:////var/lib/noslop/backend/backend.sqlite3", alias="NOSLOP_DATABASE_URL")
    #: Where backups of the database go, and the key that they are authenticated with: never where hosts can write.
    backup_dir: Directory = Field(Path("/var/lib/noslop/backend/backups"), alias="NOSLOP_BACKUP_DIR")
    backup_key_file: Directory = Field(Path("/var/lib/noslop/backend/backup.key"), alias="NOSLOP_BACKUP_KEY_FILE")
    #: How long a request waits for what another one holds in the database.
    database_lock_timeout_s: float = Field(LOCK_TIMEOUT_S, alias="NOSLOP_DATABASE_LOCK_TIMEOUT_S", gt=0, le=25)
    #: How long recovery leaves a write alone that gives no sign of life. Shorter ones would run out while one file is
    #: synced.
    lease_s: float = Field(60.0, alias="NOSLOP_LEASE_S", ge=1, le=86_400)
    #: How long a worker may take to write a file that is to be adopted.
    adopt_lease_s: float = Field(3600.0, alias="NOSLOP_ADOPT_LEASE_S", ge=1, le=30 * 86_400)
    #: How long the answer to an idempotency key is kept.
    key_days: int = Field(7, alias="NOSLOP_KEY_DAYS", ge=1)
    #: How long the audit log remembers.
    audit_days: int = Field(365, alias="NOSLOP_AUDIT_DAYS", ge=1, le=36_500)
    #: Names on the share to pass over, in place of the list of the backend's own (docs/backend.md, "Litter").
    litter_names: NamePatterns | None = Field(None, alias="NOSLOP_LITTER_NAMES")
    #: In these steps bytes are reserved for a body of unknown length.
    reserve_step_bytes: int = Field(64 * 1024 * 1024, alias="NOSLOP_RESERVE_STEP_BYTES", ge=1)
    max_document_bytes: int = Field(16 * 1024 * 1024, alias="NOSLOP_MAX_DOCUMENT_BYTES", ge=1)
    #: For new projects that bring none of their own; empty means none.
    project_quota_bytes: int | None = Field(None, alias="NOSLOP_PROJECT_QUOTA_BYTES", ge=0)
    intermediate_days: int | None = Field(None, alias="NOSLOP_INTERMEDIATE_DAYS", ge=1)
    trash_days: int | None = Field(30, alias="NOSLOP_TRASH_DAYS", ge=1)
    media_cache_bytes: int | None = Field(None, alias="NOSLOP_MEDIA_CACHE_BYTES", ge=0)
    #: The studio's ComfyUI hosts, by name: render1=10.0.0.7:8188,render2=[fd00::7]:8188. No other is ever asked.
    comfyui_hosts: ComfyHosts = Field(default_factory=dict, alias="NOSLOP_COMFYUI_HOSTS")
    #: Origins whose pages may use the API from a browser, with commas between; `*` for all. By default none.
    cors_origins: Annotated[list[Annotated[str, AfterValidator(_origin)]], NoDecode, BeforeValidator(_origins)] = Field(
        default_factory=list, alias="NOSLOP_CORS_ORIGINS"
    )
    #: Path below which a proxy serves the API, as in /noslop, where it takes that away before it passes a request on.
    root_path: Annotated[str, AfterValidator(_root_path)] = Field("", alias="NOSLOP_ROOT_PATH")
    #: Of an ingest: how long ComfyUI may send nothing, how long all of it may take, and how large one file may be.
    ingest_idle_s: float = Field(30.0, alias="NOSLOP_INGEST_IDLE_S", gt=0)
    ingest_limit_s: float = Field(1800.0, alias="NOSLOP_INGEST_LIMIT_S", gt=0, le=86_400)
    ingest_file_bytes: int = Field(32 * GIB, alias="NOSLOP_INGEST_FILE_BYTES", ge=1)
    #: What decoding one media file may take: memory in bytes, processor time and time on the wall in seconds.
    decode_memory_bytes: int = Field(2 * GIB, alias="NOSLOP_DECODE_MEMORY_BYTES", ge=256 * 1024**2)
    decode_cpu_s: int = Field(60, alias="NOSLOP_DECODE_CPU_S", ge=2)
    decode_wall_s: float = Field(120.0, alias="NOSLOP_DECODE_WALL_S", gt=0)

    @model_validator(mode="after")
    def _apart(self) -> Settings:
        """Refuse paths that would mix what has to stay apart."""
        names = [
            *("ollama_models_dir", "comfyui_models_dir", "comfyui_custom_nodes_dir"),
            *("project_storage_dir", "media_cache_dir"),
        ]
        for name in names:
            for other in names:
                one, two = getattr(self, name), getattr(self, other)
                if name != other and one.is_relative_to(two):
                    raise ValueError(
                        f"{name.upper()} ({one}) lies in {other.upper()} ({two}): give each a directory of its own"
                    )
        for share in names:
            for name in ("backup_dir", "backup_key_file"):
                if getattr(self, name).is_relative_to(getattr(self, share)):
                    raise ValueError(
                        f"NOSLOP_{name.upper()} ({getattr(self, name)}) lies on the share {share.upper()}, where every "
                        "host of the studio can write: name a place on this host's own disk"
                    )
        return self


def load(env_file: str | Path | None = ENV_FILE) -> Settings:
    """Read the settings from the environment and a file; the environment wins.

    Raises:
        ConfigurationError: a setting is wrong; the message names each with what to do.
    """
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part).upper() for part in problem['loc']) or 'settings'}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise ConfigurationError(
            f"The backend's settings (the environment and {env_file}) are not usable: {problems}. "
            "Put them right and start again."
        ) from error
