# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate what comes in, and shape what goes out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Generic, Self, TypedDict, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

from noslop_backend.core.enums import FileState, ProjectState, ProjectStatus
from noslop_backend.core.json_depth import is_too_deep
from noslop_backend.media.facts import Facts
from noslop_backend.media.tags.fields import Fields
from noslop_backend.share.layout import TITLE_LIMIT, FileKind, normalize_title, title_problem

T = TypeVar("T")
_JSON_LIMIT_BYTES = 1024 * 1024


def _check_title(text: str) -> str:
    if problem := title_problem(text):
        raise ValueError(problem)
    return text


def _normalize_title(text: str) -> str:
    # Checked before, and again: a few letters become two in NFC.
    return _check_title(normalize_title(_check_title(text)))


def _storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("text has no NUL and no halves of surrogate pairs")
    return text


def _small(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if is_too_deep(value):
        raise ValueError("nested too deeply")
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except ValueError as error:
        raise ValueError(f"not writable as JSON: {error}") from error
    if size > _JSON_LIMIT_BYTES:
        raise ValueError(f"{size} bytes of JSON, at most {_JSON_LIMIT_BYTES} are kept")
    return value


_TITLE_SCHEMA = WithJsonSchema(
    {
        "type": "string",
        "minLength": 1,
        "maxLength": TITLE_LIMIT,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*[^\s\u0000-\u001f\u007f-\u009f\u2028\u2029]"
        r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$",
    }
)
#: A name that a person gives, normalized as it comes in. It is data: it never becomes a path.
Title = Annotated[str, AfterValidator(_normalize_title), _TITLE_SCHEMA]
#: A name as it was given: what lies on a share may be of a time when names were kept as they came.
StoredTitle = Annotated[str, AfterValidator(_check_title), _TITLE_SCHEMA]
#: Any text that both databases and a JSON file can hold.
Text = Annotated[
    str,
    Field(max_length=10_000),
    AfterValidator(_storable),
    WithJsonSchema({"type": "string", "maxLength": 10_000, "pattern": r"^[^\u0000]*$"}),
]
#: A JSON object of at most 1 MiB.
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_small)]
#: Of one file. So many that the sum of all that are on their way never leaves 64 bits.
Length = Annotated[int, Field(ge=0, le=2**50)]
#: Up to where every JSON reader counts exactly (RFC 7493, 2.2): 8 PiB.
ByteCount = Annotated[int, Field(ge=0, le=2**53)]
Days = Annotated[int, Field(ge=1, le=36_500)]


class ProjectCreate(BaseModel):
    """A project to be made. Without a quota or days of its own it has those of the settings."""

    model_config = ConfigDict(extra="forbid")

    name: Title
    description: Text = ""
    status: ProjectStatus = ProjectStatus.ACTIVE
    settings: JsonObject = Field(default_factory=dict)
    quota_bytes: ByteCount | None = None
    intermediate_days: Days | None = None
    trash_days: Days | None = None


