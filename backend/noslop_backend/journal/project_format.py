# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""metadata.json: the format of what a project is, for people and for a database that has to be rebuilt.

One model writes it and reads it back. Whatever can be counted is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, Field

from noslop_backend.core.enums import ProjectStatus
from noslop_backend.journal.sidecar import SidecarDocument, plain
from noslop_backend.models import DocumentModel, ProjectModel
from noslop_backend.schemas import ByteCount, Days, JsonObject, StoredTitle, Text

LIMIT_BYTES = 64 * 1024 * 1024


class MetadataProject(BaseModel):
    """The project itself."""

    id: str = ""
    name: StoredTitle
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
    """A document whose newest version is gone, or was saved under another name than it has now.

    Its number, which is never given again, and its name are nowhere else.
    """

    last_version: int = Field(ge=1, lt=2**31)


class Metadata(BaseModel):
    """metadata.json of format 1, in the order in which `to_bytes` writes it."""

    noslop: Literal[1]
    project: MetadataProject
    documents: list[MetadataDocument] = Field(default_factory=list)

    @classmethod
    def of(cls, project: ProjectModel, documents: Sequence[DocumentModel]) -> Metadata:
        """Return the metadata of a project.

        Args:
            project: the project.
            documents: those that a `MetadataDocument` is for.
        """
        return cls.model_construct(
            noslop=1,
            project=MetadataProject.model_construct(
                **{name: getattr(project, name) for name in MetadataProject.model_fields}
            ),
            documents=[
                MetadataDocument.model_construct(**dict(SidecarDocument.of(each)), last_version=each.last_version)
                for each in documents
            ],
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read metadata.json.

        Raises:
            ValidationError: it is no JSON, or a key is missing or has no meaning.
        """
        return cls.model_validate_json(content)

    def to_bytes(self) -> bytes:
        """Return the text of the file."""
        return json.dumps(self, indent=1, ensure_ascii=False, default=plain).encode() + b"\n"
