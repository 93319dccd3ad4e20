# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply to the rows what was observed often enough.

One file at a time, looked at once more, and in one transaction with every counter. Never: deletes a row or a file.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from noslop_backend.core.database import clock
from noslop_backend.core.enums import FileState, ProjectState
from noslop_backend.core.errors import BackendError
from noslop_backend.journal import newest_sidecar
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.searchable import texts_of
from noslop_backend.maintenance import tree_scan
from noslop_backend.maintenance.reconcile.report import Finding, What
from noslop_backend.maintenance.tree_scan import ScannedFile
from noslop_backend.models import FileModel, ObservationModel
from noslop_backend.models.plans import WritePlan, read_plan
from noslop_backend.repositories import (
    Change,
    DocumentRepository,
    FileRepository,
    IntentRepository,
    ProjectRepository,
    ReferenceRepository,
)
from noslop_backend.repositories.observations import ObservationRepository
from noslop_backend.services import ProjectStorage
from noslop_backend.share import FileContent, Share, layout
from noslop_backend.share.layout import INTERMEDIATE, FileKind
from noslop_backend.share.scan import Entry


@dataclass(frozen=True)
class _Place:
    """Where an observation was made."""

    project_id: str
    #: In the trash or not.
    lies_at: str
    visible: str
    state: FileState


def apply_observation(core: ProjectStorage, share: Share, observed: ObservationModel, *, apply: bool) -> Finding | None:
    """Act on one observation, or with `apply` False only tell what would become of it.

    Returns:
        What became of it; None when it is not so any more, and the next run may see it anew.
    """
    trashed = observed.path.startswith(f"{layout.TRASH}/")
    visible = observed.path.removeprefix(f"{layout.TRASH}/")
    place = _Place(observed.project_id, observed.path, visible, FileState.TRASHED if trashed else FileState.PRESENT)
    scanned = share.look(place.project_id, place.lies_at)
    if observed.what == What.REMOVED:
        return None if scanned is not None else _removed(core, place, apply)
    if scanned is None or (scanned.st_size, scanned.st_mtime_ns) != (observed.size_bytes, observed.mtime_ns):
        return None
    entry = Entry(
        place.lies_at.rpartition("/")[2], scanned.st_size, scanned.st_mtime_ns, scanned.st_ino, scanned.st_nlink
    )
    if observed.what == What.ADDED:
        return _added(core, share, place, entry, apply)
    return _is_there(core, share, place, entry, apply)


def _row(session: Session, place: _Place) -> FileModel | None:
    """Return the row of a place, unless an intent works on it."""
    row = session.exec(
        select(FileModel)
        .where(FileModel.project_id == place.project_id, FileModel.path == place.visible)
        .execution_options(populate_existing=True)
    ).first()
    return row if row is not None and row.intent_id is None and row.state != FileState.PURGING else None


def _lock(session: Session, project_id: str) -> None:
    ProjectRepository(session).lock(project_id, ProjectState.PRESENT, ProjectState.TRASHED)


def _apply_delta(session: Session, place: _Place, change: Change, row: FileModel, was_present: bool) -> None:
    """Put a changed row into every counter; `change` has what was there before counted out."""
    more = int(row.state == FileState.PRESENT) - int(was_present)
    workflows = DocumentRepository(session).count_versions(row.document_id, more) if row.document_id and more else 0
    ProjectRepository(session).apply_delta(place.project_id, change, workflows=workflows)


def _removed(core: ProjectStorage, place: _Place, apply: bool) -> Finding | None:
    with core.database.write() as session:
        _lock(session, place.project_id)
        row = _row(session, place)
        if row is None or row.state != place.state:
            ObservationRepository(session).resolve(place.project_id, place.lies_at)
            return None
        finding = Finding(place.project_id, place.lies_at, "missing", f"{row.name!r}, {row.size_bytes} bytes")
        if not apply:
            return finding
        was_present = row.state == FileState.PRESENT
        change = FileRepository(session).charge_heirs([row])
        row.state, row.charged_bytes, row.trashed_at = FileState.MISSING, 0, None
        session.add(row)
        session.flush()
        _apply_delta(session, place, change.add([row]), row, was_present)
        ObservationRepository(session).resolve(place.project_id, place.lies_at)
        return finding


