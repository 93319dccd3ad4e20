# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of a file (its name, tags and stars): in plans, in sidecars and in rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from sqlmodel import Session

from noslop_backend.models import FileModel
from noslop_backend.repositories import SearchRepository
from noslop_backend.schemas import Title
from noslop_backend.schemas.labels import Rating, Tags
from noslop_backend.share import layout


class FileLabels(BaseModel):
    """What people call a file, in which groups they put it, and how good they find it."""

    name: Title
    tags: Tags = Field(default_factory=list)
    rating: Rating | None = None

    @classmethod
    def read(cls, name: str, tags: object, rating: object) -> FileLabels:
        """Return the labels that a sidecar holds; without tags and stars where those cannot be read."""
        try:
            made = cls.model_validate({"name": name, "tags": tags or [], "rating": rating})
        except ValidationError:
            return cls(name=name)
        return made.model_copy(update={"tags": sorted(set(made.tags))})


def of(row: FileModel) -> FileLabels:
    """Return the labels of a row."""
    return FileLabels.model_construct(name=row.name, tags=list(row.tags), rating=row.rating)


def relabel(content: bytes, sidecar_id: str, wanted: FileLabels) -> tuple[bytes, set[str]]:
    """Return a sidecar with other labels, and the ids of files that it mentions. All else of it stays as it is.

    Args:
        content: the sidecar that was the newest.
        sidecar_id: the id of the new one.
        wanted: the labels.
    """
    sidecar: dict[str, Any] = json.loads(content)
    sidecar["sidecar_id"], sidecar["file"] = sidecar_id, sidecar["file"] | {"name": wanted.name}
    write(sidecar, wanted.tags, wanted.rating)
    mentioned = layout.ids_in_text(json.dumps([sidecar.get("parameters"), sidecar.get("embedded")]))
    return json.dumps(sidecar, indent=1).encode() + b"\n", mentioned | set(sidecar.get("inputs", ()))


def write(sidecar: dict[str, Any], tags: list[str], rating: int | None) -> None:
    """Put tags and stars into a sidecar. Without any it has no keys for them, as before there were some."""
    for name, value in (("tags", tags), ("rating", rating)):
        sidecar.pop(name, None)
        if value or value == 0:
            sidecar[name] = value


def apply(session: Session, row: FileModel, wanted: FileLabels, texts: Mapping[str, str]) -> None:
    """Write labels into a row, and what it is found by.

    Args:
        session: of the transaction that changes the file.
        row: the file, of this session.
        wanted: the labels.
        texts: contents that the search looks through, by id.
    """
    row.name, row.tags, row.rating = wanted.name, list(wanted.tags), wanted.rating
    session.add(row)
    session.flush()
    SearchRepository(session).replace([row], texts)


def revision_of(sidecar: FileModel) -> int:
    """Return which sidecar of its file this row is; the first is 1."""
    parsed = layout.parse(sidecar.path)
    return parsed.revision if parsed else 0
