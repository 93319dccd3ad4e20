# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and check the manifest of an exported project, line by line, and name its files in the archive.

    manifest.jsonl     one JSON object a line: the project, its documents, its files, what needs what
    manifest.blake3    BLAKE3 of manifest.jsonl
    files/<path>       every file with a content of its own, in the manifest's order

Each line is checked as it is read: an archive may come from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from noslop_backend.archive.tar import NAME_LIMIT, ArchiveError
from noslop_backend.core.enums import FileState, ProjectStatus
from noslop_backend.schemas import ByteCount, Days, JsonObject, StoredTitle, Text
from noslop_backend.schemas.labels import Rating, Tags
from noslop_backend.share import layout
from noslop_backend.share.layout import DOCUMENTS, FileKind

VERSION = 1
MANIFEST, CHECKSUM = "manifest.jsonl", "manifest.blake3"
#: A line holds at most a row, whose parameters have at most 1 MiB.
LINE_LIMIT_BYTES = 8 * 1024 * 1024
_HASH = r"^[0-9a-f]{64}$"
_FILE_ID = rf"^{layout.FILE_ID.pattern}$"


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectLine(_Line):
    """The first line: the project, and what follows."""

    line: Literal["project"] = "project"
    format: Literal["noslop-project"] = "noslop-project"
    version: int = VERSION
    exported_at: AwareDatetime
    studio_id: str
    id: str
    name: StoredTitle
    description: Text
    status: ProjectStatus
    settings: JsonObject
    quota_bytes: ByteCount | None
    intermediate_days: Days | None
    trash_days: Days | None
    revision: int = Field(ge=1, lt=2**31)
    created_at: AwareDatetime
    updated_at: AwareDatetime
    documents_count: ByteCount
    files_count: ByteCount
    #: Of all files with a content of their own.
    total_bytes: ByteCount

    @model_validator(mode="after")
    def _ours(self) -> ProjectLine:
        if self.version != VERSION:
            raise ValueError(f"the format's version is {self.version}, and this backend reads {VERSION}")
        if not layout.is_project_id(self.id):
            raise ValueError("id is none that a studio gives to a project")
        return self


class DocumentLine(_Line):
    """A workflow or prompt."""

    line: Literal["document"] = "document"
    id: str = Field(pattern=_FILE_ID)
    kind: FileKind
    name: StoredTitle
    last_version: int = Field(ge=0, lt=10**9)
    created_at: AwareDatetime

    @model_validator(mode="after")
    def _kind(self) -> DocumentLine:
        if self.kind not in DOCUMENTS:
            raise ValueError(f"a {self.kind} is no document")
        return self


class FileLine(_Line):
    """A file. With `same_as` it shares the content of a file that came before, and the archive holds it once."""

    line: Literal["file"] = "file"
    id: str = Field(pattern=_FILE_ID)
    kind: FileKind
    state: FileState
    path: str
    name: StoredTitle
    size_bytes: ByteCount
    blake3: str = Field(pattern=_HASH)
    content_type: str = Field(min_length=1, max_length=200)
    parameters: JsonObject
    tags: Tags = Field(default_factory=list)
    rating: Rating | None = None
    facts: JsonObject | None = None
    fields: JsonObject | None = None
    document_id: str | None = Field(pattern=_FILE_ID)
    version: int | None
    source_id: str | None = Field(pattern=_FILE_ID)
    of_file_id: str | None = Field(pattern=_FILE_ID)
    last_sidecar: int = Field(ge=0, lt=10**9)
    same_as: str | None = Field(pattern=_FILE_ID)
    created_at: AwareDatetime
    trashed_at: AwareDatetime | None

    @model_validator(mode="after")
    def _fits_layout(self) -> FileLine:
        parsed = layout.parse(self.path)
        if parsed is None or parsed.trashed or parsed.kind != self.kind or parsed.version != self.version_in_path:
            raise ValueError(f"{self.path!r} is no path of the layout for a {self.kind}")
        if self.state not in {FileState.PRESENT, FileState.TRASHED}:
            raise ValueError(f"a file of an archive is not {self.state}")
        if (self.state == FileState.TRASHED) != (self.trashed_at is not None):
            raise ValueError("what is in the trash has a time of that, and nothing else has")
        if self.kind == FileKind.SIDECAR:
            if self.of_file_id != parsed.file_id or self.document_id or self.version or self.same_as:
                raise ValueError(f"the sidecar {self.path!r} says that it describes {self.of_file_id}")
        elif parsed.file_id != self.id or self.of_file_id:
            raise ValueError(f"{self.path!r} is not the path of {self.id}")
        if (self.document_id is None) != (self.version is None) or (self.version is None) != (
            self.kind not in DOCUMENTS
        ):
            raise ValueError("a version has a document, and a document's file has a version")
        return self

    @property
    def version_in_path(self) -> int | None:
        """Return the version that the path has to show: a sidecar's is that of the file it describes."""
        if self.kind == FileKind.SIDECAR:
            parsed = layout.parse(self.path)
            return parsed.version if parsed else None
        return self.version

    @property
    def lies_at(self) -> str:
        """Return its path in the project, in the trash or not."""
        return layout.trash(self.path) if self.state == FileState.TRASHED else self.path

    @property
    def member(self) -> str:
        """Return its name in the archive."""
        return member(self.lies_at, self.id)


