# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a file: by a caller, by its content, in an intent's plan, in its sidecar, and to everybody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Unpack

from pydantic import ValidationError

from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import ContentMismatchError, InvalidRequestError, UnsupportedMediaError
from noslop_backend.media.types import MediaType, sniff
from noslop_backend.models import DocumentModel, FileModel
from noslop_backend.schemas import FileCreate, FileDetails, FilePublic
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

FORMAT = 1


def compose_sidecar(
    row: FileModel,
    sidecar_id: str,
    *,
    document: dict[str, Any] | None = None,
    embedded: dict[str, Any] | None = None,
    inputs: Sequence[str] = (),
    parameters: dict[str, Any] | None = None,
) -> bytes:
    """Text of a sidecar: everything that a lost database would have known of a file."""
    known = {
        "noslop": FORMAT,
        "sidecar_id": sidecar_id,
        "file": {
            "id": row.id,
            "project_id": row.project_id,
            "kind": row.kind,
            "path": row.path,
            "name": row.name,
            "size_bytes": row.size_bytes,
            "blake3": row.blake3,
            "content_type": row.content_type,
            "version": row.version,
            "source_id": row.source_id,
            "content_id": row.content_id,
            "created_at": row.created_at.isoformat(),
        },
        "document": document,
        "parameters": row.parameters if parameters is None else parameters,
        "embedded": embedded or {},
        "inputs": sorted(set(inputs)),
    }
    # ASCII only: embedded texts of others may hold what no UTF-8 can.
    return json.dumps(known, indent=1).encode() + b"\n"


def checked(name: str, **said: Unpack[FileDetails]) -> FileCreate:
    """Validate what a caller says of a file.

    Raises:
        InvalidRequestError: something of it has no meaning.
    """
    try:
        return FileCreate(
            name=name,
            parameters=said.get("parameters") or {},
            inputs=list(said.get("inputs", ())),
            length=said.get("length"),
            expected_blake3=said.get("expected_blake3"),
        )
    except ValidationError as error:
        raise invalid(error) from error


def invalid(error: ValidationError) -> InvalidRequestError:
    """Say in one sentence what does not fit."""
    problems = (
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return InvalidRequestError(f"The request does not fit: {'; '.join(problems)}.")


def row_json(row: FileModel) -> dict[str, Any]:
    """A row as it lies in an intent's plan."""
    return row.model_dump(mode="json")


def row_of(plan: dict[str, Any]) -> FileModel:
    """Read a row from an intent's plan."""
    times = {name: plan[name] and datetime.fromisoformat(plan[name]) for name in ("created_at", "trashed_at")}
    return FileModel(**(plan | times))


def public(row: FileModel) -> FilePublic:
    """What everybody sees of a row."""
    return FilePublic.model_validate(row)


def location(row: FileModel) -> str:
    """Where a file lies now."""
    return layout.trash(row.path) if row.state == FileState.TRASHED else row.path


def document_json(document: DocumentModel) -> dict[str, Any]:
    """What a sidecar says of the document that a file is a version of."""
    return {
        "id": document.id,
        "kind": document.kind,
        "name": document.name,
        "created_at": document.created_at.isoformat(),
    }


def generated(kind: FileKind | None, head: bytes) -> MediaType:
    """Type of generated media by its content.

    Raises:
        UnsupportedMediaError: none that the layout has a place for, or another kind than was named.
    """
    found = sniff(head)
    if found is None:
        raise UnsupportedMediaError(
            "The content is no image, video or audio that is known here (PNG, JPEG, WebP, GIF, AVIF, HEIF, TIFF, EXR; "
            "MP4, MOV, WebM, Matroska, AVI, Ogg; WAV, FLAC, MP3, M4A, Opus). Save it as an intermediate, or convert it."
        )
    if kind is not None and found.kind != kind:
        raise UnsupportedMediaError(f"The content is {found.content_type}, which is {found.kind} and not {kind}.")
    return found


def check_hash(expected: str | None, seen: str) -> None:
    """Compare what came with what was announced.

    Raises:
        ContentMismatchError: they differ.
    """
    if expected is not None and expected != seen:
        raise ContentMismatchError(f"The content's BLAKE3 is {seen}, and {expected} was announced. Nothing was kept.")
