# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the share itself says of its files: sidecars are read back into rows. `rebuild` and `reconcile` stand on it.

A sidecar is believed only as far as it fits the file beside it; the id, kind and version are those of the path.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from noslop_backend.core.enums import FileState, ProjectState, ProjectStatus
from noslop_backend.core.errors import BackendError, ConflictError, UnsafePathError
from noslop_backend.media import types
from noslop_backend.models import FileModel, ProjectModel
from noslop_backend.schemas import ByteCount, Days, JsonObject, Text, Title
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import DOCUMENTS, FileKind
from noslop_backend.share.scan import Entry

#: A sidecar holds whatever was embedded in a file, a whole workflow for example.
SIDECAR_LIMIT_BYTES = 64 * 1024 * 1024
#: So many further sidecars are asked when the first is damaged.
_LATER_SIDECARS = 3
METADATA_LIMIT_BYTES = 64 * 1024 * 1024
Hash = Field(pattern=r"^[0-9a-f]{64}$")
FileId = Field(pattern=rf"^{layout.FILE_ID.pattern}$")


class SidecarFile(BaseModel):
    """What a sidecar says of the file that it lies beside."""

    id: str = FileId
    name: Title
    size_bytes: ByteCount
    blake3: str = Hash
    content_type: str = Field(max_length=200)
    source_id: str | None = None
    created_at: AwareDatetime


class SidecarDocument(BaseModel):
    """What a sidecar says of the workflow or prompt that its file is a version of."""

    id: str = FileId
    kind: FileKind
    name: Title
    created_at: AwareDatetime


class Sidecar(BaseModel):
    """A sidecar."""

    noslop: int
    sidecar_id: str = FileId
    file: SidecarFile
    document: SidecarDocument | None = None
    parameters: JsonObject = Field(default_factory=dict)
    embedded: dict[str, Any] = Field(default_factory=dict)
    inputs: list[str] = Field(default_factory=list)

    def mentioned(self) -> set[str]:
        """Ids of files that parameters and embedded texts name."""
        return layout.ids_in_text(json.dumps([self.parameters, self.embedded]))


class MetadataProject(BaseModel):
    """What metadata.json says of its project. Whatever can be counted is not in it."""

    id: str = ""
    name: Title
    description: Text = ""
    status: ProjectStatus = ProjectStatus.ACTIVE
    settings: JsonObject = Field(default_factory=dict)
    quota_bytes: ByteCount | None = None
    intermediate_days: Days | None = None
    trash_days: Days | None = None
    revision: int = Field(default=1, ge=1)
    created_at: AwareDatetime
    updated_at: AwareDatetime
    trashed_at: AwareDatetime | None = None


class MetadataDocument(SidecarDocument):
    """What metadata.json says of a document whose newest version is gone: its number is never given again."""

    last_version: int = Field(ge=1, lt=2**31)


class _Metadata(BaseModel):
    noslop: Literal[1]
    project: MetadataProject
    documents: list[MetadataDocument] = Field(default_factory=list)


@dataclass
class ScannedProject:
    """A project of the share: its row, still hidden, and the state to show it in."""

    row: ProjectModel
    state: ProjectState
    #: Documents whose newest version is gone.
    documents: list[MetadataDocument]
    #: What is wrong with its metadata.json.
    problem: str = ""


@dataclass
class ScannedFile:
    """A file of the share with everything that its row needs, or `problem`: why it cannot have one."""

    row: FileModel | None = None
    document: SidecarDocument | None = None
    #: Ids that it needs, whether they exist or not.
    needs: set[str] = field(default_factory=set)
    problem: str = ""