class NeedLine(_Line):
    """A file needs another."""

    line: Literal["need"] = "need"
    from_id: str = Field(pattern=_FILE_ID)
    to_id: str = Field(pattern=_FILE_ID)


Line = ProjectLine | DocumentLine | FileLine | NeedLine
_LINES: dict[str, type[ProjectLine] | type[DocumentLine] | type[FileLine] | type[NeedLine]] = {
    "project": ProjectLine,
    "document": DocumentLine,
    "file": FileLine,
    "need": NeedLine,
}
#: Lines come in this order.
_ORDER = ("project", "document", "file", "need")


def member(lies_at: str, file_id: str) -> str:
    """Return the name of a file in the archive: its path, or for the few that are too long for tar only its id."""
    name = f"files/{lies_at}"
    return name if len(name) <= NAME_LIMIT else f"files/{file_id}"


def write(line: Line) -> bytes:
    """Return one line of a manifest. What a file does not have has no key, as before there was any."""
    optional = ("tags", "rating", "facts", "fields") if isinstance(line, FileLine) else ()
    unset = {name for name in optional if getattr(line, name) in ([], None)}
    return line.model_dump_json(exclude=unset).encode() + b"\n"


class Lines(Protocol):
    """A manifest that is read line by line."""

    def readline(self, limit: int = -1, /) -> bytes:
        """Return the next line, or as much of it as `limit` allows; empty at the end."""


def read(stream: Lines) -> Iterator[Line]:
    """Read a manifest from its beginning, line by line.

    Raises:
        ArchiveError: a line is not what an export writes, or comes in another order.
    """
    place, number = 0, 0
    while raw := stream.readline(LINE_LIMIT_BYTES + 1):
        number += 1
        if len(raw) > LINE_LIMIT_BYTES or not raw.endswith(b"\n"):
            raise ArchiveError(
                f"Line {number} of the archive's manifest is cut off, or longer than {LINE_LIMIT_BYTES} bytes."
            )
        kind = next((name for name in _ORDER if raw.startswith(b'{"line":"%s",' % name.encode())), None)
        if kind is None or _ORDER.index(kind) < place or (number == 1) != (kind == "project"):
            raise ArchiveError(
                f"Line {number} of the archive's manifest is none that an export writes there. The archive was not "
                "made by `noslop-backend export`, or was changed since."
            )
        place = _ORDER.index(kind)
        try:
            yield _LINES[kind].model_validate_json(raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at = ".".join(str(part) for part in first["loc"])
            raise ArchiveError(
                f"Line {number} of the archive's manifest is wrong: {at + ': ' if at else ''}{first['msg']}. "
                "Nothing was imported."
            ) from error
    if not number:
        raise ArchiveError("The archive's manifest is empty.")


def seconds(moment: datetime) -> int:
    """Return a time as tar has it: whole seconds since 1970."""
    return max(0, int(moment.timestamp()))
