# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new database from the tree and its sidecars, for when the old one is lost and no backup of it is left.

Reads the share and changes nothing there. What it could not place is listed, and stays where it is. A rebuild that
was killed is started anew by the next one; until a project is complete it is in no list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.database import clock
from noslop_backend.core.enums import ProjectState
from noslop_backend.core.errors import ConflictError
from noslop_backend.journal import audit, newest_sidecar
from noslop_backend.journal.searchable import texts_of
from noslop_backend.journal.sidecar import SidecarDocument
from noslop_backend.maintenance import generation, tree_scan
from noslop_backend.maintenance.root_entries import RootProblem, inspect_root
from noslop_backend.maintenance.tree_scan import ScannedFile
from noslop_backend.models import FileModel
from noslop_backend.repositories.bulk import BulkRepository, slices
from noslop_backend.repositories.documents import DocumentRepository
from noslop_backend.repositories.files import FileRepository
from noslop_backend.repositories.jobs import ADOPTION, JobRepository
from noslop_backend.repositories.projects import ProjectRepository
from noslop_backend.repositories.search import SearchRepository
from noslop_backend.repositories.store import StoreRepository
from noslop_backend.services import ProjectStorage
from noslop_backend.share import Share, layout, scan
from noslop_backend.share.layout import INTERMEDIATE, FileKind

JOB = "rebuild"
#: So many lines of a report are kept; the rest is counted.
LISTED = 1000


@dataclass
class RebuildReport:
    """What was found on the share, and what had no place."""

    projects: int = 0
    files: int = 0
    documents: int = 0
    size_bytes: int = 0
    #: Path to why it has no row. It stays where it is.
    unplaced: dict[str, str] = field(default_factory=dict)
    unplaced_count: int = 0
    #: Path to what is wrong with a file that has a row all the same.
    problems: dict[str, str] = field(default_factory=dict)
    problems_count: int = 0

    def leave(self, path: str, why: str) -> None:
        """List something that has no row."""
        self.unplaced_count += 1
        if len(self.unplaced) < LISTED:
            self.unplaced[path] = why

    def doubt(self, path: str, why: str) -> None:
        """List something that has a row, and something wrong."""
        self.problems_count += 1
        if len(self.problems) < LISTED:
            self.problems[path] = why


@dataclass
class _Project:
    """What has to be remembered of a project until all its files have rows."""

    id: str
    #: What needs what.
    needs: dict[str, set[str]] = field(default_factory=dict)
    documents: dict[str, tuple[SidecarDocument, int]] = field(default_factory=dict)
    #: Contents with several names: inode to rows, by whether they are finals, time and id. What a final is made of
    #: pays.
    shared: dict[int, list[tuple[bool, datetime, str]]] = field(default_factory=dict)
    #: Files with more than one sidecar, and the number of the last.
    sidecars: dict[str, int] = field(default_factory=dict)


def rebuild(core: ProjectStorage, *, verify: bool = False) -> RebuildReport:
    """Fill an empty, migrated database from the share.

    Args:
        core: the service.
        verify: read every file through and compare it with the hash in its sidecar.

    Raises:
        ConflictError: the database has projects already.
        ShareUnavailableError: the share is not there, or stopped answering.
    """
    report = RebuildReport()
    with core.tree.open(None) as share:
        _begin(core, share)
        for each in inspect_root(core.database, share, core.litter):
            if each.problem is not RootProblem.UNREGISTERED or each.name not in share.projects():
                report.leave(each.name, each.note)
        for project_id in share.projects():
            ProjectRebuilder(core, share, report, verify).project(project_id)
    with core.database.write() as session:
        now = clock(session)
        JobRepository(session).remember(JOB, now, {})
        counted = {"projects_count": report.projects, "files_count": report.files}
        audit.record(session, now, "rebuild", details=counted)
    generation.resolve(core)
    return report


def adopt_project(core: ProjectStorage, share: Share, name: str, alive: Callable[[], None]) -> str:
    """Make the rows of a project that the database does not have, from its folder. Changes nothing on the share.

    An adoption that was killed is begun anew by the next one; until it is complete the project is in no list. Only one
    process at a time may adopt: that which has the lease of `reconcile`.

    Args:
        core: the service.
        share: the share.
        name: of the folder, which has to be the project's id.
        alive: called after each piece of a directory; raises when another process has the lease by now.

    Returns:
        Why it cannot be taken in; empty when it was.
    """
    entry = scan.root_entry(share, name)
    if entry is None or entry.project_id != name:
        return "its name is not that of the project in its metadata.json: give it its name back first"
    with core.database.write() as session:
        jobs, projects = JobRepository(session), ProjectRepository(session)
        if name in projects.ids(*ProjectState):
            if jobs.unfinished_adoption() != name:
                return "the database has it by now"
            projects.delete(name)
        jobs.remember(ADOPTION, clock(session), {"project_id": name})
    report = RebuildReport()
    ProjectRebuilder(core, share, report, verify=False, alive=alive).project(name)
    with core.database.write() as session:
        now = clock(session)
        JobRepository(session).remember(ADOPTION, now, {})
        audit.record(session, now, "adopt_project", project_id=name, details={"files_count": report.files})
    return ""