class ProjectUpdate(BaseModel):
    """What changes in a project; what is not set stays. `None` takes a quota or a retention away."""

    model_config = ConfigDict(extra="forbid")

    name: Title | None = None
    description: Text | None = None
    status: ProjectStatus | None = None
    settings: JsonObject | None = None
    quota_bytes: ByteCount | None = None
    intermediate_days: Days | None = None
    trash_days: Days | None = None

    @model_validator(mode="after")
    def _nothing_needed_is_taken_away(self) -> Self:
        for name in ("name", "description", "status", "settings"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be taken away")
        return self


class ProjectPublic(BaseModel):
    """A project as everybody sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    description: str
    status: ProjectStatus
    state: ProjectState
    settings: dict[str, Any]
    folder_path: str
    workflows_count: int
    media_count: int
    used_bytes: int
    reserved_bytes: int
    quota_bytes: int | None
    storage_size_mb: float
    intermediate_days: int | None
    trash_days: int | None
    revision: int
    created_at: datetime
    updated_at: datetime
    trashed_at: datetime | None


class FileDetails(TypedDict, total=False):
    """What the methods of the service that save a file take beside its name and its content."""

    #: Of the content in bytes, if known: all of it is reserved before the first byte.
    length: int | None
    #: Refuse other content than this.
    expected_blake3: str | None
    #: Ids of files of this project that it was made from.
    inputs: Sequence[str]
    #: How it was made. What is embedded in the file is read out beside that.
    parameters: dict[str, Any] | None
    #: Whether to read what is embedded: without it the file needs its inputs and nothing else.
    inspect: bool


class VersionDetails(TypedDict, total=False):
    """What the methods of the service that save a workflow or prompt take beside its name and its content."""

    #: Ids of files of this project that it needs.
    inputs: Sequence[str]
    #: What else is to be known of this version.
    parameters: dict[str, Any] | None
    #: Idempotency key.
    key: str | None


class FileCreate(BaseModel):
    """What a caller may say of a file that it saves."""

    model_config = ConfigDict(extra="forbid")

    name: Title
    parameters: JsonObject = Field(default_factory=dict)
    inputs: list[Annotated[str, Field(max_length=64), AfterValidator(_storable)]] = Field(
        default_factory=list, max_length=10_000
    )
    length: Length | None = None
    expected_blake3: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    inspect: bool = True

    def arguments(self) -> dict[str, Any]:
        """Return what an idempotency key stands for: of a file that is read the same as before there was a choice."""
        return self.model_dump(mode="json", exclude={"inspect"} if self.inspect else None)


class FilePublic(BaseModel):
    """A file as everybody sees it. `path` is relative to the project's directory."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    project_id: str
    kind: FileKind
    state: FileState
    path: str
    name: str
    size_bytes: int
    charged_bytes: int
    blake3: str
    content_type: str
    parameters: dict[str, Any]
    #: What the file says of itself. Answers that were kept before there were tags and facts have none.
    facts: Facts | None = None
    fields: Fields | None = None
    tags: list[str] = Field(default_factory=list)
    rating: int | None = None
    document_id: str | None
    version: int | None
    source_id: str | None
    of_file_id: str | None
    created_at: datetime
    trashed_at: datetime | None


class DocumentPublic(BaseModel):
    """A workflow or prompt, without its content."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    project_id: str
    kind: FileKind
    name: str
    last_version: int
    versions_count: int
    created_at: datetime


class Page(BaseModel, Generic[T]):
    """Some of a list. `next_cursor` asks for what comes after; None is the end."""

    items: list[T]
    next_cursor: str | None = None


class SearchPage(Page[FilePublic]):
    """Some of what was found. `latest_cursor`, given as `since` later, finds what has come after this search."""

    latest_cursor: str | None = None


class AdoptionTicket(BaseModel):
    """Leave to write one file. The worker makes `staging_path` and closes it, then `adopt(ticket_id)` publishes it."""

    ticket_id: str
    project_id: str
    staging_path: str
    reserved_bytes: int
    expires_at: datetime


class KindStats(BaseModel):
    """Files of one kind and state."""

    kind: FileKind
    state: FileState
    files_count: int
    size_bytes: int
    charged_bytes: int


class StorageStats(BaseModel):
    """What one project has and costs. Read from counters: it takes the same time for ten files and for a million."""

    project_id: str
    used_bytes: int
    reserved_bytes: int
    quota_bytes: int | None
    free_bytes: int | None
    storage_size_mb: float
    workflows_count: int
    media_count: int
    image_count: int
    video_count: int
    audio_count: int
    other_count: int
    intermediate_count: int
    final_count: int
    trash_count: int
    trash_bytes: int
    kinds: list[KindStats]


class StoreStats(BaseModel):
    """What everything on the share costs together. Disk values are None when the share does not answer."""

    projects_count: int
    used_bytes: int
    reserved_bytes: int
    quota_bytes: int | None
    free_bytes: int | None
    workflows_count: int
    media_count: int
    #: What jobs want a person to decide, a sentence each with the command that goes on.
    questions: list[str] = Field(default_factory=list)
    disk_total_bytes: int | None = None
    disk_free_bytes: int | None = None


class RemovalReport(BaseModel):
    """What was put away, brought back or removed. `freed_bytes` is what the project now costs less."""

    files: list[FilePublic] = Field(default_factory=list)
    files_count: int = 0
    freed_bytes: int = 0


class MoveReport(BaseModel):
    """Files as they are in the project that they were moved to."""

    project_id: str
    files: list[FilePublic] = Field(default_factory=list)
    files_count: int = 0


class CleanupReport(BaseModel):
    """What a cleanup removed, or with `dry_run` would remove. `files` lists the first thousand."""

    dry_run: bool
    files_count: int
    freed_bytes: int
    kept_referenced_count: int
    files: list[FilePublic] = Field(default_factory=list)


class LeftOut(BaseModel):
    """A file that ComfyUI named and that was not filed. `again`: asked for again it may be."""

    node: str
    filename: str
    subfolder: str
    type: str
    why: str
    again: bool


class IngestReport(BaseModel):
    """What of a prompt that ComfyUI ran is filed now, whether by this request or an earlier one.

    `status` is ComfyUI's word for how the prompt ended (success, error, interrupted), `problem` what it says of that.
    """

    project_id: str
    host: str
    prompt_id: str
    status: str
    problem: str = ""
    workflow: FilePublic | None = None
    prompt: FilePublic | None = None
    files: list[FilePublic] = Field(default_factory=list)
    left_out: list[LeftOut] = Field(default_factory=list)


@dataclass(frozen=True)
class LoadedDocument:
    """A version of a workflow or prompt; `content` is byte for byte what was saved."""

    document: DocumentPublic
    file: FilePublic
    content: bytes

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever JSON the user saved
        """Return the content, parsed as JSON."""
        return json.loads(self.content)


@dataclass(frozen=True)
class SavedVersion:
    """The version that a save led to: a new one, or the latest, which had the same content."""

    file: FilePublic
    is_new: bool


@dataclass
class RecoveryReport:
    """What became of intents whose lease had run out, and of files in .staging that no open intent knows."""

    finished: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    #: Intent id to what hinders it.
    failed: dict[str, str] = field(default_factory=dict)
