# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the database up to a share that is newer: after an older copy of the database was restored.

Owns: what metadata.json and the versions of workflows and prompts on the share say beyond the rows of a project. Read
once for each project and process, before the first write there, so that no number that was acknowledged is given again
and no newer metadata.json is written over. May touch: rows of the project and its documents. Never: rows of files
(reconcile makes those), and nothing on the share.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError
from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import FileState, ProjectState
from noslop_backend.core.errors import ConflictError, NotFoundError, UnsafePathError
from noslop_backend.journal import audit, newest_sidecar, project_format
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.project_format import Metadata, MetadataDocument, MetadataProject
from noslop_backend.journal.searchable import texts_of
from noslop_backend.models import ProjectModel
from noslop_backend.repositories import DocumentRepository, FileRepository, IntentRepository, ProjectRepository
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import DIRECTORY, DOCUMENTS

_LOG = logging.getLogger(__name__)
#: No number above this was ever given: a file that claims one would use up all numbers that are left.
_NUMBER_LIMIT = 100_000_000
_AT_REST = frozenset({ProjectState.PRESENT, ProjectState.TRASHED})


@dataclass
class Ahead:
    """What the share has of a project that the database has not."""

    #: The project by its metadata.json, if that has a higher revision.
    project: MetadataProject | None = None
    #: Documents that the database does not have, or has with a lower number or another name.
    documents: list[MetadataDocument] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return self.project is not None or bool(self.documents)

    def describe(self) -> list[str]:
        """Return a line for each difference, for people."""
        lines = []
        if self.project is not None:
            lines.append(f"{layout.METADATA} is at revision {self.project.revision}, and the database is behind it")
        for each in self.documents:
            lines.append(f"the share has the {each.kind} {each.name!r} up to version {each.last_version}")
        return lines


def catch_up(core: StorageContext, project_id: str, *, new: bool = False) -> None:
    """Read the share before the first write into a project in this process, and bring the database up to it.

    Args:
        core: the service.
        project_id: the project.
        new: it is being made just now, so that there is nothing to read.

    Raises:
        ShareUnavailableError: the share is not there, or cannot be read.
    """
    if project_id in core.caught_up:
        return
    if not new:
        try:
            with core.database.read() as session:
                ProjectRepository(session).get(project_id)
        except NotFoundError:
            # The write answers that itself, and no list grows by what callers name.
            return
        with core.share() as share:
            ahead = read_ahead(core, share, project_id)
        if ahead:
            apply_ahead(core, project_id, ahead)
    core.caught_up.add(project_id)


def catch_up_sidecars(core: StorageContext, share: Share, project_id: str, file_id: str) -> None:
    """Raise the number of the newest sidecar to that on the share, so that none is given again.

    The row of the file is brought up to that sidecar. Where none is ahead, the share is asked once.

    Raises:
        ShareUnavailableError: the share cannot be read.
    """
    with core.database.read() as session:
        row = next(iter(FileRepository(session).some(project_id, [file_id])), None)
    if row is None or row.state != FileState.PRESENT or not row.last_sidecar:
        return
    number = row.last_sidecar
    while share.look(project_id, layout.sidecar(row.path, number + 1)) is not None:
        number += 1
    if number > row.last_sidecar:
        newest, texts = newest_sidecar.read_newest(share, row, number), texts_of(share, [row])
        with core.database.write() as session:
            ProjectRepository(session).lock(project_id)
            files = FileRepository(session)
            files.raise_last_sidecar(file_id, number)
            row = files.get(project_id, file_id)
            # An intent that works on the file brings the row up itself.
            if newest is not None and row.intent_id is None:
                newest_sidecar.apply_with_references(session, row, newest, texts)


def read_ahead(core: StorageContext, share: Share, project_id: str) -> Ahead:
    """Return what the share has of a project that the database has not. The share is read first, then the database.

    In that order, because a write is in the database before it is on the share: what another process writes meanwhile
    is never ahead.

    Raises:
        ShareUnavailableError: the share cannot be read.
    """
    metadata = _read_metadata(share, project_id)
    versions = {
        parsed.file_id: path
        for kind in sorted(DOCUMENTS)
        for directory in (DIRECTORY[kind], layout.trash(DIRECTORY[kind]))
        for name in _names(share, project_id, directory)
        if (parsed := layout.parse(path := f"{directory}/{name}")) is not None and parsed.kind == kind
    }
    with core.database.read() as session:
        unregistered = set(versions) - DocumentRepository(session).version_ids(project_id)
    written = list(metadata.documents) if metadata is not None else []
    candidates = list(written)
    for file_id in sorted(unregistered):
        candidates += _read_version(share, project_id, versions[file_id])
    ahead = Ahead()
    with core.database.read() as session:
        try:
            project = ProjectRepository(session).get(project_id)
        except NotFoundError:
            return ahead
        if metadata is not None and project.revision < metadata.project.revision < _NUMBER_LIMIT:
            ahead.project = metadata.project
        documents = DocumentRepository(session)
        renamed = {each.id: each.name for each in written} if ahead.project else {}
        for each in _newest(candidates):
            row = documents.of_id(each.id) or documents.exactly_named(project_id, each.kind, each.name)
            if row is not None and row.project_id != project_id:
                continue
            if row is None or row.last_version < each.last_version or row.name != renamed.get(row.id, row.name):
                # The name in metadata.json is no older than that of any version.
                ahead.documents.append(each.model_copy(update={"name": renamed.get(each.id, each.name)}))
    return ahead


