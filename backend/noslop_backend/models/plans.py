# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans of intents: what recovery reads after a crash. One model an operation, written and read here.

Plans without a version are those of commit 8ae3555; version 1 has the same keys. A key that a model does not name is
kept: a plan that is read and written again loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError

from noslop_backend.core.enums import IntentOp
from noslop_backend.core.errors import ConflictError
from noslop_backend.models.tables import DocumentModel, FileModel, IntentModel
from noslop_backend.schemas import EmbeddedTexts, FileLabels

VERSION = 1


def _row_json(row: FileModel) -> dict[str, Any]:
    return row.model_dump(mode="json")


def _read_row(row: FileModel | Mapping[str, Any]) -> FileModel:
    if isinstance(row, FileModel):
        return row
    times = {name: row[name] and datetime.fromisoformat(row[name]) for name in ("created_at", "trashed_at")}
    return FileModel(**{**row, **times})


#: A row of `file` that is about to be inserted, or that an operation started from.
PlannedRow = Annotated[FileModel, PlainValidator(_read_row), PlainSerializer(_row_json, return_type=dict)]


class PlannedActor(BaseModel):
    """Who asked for it, for the audit log: the author is in the log, whichever process finishes it."""

    kind: str
    id: str | None
    name: str
    origin: str


class PlannedDocument(BaseModel):
    """The workflow or prompt that a file is a version of."""

    id: str
    kind: str
    name: str
    created_at: AwareDatetime

    @classmethod
    def of(cls, document: DocumentModel) -> PlannedDocument:
        """Return what a plan holds of this document."""
        return cls(id=document.id, kind=document.kind, name=document.name, created_at=document.created_at)


class PlannedFile(BaseModel):
    """The file to be written. A further sidecar has no `id` of its own here, and no name."""

    model_config = ConfigDict(extra="allow")

    id: str = ""
    sidecar_id: str
    kind: str | None = None
    name: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[str] = Field(default_factory=list)
    #: Whether to read what the content embeds.
    inspect: bool = True
    #: Once the content was read: which texts it embeds, and the ids of files that they name.
    embedded_texts: EmbeddedTexts | None = None
    references: list[str] = Field(default_factory=list)
    document: PlannedDocument | None = None
    version: int | None = None
    content_id: str | None = None
    source_id: str | None = None


class Plan(BaseModel):
    """What every plan holds."""

    model_config = ConfigDict(extra="allow")

    version: int = 0
    #: How long the lease was when the intent began, in seconds.
    lease_s: float | None = None
    actor: PlannedActor | None = None
    #: For the audit log: the operation, where that says more than the intent's, and its details.
    operation: str = ""
    details: dict[str, Any] = Field(default_factory=dict)
    #: It is being undone: nothing of it is finished any more.
    undo: bool = False

    @property
    def need_bytes(self) -> int:
        """Return what the rows of the plan will cost; 0 as long as it has none."""
        return 0

    def to_json(self) -> dict[str, Any]:
        """Return the plan as it lies in the database, in the current version."""
        return {"version": VERSION} | self.model_dump(mode="json", exclude_defaults=True, exclude={"version"})


class WritePlan(Plan):
    """A new file, or a further version of a document."""

    file: PlannedFile
    #: The rows that are to be published, and the ids that they need: from the beginning where the content is whole by
    #: then, else once every byte is in `.staging`.
    rows: list[PlannedRow] = Field(default_factory=list)
    references: list[str] = Field(default_factory=list)

    @property
    def need_bytes(self) -> int:
        """Return what the planned rows will cost."""
        return sum(row.charged_bytes for row in self.rows)


class SidecarPlan(WritePlan):
    """A further sidecar of a file. Its `file` holds the parameters and inputs that were given, if they were."""

    of: PlannedRow
    #: The number of the sidecar.
    revision: int


class LabelPlan(SidecarPlan):
    """A further sidecar with other labels."""

    labels: FileLabels


class PromotePlan(WritePlan):
    """A final, made from the file of `of`."""

    of: PlannedRow


class Ticket(BaseModel):
    """What a worker has who writes a file onto the share: its owner while no one adopts it, and until when."""

    owner: str
    expires_at: AwareDatetime
    reserved_bytes: int


class AdoptPlan(WritePlan):
    """A file that a worker writes."""

    ticket: Ticket


class MovePlan(Plan):
    """Files that go into the trash or come out of it; `files` are those that were named, without their sidecars."""

    files: list[str]


class PlannedName(BaseModel):
    """The path of a file or sidecar in the project that it leaves, and in the one that receives it."""

    id: str
    before: str
    after: str


class TransferPlan(Plan):
    """Files that go to another project; `files` are those that were named, `names` has their sidecars too."""

    source_id: str
    files: list[str]
    names: list[PlannedName]
    #: What they will cost the receiving project.
    size_bytes: int
    #: The rows are those of the receiving project: what is left is to remove the names from before.
    switched: bool = False

    @property
    def need_bytes(self) -> int:
        """Return what the files will cost."""
        return self.size_bytes


class RemovePlan(Plan):
    """Files that go for good."""

    #: metadata.json has to say a document's last number before the files go.
    numbers: bool = False


class ProjectPlan(Plan):
    """A project that is made, changed or removed."""


class RenamePlan(ProjectPlan):
    """A workflow or prompt that has got another name."""

    document_id: str


class ImportPlan(Plan):
    """A project that comes out of an archive."""

    #: The project's id in the archive.
    archive_of: str = ""


PLANS: dict[IntentOp, type[Plan]] = {
    IntentOp.WRITE: WritePlan,
    IntentOp.ADOPT: AdoptPlan,
    IntentOp.PROMOTE: PromotePlan,
    IntentOp.TRASH: MovePlan,
    IntentOp.RESTORE: MovePlan,
    IntentOp.PURGE: RemovePlan,
    IntentOp.CLEANUP: RemovePlan,
    IntentOp.TRANSFER: TransferPlan,
    IntentOp.CREATE_PROJECT: ProjectPlan,
    IntentOp.UPDATE_PROJECT: ProjectPlan,
    IntentOp.PURGE_PROJECT: ProjectPlan,
    IntentOp.IMPORT_PROJECT: ImportPlan,
}


def read_plan(intent: IntentModel) -> Plan:
    """Read the plan of an open intent, by its operation.

    Raises:
        ConflictError: a newer version of the backend wrote it, or it is damaged.
    """
    plan = intent.plan
    if (version := plan.get("version", 0)) not in range(VERSION + 1):
        raise ConflictError(
            f"The plan of the intent {intent.id} ({intent.op}) has the version {version}, and this backend reads up to "
            f"{VERSION}: a newer one began it. Install that version again, and run `noslop-backend recover`.",
            intent_id=intent.id,
        )
    op = IntentOp(intent.op)
    model = PLANS[op]
    if op == IntentOp.WRITE and "of" in plan:
        model = LabelPlan if "labels" in plan else SidecarPlan
    if op == IntentOp.UPDATE_PROJECT and "document_id" in plan:
        model = RenamePlan
    try:
        return model.model_validate(plan)
    except (ValidationError, KeyError, ValueError) as error:
        raise ConflictError(
            f"The plan of the intent {intent.id} ({intent.op}) cannot be read ({error}). Nothing of it was finished or "
            "undone: keep a copy of the database, and look what wrote it.",
            intent_id=intent.id,
        ) from error


def copy_row(row: FileModel) -> FileModel:
    """Return a row that belongs to no session, so that a plan may keep it beyond its transaction."""
    return FileModel(**row.model_dump())
