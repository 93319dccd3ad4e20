# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the share's sidecars back into rows. `rebuild` and `reconcile` use it.

A sidecar is believed only as far as it fits the file beside it; the id, kind and version are those of the path.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import ValidationError

from noslop_backend.core.enums import ProjectState
from noslop_backend.core.errors import BackendError, ConflictError, UnsafePathError
from noslop_backend.journal import project_format, sidecar
from noslop_backend.journal.file_row import SIDECAR_TYPE, file_row
from noslop_backend.journal.newest_sidecar import read_sidecar
from noslop_backend.journal.project_format import Metadata, MetadataDocument, MetadataProject
from noslop_backend.journal.sidecar import Sidecar, SidecarDocument
from noslop_backend.media import probe, types
from noslop_backend.media.facts import facts_to_json, fields_to_json, read_facts, read_fields
from noslop_backend.models import FileModel, ProjectModel
from noslop_backend.share import FileContent, Share, layout
from noslop_backend.share.layout import DOCUMENTS, FileKind
from noslop_backend.share.scan import Entry

#: So many further sidecars are asked when the first is damaged.
_LATER_SIDECARS = 3


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
    #: What a further sidecar says.
    sidecar: Sidecar | None = None


def _sidecar_of(share: Share, project_id: str, lies_at: str) -> tuple[Sidecar | str, str]:
    """Return the first sidecar of a file, or if that is damaged a later one, which repeats it; and then why."""
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
        metadata = Metadata.from_bytes(share.read(project_id, layout.METADATA, project_format.LIMIT_BYTES))
        project, documents = metadata.project, metadata.documents
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = f"not readable ({'.'.join(str(part) for part in first['loc'])}: {first['msg']})"
    except (FileNotFoundError, ConflictError, UnsafePathError) as error:
        problem = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
    if problem:
        problem += "; the project is named after its directory and has no quota"
        project, documents = MetadataProject(name=project_id.rpartition("-")[0], created_at=now, updated_at=now), []
    row = ProjectModel(
        id=project_id,
        name=project.name,
        description=project.description,
        status=project.status,
        state=ProjectState.CREATING,
        settings=project.settings,
        folder_path=project_id,
        quota_bytes=project.quota_bytes,
        intermediate_days=project.intermediate_days,
        trash_days=project.trash_days,
        revision=project.revision,
        created_at=project.created_at,
        updated_at=project.updated_at,
        trashed_at=project.trashed_at,
    )
    return ScannedProject(row, ProjectState.TRASHED if project.trashed_at else ProjectState.PRESENT, documents, problem)


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
    content, doubt = _sidecar_of(share, project_id, lies_at)
    if isinstance(content, str):
        return ScannedFile(problem=content)
    if content.file.id != parsed.file_id:
        return ScannedFile(problem=f"its sidecar is about another file ({content.file.id})")
    if (content.document is not None) != (parsed.kind in DOCUMENTS):
        return ScannedFile(problem="its sidecar and its name do not agree on whether it is a version of a document")
    row = file_row(
        project_id,
        lies_at,
        name=content.file.name,
        content=FileContent(entry.size_bytes, content.file.blake3, entry.inode, entry.mtime_ns),
        content_type=content.file.content_type,
        created_at=content.file.created_at,
        trashed_at=trashed_at,
        parameters=content.parameters,
        facts=facts_to_json(read_facts(content.facts)),
        fields=fields_to_json(read_fields(content.fields)),
        document_id=content.document.id if content.document else None,
        source_id=content.file.source_id,
    )
    scanned = ScannedFile(row, content.document, set(content.inputs), doubt)
    if parsed.kind in DOCUMENTS:
        scanned.needs |= mentioned(share, project_id, lies_at)
    elif parsed.kind != FileKind.FINAL:
        # A final needs nothing of what it was made from.
        scanned.needs |= content.mentioned()
    if entry.size_bytes != content.file.size_bytes:
        row.blake3 = share.hash(project_id, lies_at).blake3
        scanned.problem = f"it has {entry.size_bytes} bytes, and its sidecar says {content.file.size_bytes}"
    return scanned


def mentioned(share: Share, project_id: str, lies_at: str) -> set[str]:
    """Return the ids of files that the content of a document names."""
    try:
        content = share.read(project_id, lies_at, sidecar.LIMIT_BYTES)
    except BackendError:
        return set()
    return layout.ids_in_text(content.decode("utf-8", "replace"))


def describe_sidecar(share: Share, project_id: str, lies_at: str, entry: Entry, trashed_at: datetime) -> ScannedFile:
    """Make the row of a sidecar; the row of what it describes has to be there before."""
    parsed = layout.parse(lies_at)
    if parsed is None or parsed.kind != FileKind.SIDECAR:
        return ScannedFile(problem="the layout has no such name")
    content = read_sidecar(share, project_id, lies_at)
    if isinstance(content, str):
        return ScannedFile(problem=content.replace("its sidecar", "it"))
    if content.file.id != parsed.file_id:
        return ScannedFile(problem=f"it is about another file ({content.file.id})")
    # Sidecars are small: they are read anyway, so their hash is that of what is there.
    observed = share.hash(project_id, lies_at)
    made_at = content.file.created_at if parsed.revision == 1 else when(entry.mtime_ns)
    row = file_row(
        project_id,
        lies_at,
        row_id=content.sidecar_id,
        name=content.file.name,
        content=FileContent(observed.size_bytes, observed.blake3, entry.inode, entry.mtime_ns),
        content_type=SIDECAR_TYPE,
        created_at=made_at,
        trashed_at=trashed_at,
    )
    # The needs of the first are those of the file that it came with.
    if parsed.revision == 1:
        return ScannedFile(row)
    # Many of them are in memory at once.
    return ScannedFile(row, needs=content.needs(), sidecar=content.without_texts())


def describe_intermediate(
    share: Share, project_id: str, lies_at: str, entry: Entry, trashed_at: datetime
) -> ScannedFile:
    """Make the row of an intermediate, which has no sidecar: hashed here, and named after its path."""
    parsed = layout.parse(lies_at)
    if parsed is None or parsed.kind not in layout.INTERMEDIATE:
        return ScannedFile(problem="the layout has no such name")
    with share.open(project_id, lies_at) as stream:
        head = stream.read(types.HEAD_BYTES)
    observed = share.hash(project_id, lies_at)
    name = os.path.basename(lies_at)
    row = file_row(
        project_id,
        lies_at,
        name=f"{parsed.slug}.{parsed.extension}",
        content=observed,
        content_type=types.intermediate(name, parsed.kind, head).content_type,
        created_at=when(entry.mtime_ns),
        trashed_at=trashed_at,
    )
    with share.open(project_id, lies_at) as stream:
        inspection = probe.inspect(stream, row.content_type, probe.PATIENT_INSPECTION)
    row.facts, row.fields = facts_to_json(inspection.facts), fields_to_json(inspection.fields)
    problem = f"it {inspection.unread}, so files that it needs may be cleaned up" if inspection.unread else ""
    return ScannedFile(row, needs=layout.ids_in_text(json.dumps(inspection.embedded)) - {row.id}, problem=problem)


def when(mtime_ns: int) -> datetime:
    """Return a file's time as the database keeps times."""
    return datetime.fromtimestamp(mtime_ns // 1000 / 1_000_000, UTC)
