# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables. Times are aware and in UTC, sizes are bytes, ids are the layout's."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from noslop_backend.core.enums import FileState, IntentOp, IntentState, ProjectState, ProjectStatus, TokenScope
from noslop_backend.share.layout import FileKind

MIB = 1024 * 1024


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time. SQLite keeps no zone: UTC goes in without one and comes out with it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone, which cannot be compared."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _Table(SQLModel):
    """What all tables share: names of constraints that are the same on every database, so that migrations find them."""


SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata: MetaData = SQLModel.metadata


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _not_negative(*columns: str) -> list[CheckConstraint]:
    return [CheckConstraint(f"{column} >= 0", name=column) for column in columns]


class StoreModel(_Table, table=True):
    """The one row about everything on the share: which share it is, and what all projects cost together."""

    __tablename__ = "store"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        *_not_negative("used_bytes", "reserved_bytes", "quota_bytes"),
    )

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    studio_id: str | None = None
    share_id: str | None = None
    quota_bytes: int | None = Field(default=None, sa_type=BigInteger)
    used_bytes: int = Field(default=0, sa_type=BigInteger)
    reserved_bytes: int = Field(default=0, sa_type=BigInteger)


class ProjectModel(_Table, table=True):
    """A project. Its counters change in the transaction that changes the rows they count."""

    __tablename__ = "project"
    __table_args__ = (
        _one_of("status", ProjectStatus),
        _one_of("state", ProjectState),
        CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
        *_not_negative("workflows_count", "media_count", "used_bytes", "reserved_bytes", "quota_bytes"),
        CheckConstraint("intermediate_days >= 1", name="intermediate_days"),
        CheckConstraint("trash_days >= 1", name="trash_days"),
        Index(None, "created_at", "id"),
    )

    id: str = Field(primary_key=True)
    name: str
    description: str = ""
    status: str = ProjectStatus.ACTIVE
    state: str = ProjectState.CREATING
    settings: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    #: Relative to `project_storage_dir`, which may lie elsewhere tomorrow; `ProjectCRUD.get_folder_path` gives the
    #: whole.
    folder_path: str = Field(unique=True)
    workflows_count: int = 0
    media_count: int = 0
    used_bytes: int = Field(default=0, sa_type=BigInteger)
    reserved_bytes: int = Field(default=0, sa_type=BigInteger)
    quota_bytes: int | None = Field(default=None, sa_type=BigInteger)
    intermediate_days: int | None = None
    trash_days: int | None = None
    #: One more with each change of what metadata.json holds.
    revision: int = 1
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    trashed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)

    @property
    def storage_size_mb(self) -> float:
        """Return what the project costs, in MiB."""
        return self.used_bytes / MIB


class DocumentModel(_Table, table=True):
    """A workflow or prompt by its name; its versions are files."""

    __tablename__ = "document"
    __table_args__ = (
        UniqueConstraint("project_id", "kind", "name"),
        Index(None, "project_id", "kind", "name_key"),
        CheckConstraint("kind IN ('workflow', 'prompt')", name="kind"),
        *_not_negative("last_version", "versions_count"),
    )

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="project.id", ondelete="CASCADE")
    kind: str
    name: str
    #: `layout.title_key` of the name. Not unique: an older version took names for different that have the same key.
    name_key: str
    #: Counts every version that was ever begun: a number that failed is a gap and comes never again.
    last_version: int = 0
    #: Versions that are present.
    versions_count: int = 0
    created_at: datetime = Field(sa_type=UtcDateTime)


class FileModel(_Table, table=True):
    """A published file. Its content never changes; `path` is the visible one, also while it is in the trash."""

    __tablename__ = "file"
    __table_args__ = (
        UniqueConstraint("project_id", "path"),
        UniqueConstraint("document_id", "version"),
        _one_of("kind", FileKind),
        _one_of("state", FileState),
        *_not_negative("size_bytes", "charged_bytes", "last_sidecar"),
        CheckConstraint("charged_bytes IN (0, size_bytes)", name="charged_once"),
        CheckConstraint("length(blake3) = 64", name="blake3"),
        CheckConstraint("(document_id IS NULL) = (version IS NULL)", name="version"),
        CheckConstraint("(of_file_id IS NOT NULL) = (kind = 'sidecar')", name="sidecar"),
        CheckConstraint("rating BETWEEN 0 AND 5", name="rating"),
        Index(None, "project_id", "state", "kind", "created_at", "id"),
        Index(None, "project_id", "state", "created_at", "id"),
    )

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="project.id", ondelete="CASCADE")
    kind: str
    state: str = FileState.PRESENT
    path: str
    #: As the user typed it.
    name: str
    size_bytes: int = Field(sa_type=BigInteger)
    #: What it costs the project: its size, or nothing while another row of the same content pays.
    charged_bytes: int = Field(sa_type=BigInteger)
    blake3: str
    content_type: str
    #: As given when it was saved, or since with its newest sidecar.
    parameters: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    #: What it is and how it was made, by itself (`media.facts`); NULL for nothing, and for what was saved before that
    #: was kept.
    facts: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    fields: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    #: Labels that people give it, in NFC and sorted.
    tags: list[str] = Field(default_factory=list, sa_type=JSON)
    #: Stars, 0 to 5; None while it has none.
    rating: int | None = None
    document_id: str | None = Field(default=None, foreign_key="document.id", ondelete="CASCADE")
    version: int | None = None
    #: Rows that share one inode (a final and its source) share this; it is the id of the first.
    content_id: str = Field(index=True)
    #: The file that a final was made from. It may be gone.
    source_id: str | None = None
    #: Counts the sidecars that were ever begun for this file: a number that failed is a gap.
    last_sidecar: int = 0
    #: The file that a sidecar describes.
    of_file_id: str | None = Field(default=None, foreign_key="file.id", ondelete="CASCADE", index=True)
    #: Of the file on the share when it was published; reconcile looks no further while size and time are the same.
    mtime_ns: int = Field(sa_type=BigInteger)
    #: The open intent that works on this file; no other one may.
    intent_id: str | None = Field(default=None, foreign_key="intent.id", ondelete="SET NULL", index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    trashed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class SearchEntryModel(_Table, table=True):
    """What a file is found by. Sidecars have none. Its number rises with the moment at which the file came here.

    On SQLite `words` and `marks` are texts, and the FTS5 table `search_text` beside this one, which triggers keep in
    step, looks them up; on PostgreSQL they are tsvectors with a GIN index.
    """

    __tablename__ = "search_entry"
    #: FTS5 knows SQLite's own row numbers only, which a column is if its type is this very one.
    number: int = Field(
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer(), "sqlite"),
        sa_column_kwargs={"autoincrement": False},
    )
    file_id: str = Field(foreign_key="file.id", ondelete="CASCADE", unique=True)
    words: str = Field(sa_type=Text().with_variant(TSVECTOR(), "postgresql"))
    marks: str = Field(sa_type=Text().with_variant(TSVECTOR(), "postgresql"))


