# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and read sidecars: the format of what lies beside a file on the share. One model does both.

Owns: format 1. A sidecar holds everything that a lost database would have known of a file. Never: opens files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from noslop_backend.models import DocumentModel, FileModel
from noslop_backend.models.plans import PlannedDocument
from noslop_backend.schemas import ByteCount, EmbeddedTexts, FileLabels, JsonObject, StoredTitle
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

FORMAT = 1
#: A sidecar holds whatever was embedded in a file, a whole workflow for example.
LIMIT_BYTES = 64 * 1024 * 1024
#: Parameters of the backend itself: of which output of ComfyUI a file comes, and what decoding it showed.
_ORIGIN = ("comfyui", "media")
_OPTIONAL = ("embedded", "tags", "rating", "facts", "fields", "embedded_texts", "references")
FileId = Field(pattern=rf"^{layout.FILE_ID.pattern}$")


class SidecarFile(BaseModel):
    """The file that a sidecar lies beside. What the path says too is written for people, and not read."""

    model_config = ConfigDict(extra="allow")

    id: str = FileId
    project_id: Any = None
    kind: Any = None
    path: Any = None
    name: StoredTitle
    size_bytes: ByteCount
    blake3: str = Field(pattern=r"^[0-9a-f]{64}$")
    content_type: str = Field(max_length=200)
    version: Any = None
    source_id: str | None = None
    content_id: Any = None
    created_at: AwareDatetime


class SidecarDocument(BaseModel):
    """The workflow or prompt that a file is a version of."""

    id: str = FileId
    kind: FileKind
    name: StoredTitle
    created_at: AwareDatetime

    @classmethod
    def of(cls, document: DocumentModel | PlannedDocument) -> SidecarDocument:
        """Return what a sidecar says of this document."""
        return cls.model_construct(
            id=document.id, kind=FileKind(document.kind), name=document.name, created_at=document.created_at
        )


class Sidecar(BaseModel):
    """A sidecar of format 1. Every key that `to_bytes` writes is here, in the order in which it is written.

    Keys of later versions stay in the sidecars that are made from it.
    """

    model_config = ConfigDict(extra="allow")

    noslop: int
    sidecar_id: str = FileId
    file: SidecarFile
    document: SidecarDocument | None = None
    parameters: JsonObject = Field(default_factory=dict)
    #: Texts of the file, in sidecars of before `embedded_texts`.
    embedded: dict[str, Any] = Field(default_factory=dict)
    inputs: list[str] = Field(default_factory=list)
    #: Checked by `labels`: a file is no less there for a tag that cannot be read.
    tags: Any = None
    rating: Any = None
    #: Read by `media.facts`.
    facts: Any = None
    fields: Any = None
    embedded_texts: EmbeddedTexts | None = None
    #: Ids of files that the texts name.
    references: list[str] = Field(default_factory=list)

    @classmethod
    def of(
        cls,
        row: FileModel,
        sidecar_id: str,
        *,
        document: SidecarDocument | None = None,
        embedded_texts: EmbeddedTexts | None = None,
        references: Sequence[str] = (),
        inputs: Sequence[str] = (),
    ) -> Sidecar:
        """Return the sidecar of a file. Nothing is validated again: all of it was when it came in."""
        file = SidecarFile.model_construct(
            **{name: getattr(row, name) for name in SidecarFile.model_fields},
        )
        return cls.model_construct(
            noslop=FORMAT,
            sidecar_id=sidecar_id,
            file=file,
            document=document,
            parameters=row.parameters,
            embedded={},
            inputs=sorted(set(inputs)),
            tags=row.tags,
            rating=row.rating,
            facts=row.facts,
            fields=row.fields,
            embedded_texts=embedded_texts,
            references=list(references),
        )

    def without_texts(self) -> Self:
        """Return the same sidecar, with where embedded texts are in place of a copy of them."""
        return self.model_copy(
            update={
                "embedded": {},
                "embedded_texts": self.embedded_texts or EmbeddedTexts.of(self.embedded),
                "references": sorted({*self.references} | layout.ids_in_text(json.dumps(self.embedded))),
            }
        )

    def revise(
        self,
        sidecar_id: str,
        labels: FileLabels,
        parameters: Mapping[str, JsonValue],
        inputs: Sequence[str] = (),
    ) -> Self:
        """Return the next sidecar of the same file. It says where embedded texts are, and holds none.

        Args:
            sidecar_id: the id of the new one.
            labels: the labels from now on.
            parameters: all parameters from now on.
            inputs: further inputs.
        """
        return self.without_texts().model_copy(
            update={
                "sidecar_id": sidecar_id,
                "file": self.file.model_copy(update={"name": labels.name}),
                "parameters": dict(parameters),
                "inputs": sorted({*self.inputs, *inputs}),
                "tags": labels.tags,
                "rating": labels.rating,
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a sidecar of any format that has these keys: `noslop` says which it is.

        Raises:
            ValidationError: a key is missing or has no meaning.
            ValueError, RecursionError: it is no JSON.
        """
        # Not pydantic's own reader: it refuses halves of surrogate pairs, which embedded texts of others may hold.
        return cls.model_validate(json.loads(content))

    def to_bytes(self) -> bytes:
        """Return the text of the file: ASCII only, since embedded texts may hold what no UTF-8 can."""
        # What a file does not have has no key, as before there was any.
        unset = {name for name in _OPTIONAL if getattr(self, name) in ([], {}, None)}
        keys = {name: value for name, value in self if name not in unset}
        return json.dumps(keys, separators=(",", ":"), default=plain).encode() + b"\n"

    @property
    def labels(self) -> FileLabels:
        """Return the labels of the file; without tags and stars where those cannot be read."""
        return FileLabels.read(self.file.name, self.tags, self.rating)

    def mentioned(self) -> set[str]:
        """Return the ids of files that parameters and embedded texts name."""
        return layout.ids_in_text(json.dumps([self.parameters, self.embedded])) | {*self.references}

    def needs(self) -> set[str]:
        """Return the ids of files that its file needs: its inputs, and those that it mentions."""
        return ({*self.inputs} | self.mentioned()) - {self.file.id}


def plain(value: object) -> object:
    """Return what `json.dumps` can write in place of a model, a dataclass or a time; for its parameter `default`."""
    if isinstance(value, BaseModel):
        # Not `dict(value)`, which calls `keys`, and a model may have a field of that name.
        return {name: each for name, each in value}  # noqa: C416 - see above
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a file of the share")


def keep_origin(before: Mapping[str, JsonValue], parameters: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return parameters that replace others: what the backend itself wrote stays, unless it was given anew.

    Args:
        before: the parameters of the file until now.
        parameters: those that were given.
    """
    return {name: before[name] for name in _ORIGIN if name in before} | dict(parameters)


def check_format(number: int) -> str:
    """Return why a file of this format cannot be read; empty when it can."""
    return "" if number == FORMAT else f"has the format {number}, and this backend reads {FORMAT}: install a newer one"