def read_sidecar(share: Share, project_id: str, path: str) -> Sidecar | str:
    """Read a sidecar, or tell why it is none."""
    try:
        # Not pydantic's own reader: it refuses halves of surrogate pairs, which embedded texts of others may hold.
        known = Sidecar.model_validate(json.loads(share.read(project_id, path, SIDECAR_LIMIT_BYTES)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"its sidecar is not readable ({'.'.join(str(part) for part in first['loc'])}: {first['msg']})"
    except FileNotFoundError:
        return "it has no sidecar"
    except (ValueError, RecursionError) as error:
        return f"its sidecar is no JSON ({error})"
    except BackendError as error:
        return f"its sidecar is not readable ({error.message})"
    if known.noslop != 1:
        return f"its sidecar has the format {known.noslop}, and this backend reads 1: install a newer one"
    return known


def _sidecar_of(share: Share, project_id: str, lies_at: str) -> tuple[Sidecar | str, str]:
    """The first sidecar of a file, or if that is damaged a later one, which repeats what it said; and then why."""
    first = read_sidecar(share, project_id, layout.sidecar(lies_at))
    if not isinstance(first, str):
        return first, ""
    for revision in range(2, 2 + _LATER_SIDECARS):
        later = read_sidecar(share, project_id, layout.sidecar(lies_at, revision))
        if not isinstance(later, str):
            return later, f"{first}; what sidecar {revision} says of it was taken"
    return first, ""


def read_project(share: Share, project_id: str, now: datetime) -> ScannedProject:
    """Make the row of a project.

    Without a readable one the project has the name that its id begins with.
    """
    problem = ""
    try:
        text = share.read(project_id, layout.METADATA, METADATA_LIMIT_BYTES)
        metadata = _Metadata.model_validate_json(text)
        said, documents = metadata.project, metadata.documents
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = f"not readable ({'.'.join(str(part) for part in first['loc'])}: {first['msg']})"
    except (FileNotFoundError, ConflictError, UnsafePathError) as error:
        problem = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
    if problem:
        problem += "; the project is named after its directory and has no quota"
        said, documents = MetadataProject(name=project_id.rpartition("-")[0], created_at=now, updated_at=now), []
    row = ProjectModel(
        id=project_id,
        name=said.name,
        description=said.description,
        status=said.status,
        state=ProjectState.CREATING,
        settings=said.settings,
        folder_path=project_id,
        quota_bytes=said.quota_bytes,
        intermediate_days=said.intermediate_days,
        trash_days=said.trash_days,
        revision=said.revision,
        created_at=said.created_at,
        updated_at=said.updated_at,
        trashed_at=said.trashed_at,
    )
    return ScannedProject(row, ProjectState.TRASHED if said.trashed_at else ProjectState.PRESENT, documents, problem)


def describe(share: Share, project_id: str, lies_at: str, entry: Entry, trashed_at: datetime) -> ScannedFile:
    """Make the row of a file that is no sidecar and has one. Its content is hashed only if its size is wrong.

    Args:
        share: the share.
        project_id: the project.
        lies_at: its path in the project, in the trash or not.
        entry: as the walk saw it.
        trashed_at: what the row says if it lies in the trash: the share does not know since when.
    """
    parsed = layout.parse(lies_at)
    if parsed is None:
        return ScannedFile(problem="the layout has no such name")
    path = lies_at.removeprefix(f"{layout.TRASH}/")
    known, doubt = _sidecar_of(share, project_id, lies_at)
    if isinstance(known, str):
        return ScannedFile(problem=known)
    if known.file.id != parsed.file_id:
        return ScannedFile(problem=f"its sidecar is about another file ({known.file.id})")
    if (known.document is not None) != (parsed.kind in DOCUMENTS):
        return ScannedFile(problem="its sidecar and its name do not agree on whether it is a version of a document")
    row = FileModel(
        id=parsed.file_id,
        project_id=project_id,
        kind=parsed.kind,
        state=FileState.TRASHED if parsed.trashed else FileState.PRESENT,
        path=path,
        name=known.file.name,
        size_bytes=entry.size_bytes,
        charged_bytes=entry.size_bytes,
        blake3=known.file.blake3,
        content_type=known.file.content_type,
        parameters=known.parameters,
        document_id=known.document.id if known.document else None,
        version=parsed.version,
        content_id=parsed.file_id,
        last_sidecar=1,
        source_id=known.file.source_id,
        mtime_ns=entry.mtime_ns,
        created_at=known.file.created_at,
        trashed_at=trashed_at if parsed.trashed else None,
    )
    found = ScannedFile(row, known.document, set(known.inputs), doubt)
    if parsed.kind in DOCUMENTS:
        found.needs |= mentioned(share, project_id, lies_at)
    elif parsed.kind != FileKind.FINAL:
        # A final needs nothing of what it was made from.
        found.needs |= known.mentioned()
    if entry.size_bytes != known.file.size_bytes:
        row.blake3 = share.hash(project_id, lies_at).blake3
        found.problem = f"it has {entry.size_bytes} bytes, and its sidecar says {known.file.size_bytes}"
    return found


def mentioned(share: Share, project_id: str, lies_at: str) -> set[str]:
    """Ids of files that the content of a document names."""
    try:
        content = share.read(project_id, lies_at, SIDECAR_LIMIT_BYTES)
    except BackendError:
        return set()
    return layout.ids_in_text(content.decode("utf-8", "replace"))


def describe_sidecar(share: Share, project_id: str, lies_at: str, entry: Entry, trashed_at: datetime) -> ScannedFile:
    """Make the row of a sidecar; the row of what it describes has to be there before."""
    parsed = layout.parse(lies_at)
    if parsed is None or parsed.kind != FileKind.SIDECAR:
        return ScannedFile(problem="the layout has no such name")
    known = read_sidecar(share, project_id, lies_at)
    if isinstance(known, str):
        return ScannedFile(problem=known.replace("its sidecar", "it"))
    if known.file.id != parsed.file_id:
        return ScannedFile(problem=f"it is about another file ({known.file.id})")
    # Sidecars are small: they are read anyway, so their hash is that of what is there.
    seen = share.hash(project_id, lies_at)
    made_at = known.file.created_at if parsed.revision == 1 else when(entry.mtime_ns)
    row = FileModel(
        id=known.sidecar_id,
        project_id=project_id,
        kind=FileKind.SIDECAR,
        state=FileState.TRASHED if parsed.trashed else FileState.PRESENT,
        path=lies_at.removeprefix(f"{layout.TRASH}/"),
        name=known.file.name,
        size_bytes=seen.size_bytes,
        charged_bytes=seen.size_bytes,
        blake3=seen.blake3,
        content_type="application/json",
        content_id=known.sidecar_id,
        of_file_id=parsed.file_id,
        mtime_ns=entry.mtime_ns,
        created_at=made_at,
        trashed_at=trashed_at if parsed.trashed else None,
    )
    # The needs of the first are those of the file that it came with.
    return ScannedFile(
        row, needs=set() if parsed.revision == 1 else (known.mentioned() | set(known.inputs)) - {parsed.file_id}
    )


def describe_intermediate(
    share: Share, project_id: str, lies_at: str, entry: Entry, trashed_at: datetime
) -> ScannedFile:
    """Make the row of an intermediate, which has no sidecar: hashed here, and named after its path."""
    parsed = layout.parse(lies_at)
    if parsed is None or parsed.kind not in layout.INTERMEDIATE:
        return ScannedFile(problem="the layout has no such name")
    with share.open(project_id, lies_at) as stream:
        head = stream.read(types.HEAD_BYTES)
    seen = share.hash(project_id, lies_at)
    name = os.path.basename(lies_at)
    row = FileModel(
        id=parsed.file_id,
        project_id=project_id,
        kind=parsed.kind,
        state=FileState.TRASHED if parsed.trashed else FileState.PRESENT,
        path=lies_at.removeprefix(f"{layout.TRASH}/"),
        name=f"{parsed.slug}.{parsed.extension}",
        size_bytes=seen.size_bytes,
        charged_bytes=seen.size_bytes,
        blake3=seen.blake3,
        content_type=types.intermediate(name, parsed.kind, head).content_type,
        content_id=parsed.file_id,
        mtime_ns=seen.mtime_ns,
        created_at=when(entry.mtime_ns),
        trashed_at=trashed_at if parsed.trashed else None,
    )
    return ScannedFile(row)


def when(mtime_ns: int) -> datetime:
    """A file's time as the database keeps times."""
    return datetime.fromtimestamp(mtime_ns // 1000 / 1_000_000, UTC)