class CounterModel(_Table, table=True):
    """How many files of a kind and state a project has, so that statistics never count rows."""

    __tablename__ = "tally"
    __table_args__ = (
        _one_of("kind", FileKind),
        _one_of("state", FileState),
        *_not_negative("files_count", "size_bytes", "charged_bytes"),
    )

    project_id: str = Field(foreign_key="project.id", ondelete="CASCADE", primary_key=True)
    kind: str = Field(primary_key=True)
    state: str = Field(primary_key=True)
    files_count: int = 0
    size_bytes: int = Field(default=0, sa_type=BigInteger)
    charged_bytes: int = Field(default=0, sa_type=BigInteger)


class ReferenceModel(_Table, table=True):
    """A file is needed: by another file (a workflow's or sidecar's input), or by an open intent."""

    __tablename__ = "reference"
    __table_args__ = (
        UniqueConstraint("to_file_id", "from_file_id"),
        CheckConstraint("(from_file_id IS NULL) <> (intent_id IS NULL)", name="one_source"),
    )

    id: int | None = Field(default=None, primary_key=True)
    to_file_id: str = Field(foreign_key="file.id", ondelete="CASCADE")
    from_file_id: str | None = Field(default=None, foreign_key="file.id", ondelete="CASCADE", index=True)
    intent_id: str | None = Field(default=None, foreign_key="intent.id", ondelete="CASCADE", index=True)


class IntentModel(_Table, table=True):
    """A change that was started: what it will do, what it has reserved, and until when only its owner may finish it."""

    __tablename__ = "intent"
    __table_args__ = (
        _one_of("op", IntentOp),
        _one_of("state", IntentState),
        UniqueConstraint("scope", "key"),
        *_not_negative("reserved_bytes"),
        Index(None, "state", "lease_expires_at"),
    )

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="project.id", ondelete="CASCADE", index=True)
    op: str
    state: str = IntentState.OPEN
    #: Keys mean something within a project, or, for what makes projects, in the store (scope "").
    scope: str
    key: str | None = None
    fingerprint: str = ""
    owner: str
    lease_expires_at: datetime = Field(sa_type=UtcDateTime)
    reserved_bytes: int = Field(default=0, sa_type=BigInteger)
    #: Staging and final names, and, once all bytes are in staging, the rows to be written.
    plan: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    #: The answer that a repetition of the request gets.
    result: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class JobModel(_Table, table=True):
    """What a job that runs by a timer has to remember: when it ran last, and where it stopped."""

    __tablename__ = "job"

    name: str = Field(primary_key=True)
    last_run_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    state: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class ObservationModel(_Table, table=True):
    """Something that reconcile observed on the share and has not applied yet."""

    __tablename__ = "observation"
    __table_args__ = (*_not_negative("times_seen"),)

    project_id: str = Field(foreign_key="project.id", ondelete="CASCADE", primary_key=True)
    path: str = Field(primary_key=True)
    #: came, changed or went.
    what: str
    size_bytes: int | None = Field(default=None, sa_type=BigInteger)
    mtime_ns: int | None = Field(default=None, sa_type=BigInteger)
    times_seen: int = 1
    first_seen_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)


class TokenModel(_Table, table=True):
    """A token of the API. Only a hash of it is here."""

    __tablename__ = "token"
    __table_args__ = (_one_of("scope", TokenScope),)

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    secret_hash: str = Field(unique=True)
    scope: str
    #: Ids of the only projects that it is for; NULL for all of them and for the store.
    projects: list[str] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AuditModel(_Table, table=True):
    """Who changed what, when and from where. No foreign keys: it outlives projects and tokens."""

    __tablename__ = "audit"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime, index=True)
    #: token, user or anybody.
    actor_kind: str
    actor_id: str | None = None
    actor_name: str
    #: An address, or the command that a user ran.
    origin: str
    operation: str
    project_id: str | None = None
    #: done or refused.
    outcome: str
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