def apply_ahead(core: StorageContext, project_id: str, ahead: Ahead) -> None:
    """Bring the rows of a project up to the share; safe to repeat, and for several processes at once."""
    with core.database.write() as session:
        try:
            project = ProjectRepository(session).lock(project_id)
        except NotFoundError:
            return
        is_newer = ahead.project is not None and ahead.project.revision > project.revision
        if ahead.project is not None and is_newer:
            _apply_project(session, project, ahead.project)
        for each in ahead.documents:
            _apply_document(session, project_id, each, rename=is_newer)
        audit.record(session, clock(session), "catch_up", project_id=project_id, details={"newer": ahead.describe()})
    _LOG.warning(
        "%s is newer on the share than in the database, which was brought up to it: %s. If an older database was "
        "restored, run: noslop-backend reconcile --apply",
        project_id,
        "; ".join(ahead.describe()[:10]),
    )


def _apply_project(session: Session, project: ProjectModel, newer: MetadataProject) -> None:
    names = ("name", "description", "status", "settings", "quota_bytes", "intermediate_days", "trash_days")
    for name in (*names, "revision", "updated_at"):
        setattr(project, name, getattr(newer, name))
    # A project that something is at work in stays where it is: the work ends as it was begun.
    if project.state in _AT_REST and not IntentRepository(session).open_in(project.id):
        project.state = ProjectState.TRASHED if newer.trashed_at else ProjectState.PRESENT
        project.trashed_at = newer.trashed_at
    session.add(project)
    session.flush()


def _apply_document(session: Session, project_id: str, newer: MetadataDocument, *, rename: bool) -> None:
    documents = DocumentRepository(session)
    row = documents.of_id(newer.id) or documents.exactly_named(project_id, newer.kind, newer.name)
    if row is None:
        row = documents.add(newer.id, project_id, newer.kind, newer.name, newer.created_at)
    if row.project_id != project_id:
        return
    documents.raise_last_version(row.id, newer.last_version)
    if rename and row.id == newer.id and documents.exactly_named(project_id, newer.kind, newer.name) is None:
        documents.rename(row, newer.name)


def _names(share: Share, project_id: str, directory: str) -> list[str]:
    """List a directory; nothing where something else lies in its place, since a write there is refused."""
    try:
        return share.names(project_id, directory)
    except UnsafePathError:
        return []


def _read_metadata(share: Share, project_id: str) -> Metadata | None:
    try:
        metadata = Metadata.from_bytes(share.read(project_id, layout.METADATA, project_format.LIMIT_BYTES))
    except (FileNotFoundError, ValidationError, ConflictError, UnsafePathError):
        # Missing or damaged: reconcile and rebuild name that.
        return None
    return metadata if metadata.project.id in {"", project_id} else None


def _read_version(share: Share, project_id: str, path: str) -> list[MetadataDocument]:
    """Return the document that a file is a version of, by its sidecar, with the number of the file's name."""
    parsed = layout.parse(path)
    assert parsed is not None
    sidecar = newest_sidecar.read_sidecar(share, project_id, layout.sidecar(path))
    if isinstance(sidecar, str) or sidecar.file.id != parsed.file_id:
        return []
    document = sidecar.document
    if document is None:
        return []
    if document.kind != parsed.kind or not 0 < (parsed.version or 0) < _NUMBER_LIMIT:
        return []
    return [MetadataDocument(**dict(document), last_version=parsed.version or 0)]


def _newest(candidates: Iterable[MetadataDocument]) -> list[MetadataDocument]:
    newest: dict[str, MetadataDocument] = {}
    for each in candidates:
        if each.last_version < _NUMBER_LIMIT and (
            each.id not in newest or newest[each.id].last_version < each.last_version
        ):
            newest[each.id] = each
    return list(newest.values())
