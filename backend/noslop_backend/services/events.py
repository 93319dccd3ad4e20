# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the audit log as events: what changed, without who changed it, for callers who may see it.

Each change has its row, written in its own transaction, and rows become visible in the order of their numbers
(`repositories/audit.py`): so there is no second record of changes, and who goes on from a number misses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from noslop_backend.core.database import Database
from noslop_backend.models import AuditModel
from noslop_backend.repositories import JobRepository
from noslop_backend.repositories.audit import AuditRepository
from noslop_backend.schemas.events import Event, EventFile, EventKind
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

_ID = re.compile(r"([0-9a-f]{1,32})-([0-9]{1,18})", re.ASCII)
#: Kind of an event by the operation in the audit log. What is not here (tokens, exports, backups) changes nothing that
#: a reader of the API sees.
_KINDS = {
    **{f"save_{kind}": EventKind.FILE_ADDED for kind in FileKind},
    "save_sidecar": EventKind.FILE_CHANGED,
    "update_file": EventKind.FILE_CHANGED,
    "adopt": EventKind.FILE_ADDED,
    "promote": EventKind.FILE_PROMOTED,
    "move_files": EventKind.FILE_MOVED,
    "trash": EventKind.FILE_TRASHED,
    "restore": EventKind.FILE_RESTORED,
    "purge": EventKind.FILE_REMOVED,
    "cleanup": EventKind.FILE_REMOVED,
    "rename_workflow": EventKind.DOCUMENT_RENAMED,
    "rename_prompt": EventKind.DOCUMENT_RENAMED,
    "create_project": EventKind.PROJECT_CREATED,
    "import_project": EventKind.PROJECT_CREATED,
    "adopt_project": EventKind.PROJECT_CREATED,
    "update_project": EventKind.PROJECT_UPDATED,
    "trash_project": EventKind.PROJECT_TRASHED,
    "restore_project": EventKind.PROJECT_RESTORED,
    "purge_project": EventKind.PROJECT_REMOVED,
    "catch_up": EventKind.PROJECT_CHANGED,
    "reconcile": EventKind.STORE_CHANGED,
    "rebuild": EventKind.STORE_CHANGED,
    "restore_backup": EventKind.STORE_CHANGED,
    "set_store_quota": EventKind.STORE_CHANGED,
}


@dataclass(frozen=True)
class Change:
    """One event with its number, and the projects that it concerns; none for one that concerns them all."""

    number: int
    event: Event
    projects: frozenset[str]


@dataclass(frozen=True)
class Changes:
    """Changes of one history, in order: all up to a number."""

    stream: str
    changes: list[Change]
    number: int


@dataclass(frozen=True)
class Position:
    """Where the history of changes stands: its name, its lowest and its highest number."""

    stream: str
    lowest: int
    highest: int

    def id_of(self, number: int) -> str:
        """Return the id of the event that has this number."""
        return f"{self.stream}-{number}"

    def number_of(self, event_id: str) -> int | None:
        """Return the number of an event by its id; None when what followed on it is not all here."""
        match = _ID.fullmatch(event_id)
        if match is None or match[1] != self.stream:
            return None
        number = int(match[2])
        return number if self.lowest - 1 <= number <= self.highest else None


class Events:
    """The service of changes, in their order."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def position(self) -> Position:
        """Return where the history of changes stands now."""
        with self.database.read() as session:
            lowest, highest = AuditRepository(session).bounds()
            return Position(JobRepository(session).stream(), lowest, highest)

    def after(self, number: int, limit: int) -> Changes:
        """Return the changes behind the number of the last one that is known; of so many rows of the log at most."""
        with self.database.read() as session:
            stream = JobRepository(session).stream()
            rows = AuditRepository(session).after(number, limit)
            changes = [change for row in rows if (change := _change(row, stream)) is not None]
            return Changes(stream, changes, (rows[-1].id or number) if rows else number)


@dataclass(frozen=True)
class Wanted:
    """Which events a subscriber gets: of these kinds, of this project, of those that the caller may see."""

    kinds: Collection[EventKind] = ()
    project_id: str | None = None
    #: The only projects that the caller may see; None for all.
    only: frozenset[str] | None = None

    def view(self, change: Change) -> Event | None:
        """Return an event as this subscriber gets it; None for one that it does not get."""
        event = change.event
        if self.kinds and event.kind not in self.kinds:
            return None
        if not change.projects:
            return event
        visible = {each for each in change.projects if self.only is None or each in self.only}
        if not visible or (self.project_id is not None and self.project_id not in visible):
            return None
        if visible == change.projects:
            return event
        # Files that were moved between a project that the caller sees, and one of which it is to learn nothing.
        if event.to_project_id in visible:
            return event.model_copy(update={"from_project_id": None})
        files = [EventFile(id=file.id, path="") for file in event.files]
        return event.model_copy(update={"project_id": event.from_project_id, "to_project_id": None, "files": files})


def _change(row: AuditModel, stream: str) -> Change | None:
    kind = _KINDS.get(row.operation)
    if kind is None or row.outcome != "done" or row.id is None:
        return None
    details = row.details
    if kind is EventKind.STORE_CHANGED and row.project_id is not None:
        kind = EventKind.PROJECT_CHANGED
    event = Event(id=f"{stream}-{row.id}", kind=kind, at=row.at, project_id=row.project_id)
    if "objects" in details:
        event.files = list(_files(details["objects"]))
        event.files_count = int(details.get("objects_count", len(event.files)))
    if kind is EventKind.FILE_MOVED:
        event.from_project_id, event.to_project_id = _text(details, "from_project"), row.project_id
    if kind is EventKind.DOCUMENT_RENAMED:
        event.document_id = _text(details, "document_id")
    if kind is EventKind.PROJECT_UPDATED and isinstance(details.get("changed"), list):
        event.changed = [str(name) for name in details["changed"]]
    projects = frozenset(filter(None, (row.project_id, event.from_project_id)))
    return Change(row.id, event, projects)


def _files(paths: Iterable[object]) -> Iterable[EventFile]:
    """Return the files that paths name: an id is in each path, and a sidecar's path has its file's."""
    for path in paths:
        parsed = layout.parse(str(path))
        if parsed is not None:
            yield EventFile(id=parsed.file_id, path=parsed.describes or str(path))


def _text(details: dict[str, Any], name: str) -> str | None:
    value = details.get(name)
    return value if isinstance(value, str) else None