def _is_there(core: ProjectStorage, share: Share, place: _Place, entry: Entry, apply: bool) -> Finding | None:
    """Compare a file that has a row: one that changed, or a missing one that is back. Its content decides."""
    observed = share.hash(place.project_id, place.lies_at)
    if (observed.size_bytes, observed.mtime_ns) != (entry.size_bytes, entry.mtime_ns):
        # It is being written to.
        return None
    saved = _saved_blake3(share, place)
    payers = _payers(core, share, place)
    with core.database.write() as session:
        _lock(session, place.project_id)
        row = _row(session, place)
        if row is None or row.state not in {place.state, FileState.MISSING}:
            ObservationRepository(session).resolve(place.project_id, place.lies_at)
            return None
        back, same = row.state == FileState.MISSING, observed.blake3 == row.blake3
        altered = observed.blake3 != (saved or row.blake3)
        outcome = "altered" if altered else "back" if back else "touched" if same else "restored"
        note = f"it has {observed.size_bytes} bytes with the BLAKE3 {observed.blake3}, saved were {saved or row.blake3}"
        finding = Finding(place.project_id, place.lies_at, outcome, note if altered else "")
        if not apply:
            return finding
        was_present = row.state == FileState.PRESENT
        change = Change().add([row], -1)
        _apply_content(row, observed, back, observed.inode in payers)
        row.state = place.state
        row.trashed_at = (row.trashed_at or clock(session)) if place.state == FileState.TRASHED else None
        session.add(row)
        session.flush()
        _apply_delta(session, place, change.add([row]), row, was_present)
        observations = ObservationRepository(session)
        if altered:
            observations.mark(place.project_id, place.lies_at, What.ALTERED)
        else:
            observations.resolve(place.project_id, place.lies_at)
        return finding


def _apply_content(row: FileModel, observed: FileContent, back: bool, shared: bool) -> None:
    """Let a row say what is there. What comes back is paid for by its row, unless another pays for that very file."""
    pays = row.charged_bytes > 0 or (row.size_bytes == 0 and row.content_id == row.id)
    if back:
        pays = not shared
        if pays:
            # Those that shared its content have paid for it since.
            row.content_id = StorageContext.new_id()
    row.size_bytes, row.blake3, row.mtime_ns = observed.size_bytes, observed.blake3, observed.mtime_ns
    row.charged_bytes = observed.size_bytes if pays else 0


def _saved_blake3(share: Share, place: _Place) -> str | None:
    """Return the hash that was saved, by the sidecar; a row may have another since the file was altered."""
    parsed = layout.parse(place.visible)
    if parsed is None or parsed.kind == FileKind.SIDECAR or parsed.kind in INTERMEDIATE:
        return None
    saved = newest_sidecar.read_sidecar(share, place.project_id, layout.sidecar(place.lies_at))
    return None if isinstance(saved, str) else saved.file.blake3


def _payers(core: ProjectStorage, share: Share, place: _Place) -> set[int]:
    """Return the inodes of files that pay for the content of the row at a place."""
    with core.database.read() as session:
        row = _row(session, place)
        if row is None:
            return set()
        others = session.exec(
            select(FileModel).where(
                FileModel.content_id == row.content_id, FileModel.id != row.id, col(FileModel.charged_bytes) > 0
            )
        ).all()
    inodes = set()
    for other in others:
        at = layout.trash(other.path) if other.state == FileState.TRASHED else other.path
        if (scanned := share.look(place.project_id, at)) is not None:
            inodes.add(scanned.st_ino)
    return inodes


def _added(  # noqa: PLR0911 - each is another answer
    core: ProjectStorage, share: Share, place: _Place, entry: Entry, apply: bool
) -> Finding | None:
    """Add a file without a row when the layout and its sidecar describe it; else leave it."""

    def left(why: str) -> Finding:
        return Finding(place.project_id, place.lies_at, "left", why)

    parsed = layout.parse(place.lies_at)
    if parsed is None:
        return left("the layout has no such name")
    if parsed.kind in INTERMEDIATE:
        return left("it has no sidecar: save it through the backend, which knows nothing of it so")
    with core.database.read() as session:
        now = clock(session)
        of = session.get(FileModel, parsed.file_id) if parsed.kind == FileKind.SIDECAR else None
        described = [] if of is None else [of]
    make = tree_scan.describe_sidecar if parsed.kind == FileKind.SIDECAR else tree_scan.describe
    try:
        scanned = make(share, place.project_id, place.lies_at, entry, now)
        if scanned.row is not None and not scanned.problem:
            observed = share.hash(place.project_id, place.lies_at)
            if observed.blake3 != scanned.row.blake3:
                scanned.problem = f"its BLAKE3 is {observed.blake3}, and its sidecar says {scanned.row.blake3}"
    except FileNotFoundError:
        return None
    except BackendError as error:
        return left(error.message)
    if scanned.row is None or scanned.problem:
        return left(scanned.problem)
    source = _source_inode(core, share, place, scanned.row) if entry.links > 1 else None
    texts = texts_of(share, [scanned.row, *described])
    with core.database.write() as session:
        _lock(session, place.project_id)
        why = _hindered(session, place, scanned)
        if why is None:
            # A write that is not finished yet: it makes the row itself.
            return None
        if why:
            return left(why)
        if apply:
            shared = source is not None and source[1] == entry.inode
            _add_file(session, place, scanned, texts, shared=shared, source=source)
            ObservationRepository(session).resolve(place.project_id, place.lies_at)
        return Finding(
            place.project_id, place.lies_at, "taken_in", f"{scanned.row.name!r}, {scanned.row.size_bytes} bytes"
        )


