# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models of events: what changed, for clients that follow."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, Field


class EventKind(StrEnum):
    """Kinds of events. Of `project.changed` and `store.changed` no details are known: read the lists again."""

    FILE_ADDED = "file.added"
    FILE_CHANGED = "file.changed"
    FILE_PROMOTED = "file.promoted"
    FILE_MOVED = "file.moved"
    FILE_TRASHED = "file.trashed"
    FILE_RESTORED = "file.restored"
    FILE_REMOVED = "file.removed"
    DOCUMENT_RENAMED = "document.renamed"
    PROJECT_CREATED = "project.created"
    PROJECT_UPDATED = "project.updated"
    PROJECT_TRASHED = "project.trashed"
    PROJECT_RESTORED = "project.restored"
    PROJECT_REMOVED = "project.removed"
    PROJECT_CHANGED = "project.changed"
    STORE_CHANGED = "store.changed"


class EventFile(BaseModel):
    """A file that an event is about. `path` is where it lies now, or lay when it was removed."""

    id: str
    path: str


class Event(BaseModel):
    """Something that changed. `id` is what to go on from after it.

    Of many files at once the first hundred are listed, and `files_count` is how many there were.
    """

    id: str
    kind: EventKind
    at: AwareDatetime
    project_id: str | None = None
    files: list[EventFile] = Field(default_factory=list)
    files_count: int | None = None
    #: Of files that were moved: where they were before; and where they are now, for who sees that project.
    from_project_id: str | None = None
    to_project_id: str | None = None
    document_id: str | None = None
    #: Fields of the project that were changed.
    changed: list[str] | None = None


class Reload(BaseModel):
    """Why events are missing, and what to do. Events go on from `id`."""

    id: str
    detail: str
