# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The row of a file: made here for what is written, rebuilt, reconciled and imported alike."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from noslop_backend.core.enums import FileState
from noslop_backend.models import FileModel
from noslop_backend.share import FileContent, layout
from noslop_backend.share.layout import TRASH, WITH_SIDECAR, FileKind

SIDECAR_TYPE = "application/json"


def file_row(
    project_id: str,
    lies_at: str,
    *,
    name: str,
    content: FileContent,
    content_type: str,
    created_at: datetime,
    row_id: str | None = None,
    trashed_at: datetime | None = None,
    parameters: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    document_id: str | None = None,
    content_id: str | None = None,
    source_id: str | None = None,
    last_sidecar: int | None = None,
) -> FileModel:
    """Make the row of a file, which pays for its content. Kind, state, version and ids are those of its path.

    Args:
        project_id: the project.
        lies_at: the path in the project, in the trash or not.
        name: what the user calls it.
        content: size, BLAKE3 and time.
        content_type: the type of the content.
        created_at: when it was saved.
        row_id: the id of the row, which a sidecar's path does not hold; by default that of the path.
        trashed_at: when it was put away; kept for what lies in the trash only.
        parameters: as the caller gave them.
        facts: what it is, by itself.
        fields: how it was made, by itself.
        document_id: the document that it is a version of.
        content_id: the first of the files that share the content; by default the file itself.
        source_id: the file that a final was made from.
        last_sidecar: the number of its newest sidecar; by default 1 for kinds that have one.

    Raises:
        ValueError: the layout has no such path.
    """
    parsed = layout.parse(lies_at)
    if parsed is None:
        raise ValueError(f"{lies_at!r} is no path of the layout")
    file_id = row_id or parsed.file_id
    return FileModel(
        id=file_id,
        project_id=project_id,
        kind=parsed.kind,
        state=FileState.TRASHED if parsed.trashed else FileState.PRESENT,
        path=lies_at.removeprefix(f"{TRASH}/"),
        name=name,
        size_bytes=content.size_bytes,
        charged_bytes=content.size_bytes,
        blake3=content.blake3,
        content_type=content_type,
        parameters=parameters or {},
        facts=facts,
        fields=fields,
        # Named, since SQLModel looks up the signature of a default's factory each time.
        tags=[],
        document_id=document_id,
        version=None if document_id is None else parsed.version,
        content_id=content_id or file_id,
        source_id=source_id,
        of_file_id=parsed.file_id if parsed.kind == FileKind.SIDECAR else None,
        last_sidecar=int(parsed.kind in WITH_SIDECAR) if last_sidecar is None else last_sidecar,
        mtime_ns=content.mtime_ns,
        created_at=created_at,
        trashed_at=trashed_at if parsed.trashed else None,
    )


def location(row: FileModel) -> str:
    """Return where a file lies now: its visible path, or that in the trash."""
    return layout.trash(row.path) if row.state == FileState.TRASHED else row.path