def _source_inode(core: ProjectStorage, share: Share, place: _Place, row: FileModel) -> tuple[str, int] | None:
    """Return content and inode of what a final was made from."""
    if row.source_id is None:
        return None
    with core.database.read() as session:
        source = session.get(FileModel, row.source_id)
        if source is None or source.project_id != place.project_id:
            return None
        at = layout.trash(source.path) if source.state == FileState.TRASHED else source.path
        content_id = source.content_id
    scanned = share.look(place.project_id, at)
    return None if scanned is None else (content_id, scanned.st_ino)


def _hindered(  # noqa: PLR0911 - each is another answer
    session: Session, place: _Place, scanned: ScannedFile
) -> str | None:
    """Return why a file cannot have a row; empty when it can, None when an open intent is about to make it."""
    row = scanned.row
    assert row is not None
    for intent in IntentRepository(session).open_in(place.project_id):
        plan = read_plan(intent)
        if isinstance(plan, WritePlan):
            ids = {plan.file.id, plan.file.sidecar_id, *(each.id for each in plan.rows)}
            if row.id in ids or row.of_file_id in ids:
                return None
    if (other := session.get(FileModel, row.id)) is not None:
        if other.intent_id is not None:
            return None
        if (other.project_id, other.path) == (place.project_id, place.visible):
            return f"its row says that it is {other.state}, and it lies here"
        return f"its id is that of {other.project_id}/{other.path}"
    if _row(session, place) is not None:
        return "another file has this path"
    if row.of_file_id is not None:
        of = session.get(FileModel, row.of_file_id)
        if of is None or of.project_id != place.project_id or of.state != row.state:
            return "what it describes is not there"
    if scanned.document is not None:
        return _document_hinders(session, place, scanned)
    return ""


def _document_hinders(session: Session, place: _Place, scanned: ScannedFile) -> str:
    document, row = scanned.document, scanned.row
    assert document is not None
    assert row is not None
    documents = DocumentRepository(session)
    there = documents.of_id(document.id)
    if there is not None and (there.project_id, there.kind) != (place.project_id, document.kind):
        return f"the document that it is a version of is in {there.project_id}"
    named = documents.exactly_named(place.project_id, document.kind, document.name)
    # A document that has a row may have been renamed since.
    if there is None and named is not None:
        return f"another {document.kind} is called {document.name!r}"
    taken = session.exec(
        select(FileModel.path).where(FileModel.document_id == document.id, FileModel.version == row.version)
    ).first()
    return f"its document has a version {row.version} already: {taken}" if taken else ""


def _add_file(
    session: Session,
    place: _Place,
    scanned: ScannedFile,
    texts: dict[str, str],
    *,
    shared: bool,
    source: tuple[str, int] | None,
) -> None:
    row, document = scanned.row, scanned.document
    assert row is not None
    if shared and source is not None:
        row.content_id, row.charged_bytes = source[0], 0
    if document is not None:
        documents = DocumentRepository(session)
        there = documents.of_id(document.id)
        if there is None:
            there = documents.add(document.id, place.project_id, document.kind, document.name, document.created_at)
        there.last_version = max(there.last_version, row.version or 0)
        session.add(there)
    if row.of_file_id is not None and (parsed := layout.parse(place.visible)) is not None:
        of = session.get_one(FileModel, row.of_file_id)
        if scanned.sidecar is not None and parsed.revision > max(1, of.last_sidecar):
            newest_sidecar.apply_with_references(session, of, scanned.sidecar, texts)
        of.last_sidecar = max(of.last_sidecar, parsed.revision)
        session.add(of)
    FileRepository(session).add([row], texts)
    ReferenceRepository(session).add(place.project_id, row.id, scanned.needs)
    _apply_delta(session, place, Change().add([row]), row, was_present=False)