def _begin(core: ProjectStorage, share: Share) -> None:
    with core.database.write() as session:
        there = ProjectRepository(session).ids(*ProjectState)
        if there and not JobRepository(session).get(JOB).state.get("unfinished"):
            raise ConflictError(
                f"The database has {len(there)} projects already: a rebuild is for an empty one. Name a new "
                "database in "
                "NOSLOP_DATABASE_URL and run `noslop-backend migrate`, then rebuild. To compare this one with "
                "the share "
                "use `noslop-backend reconcile`."
            )
        # Of a rebuild that was killed. All of it came from the share.
        for project_id in there:
            ProjectRepository(session).delete(project_id)
        recorded = StoreRepository(session).record_share(share.marker.studio_id, share.marker.share_id)
        if recorded != share.marker.share_id:
            raise ConflictError(
                f"The database belongs to the share {recorded}, and {share.root} is {share.marker.share_id}. Name "
                "a new "
                "database in NOSLOP_DATABASE_URL, migrate it, and rebuild."
            )
        JobRepository(session).remember(JOB, clock(session), {"unfinished": True})


class ProjectRebuilder:
    """Makes all rows of one project from the share."""

    def __init__(
        self,
        core: ProjectStorage,
        share: Share,
        report: RebuildReport,
        verify: bool,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.core = core
        self.share = share
        self.report = report
        self.verify = verify
        #: Called after each piece of a directory.
        self.alive = alive

    def project(self, project_id: str) -> None:
        """Make all rows of a project, and then show it."""
        with self.core.database.write() as session:
            now = clock(session)
            scanned = tree_scan.read_project(self.share, project_id, now)
            if scanned.problem:
                self.report.doubt(f"{project_id}/{layout.METADATA}", scanned.problem)
            ProjectRepository(session).add(scanned.row)
        project = _Project(project_id)
        self._add_documents(project, [(each, each.last_version) for each in scanned.documents])
        for name in scan.misplaced(self.share, project_id, self.core.litter):
            self.report.leave(f"{project_id}/{name}", "the layout has no such name")
        # What is described comes before what describes it: the rows of sidecars name those of their files.
        for sidecars in (False, True):
            for directory in scan.PLACES:
                for piece in scan.pieces(self.share, project_id, directory, litter=self.core.litter):
                    self._piece(project, directory, piece, sidecars, now)
                    self.alive()
        self._finish(project, scanned.state)

    def _piece(self, project: _Project, directory: str, piece: scan.Piece, sidecars: bool, now: datetime) -> None:
        if not sidecars:
            for name in piece.misplaced:
                self.report.leave(
                    f"{project.id}/{directory}/{name}", "it is not an ordinary file, or its name is not UTF-8"
                )
        scanned = list(self._described(project, directory, piece, sidecars, now))
        self._documents(project, scanned)
        rows = [each.row for each in scanned if each.row is not None]
        texts = texts_of(self.share, rows)
        with self.core.database.write() as session:
            bulk = BulkRepository(session)
            there = bulk.registered_ids([row.id for row in rows]) | bulk.registered_paths(
                project.id, [row.path for row in rows]
            )
            parents = bulk.registered_ids([row.of_file_id for row in rows if row.of_file_id])
            kept: list[FileModel] = []
            for row in rows:
                path = f"{project.id}/{row.path}"
                if row.id in there or row.path in there:
                    self.report.leave(path, "another file has its id or its path: it lies in two places")
                elif row.of_file_id and row.of_file_id not in parents:
                    self.report.leave(path, "what it describes is not there: a write that was never acknowledged")
                else:
                    there |= {row.id, row.path}
                    kept.append(row)
            versions = bulk.add_files(kept, texts)
            for path in versions:
                self.report.leave(f"{project.id}/{path}", "another file is the same version of the same document")
        placed = {row.id for row in kept if row.path not in versions}
        self.report.files += len(placed)
        self.report.size_bytes += sum(row.size_bytes for row in kept if row.id in placed)
        for each in scanned:
            if each.row is not None and each.row.id in placed and each.needs:
                project.needs[each.row.id] = each.needs
            if each.row is not None and each.row.id in placed and each.row.of_file_id and each.sidecar is not None:
                of, revision = each.row.of_file_id, newest_sidecar.revision_of(each.row)
                project.sidecars[of] = max(revision, project.sidecars.get(of, 1))
                # Of each sidecar: a reference that was made stays.
                project.needs.setdefault(of, set()).update(each.needs)

    def _described(
        self, project: _Project, directory: str, piece: scan.Piece, sidecars: bool, now: datetime
    ) -> Iterator[ScannedFile]:
        for entry in piece.entries:
            lies_at = f"{directory}/{entry.name}"
            parsed = layout.parse(lies_at)
            if parsed is None:
                if not sidecars:
                    self.report.leave(f"{project.id}/{lies_at}", "the layout has no such name")
                continue
            if (parsed.kind == FileKind.SIDECAR) != sidecars:
                continue
            make = tree_scan.describe
            if sidecars:
                make = tree_scan.describe_sidecar
            elif parsed.kind in INTERMEDIATE:
                make = tree_scan.describe_intermediate
            scanned = make(self.share, project.id, lies_at, entry, now)
            if scanned.row is None:
                self.report.leave(f"{project.id}/{lies_at}", scanned.problem)
                continue
            if self.verify and not scanned.problem and not sidecars and parsed.kind not in INTERMEDIATE:
                self._check(scanned, lies_at)
            if scanned.problem:
                self.report.doubt(f"{project.id}/{lies_at}", scanned.problem)
            if entry.links > 1:
                row = scanned.row
                project.shared.setdefault(entry.inode, []).append((row.kind == FileKind.FINAL, row.created_at, row.id))
            yield scanned

    def _check(self, scanned: ScannedFile, lies_at: str) -> None:
        assert scanned.row is not None
        seen = self.share.hash(scanned.row.project_id, lies_at)
        if seen.blake3 != scanned.row.blake3:
            scanned.problem = f"its content has the BLAKE3 {seen.blake3}, and its sidecar says {scanned.row.blake3}"
            scanned.row.blake3 = seen.blake3

    def _documents(self, project: _Project, scanned: list[ScannedFile]) -> None:
        self._add_documents(
            project,
            [
                (each.document, each.row.version or 0)
                for each in scanned
                if each.document is not None and each.row is not None
            ],
        )

    def _add_documents(self, project: _Project, numbered: list[tuple[SidecarDocument, int]]) -> None:
        """Make the rows of documents as they are met first, and remember the highest number of each."""
        fresh = []
        for document, version in numbered:
            if document.id not in project.documents:
                fresh.append(document)
                project.documents[document.id] = (document, version)
            elif project.documents[document.id][1] < version:
                project.documents[document.id] = (document, version)
        if fresh:
            with self.core.database.write() as session:
                BulkRepository(session).add_documents(
                    [(each.id, project.id, each.kind, each.name, each.created_at) for each in fresh]
                )
            self.report.documents += len(fresh)

    def _finish(self, project: _Project, state: ProjectState) -> None:
        self._apply_newest(project)
        with self.core.database.write() as session:
            bulk = BulkRepository(session)
            bulk.number_documents({each: last for each, (_, last) in project.documents.items()})
            self._name_documents(session, project)
            bulk.number_sidecars(project.sidecars)
            for names in project.shared.values():
                bulk.share_content([file_id for _, _, file_id in sorted(names)])
            bulk.add_references(project.id, project.needs)
            ProjectRepository(session).update_storage_stats(project.id)
            ProjectRepository(session).lock(project.id).state = state
        self.report.projects += 1

    def _name_documents(self, session: Session, project: _Project) -> None:
        """Call documents as their newest versions do, or as metadata.json does where that is newer."""
        names = {each: document.name for each, (document, _) in project.documents.items()}
        for document_id in BulkRepository(session).name_documents(project.id, names):
            versions = DocumentRepository(session).versions(document_id)
            SearchRepository(session).replace(versions, texts_of(self.share, versions))

    def _apply_newest(self, project: _Project) -> None:
        """Bring the rows of files with further sidecars up to the newest of them."""
        for some in slices(list(project.sidecars)):
            with self.core.database.read() as session:
                rows = FileRepository(session).some(project.id, list(some))
            newest = {}
            for row in rows:
                sidecar = newest_sidecar.read_newest(self.share, row, project.sidecars[row.id])
                if sidecar is not None:
                    newest[row.id] = sidecar.without_texts()
            texts = texts_of(self.share, rows)
            with self.core.database.write() as session:
                for row in FileRepository(session).some(project.id, list(newest)):
                    newest_sidecar.apply_sidecar(session, row, newest[row.id], texts)
            self.alive()
