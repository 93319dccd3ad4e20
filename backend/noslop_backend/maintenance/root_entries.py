# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find names at the top of the share that are no project of the database, and projects without a folder.

Owns: what each of them is, and the command that puts it right. Changes nothing.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum

from noslop_backend.core.database import Database
from noslop_backend.core.enums import ProjectState
from noslop_backend.repositories import JobRepository, ProjectRepository
from noslop_backend.share import Share, layout, scan
from noslop_backend.share.litter import Litter
from noslop_backend.share.scan import RootKind

_AT_REST = (ProjectState.PRESENT, ProjectState.TRASHED)


class RootProblem(StrEnum):
    """What is wrong with a name at the top of the share."""

    #: The folder of a project of the database, under another name.
    RENAMED = "renamed"
    #: A second folder that says it is a project that is there.
    COPY = "copy"
    #: A project's folder that the database does not have.
    UNREGISTERED = "unregistered"
    #: Anything else. Programs read the value in reports.
    FOREIGN = "stranger"
    #: A project of the database without a folder.
    VANISHED = "vanished"


@dataclass(frozen=True)
class RootFinding:
    """A name at the top of the share, what is wrong with it, and what to do."""

    name: str
    problem: RootProblem
    note: str


def inspect_root(database: Database, share: Share, litter: Litter) -> list[RootFinding]:
    """Compare the top of the share with the projects of the database.

    Raises:
        ShareUnavailableError: the share cannot be listed.
    """
    # The share first: a project has its row before it has a folder.
    names = scan.root_names(share, litter)
    with database.read() as session:
        projects = ProjectRepository(session)
        registered, at_rest = set(projects.ids(*ProjectState)), set(projects.ids(*_AT_REST))
        # What an adoption that was killed has left is no project yet.
        registered.discard(JobRepository(session).unfinished_adoption())
    present = set(names) & registered
    findings, renamed = [], set()
    for name in names:
        if name in registered:
            continue
        entry = scan.root_entry(share, name)
        if entry is None:
            continue
        finding = _inspect(share, entry, registered, present)
        if finding.problem is RootProblem.RENAMED:
            renamed.add(entry.project_id)
        findings.append(finding)
    for project_id in sorted(at_rest - present - renamed):
        if scan.root_entry(share, project_id) is None and _is_at_rest(database, project_id):
            findings.append(RootFinding(project_id, RootProblem.VANISHED, _VANISHED))
    return sorted(findings, key=lambda each: each.name)


_VANISHED = (
    "the folder of this project is not on the share, and nothing at the top of it is this project under another name. "
    "Look who moved or removed it; bring it back from a copy of the share"
)


def _is_at_rest(database: Database, project_id: str) -> bool:
    with database.read() as session:
        return project_id in ProjectRepository(session).ids(*_AT_REST)


def _inspect(share: Share, entry: scan.RootEntry, registered: set[str], present: set[str]) -> RootFinding:
    place = share.root / entry.name
    if entry.kind is not RootKind.FOLDER:
        return RootFinding(
            entry.name,
            RootProblem.FOREIGN,
            f"a {entry.kind}, and only folders of projects have a place here. Nothing reads it; move it away: "
            f"{_move(place, share.root.parent / entry.name)}",
        )
    project_id = entry.project_id
    if project_id in present or (project_id in registered and project_id == entry.name):
        return RootFinding(
            entry.name,
            RootProblem.COPY,
            f"a copy of the project {project_id}, which is there too. Nothing reads it; move it away: "
            f"{_move(place, share.root.parent / entry.name)}",
        )
    if project_id in registered:
        return RootFinding(
            entry.name,
            RootProblem.RENAMED,
            f"this is the project {project_id}, renamed. Give it its name back: "
            f"{_move(place, share.root / project_id)}",
        )
    if project_id == entry.name:
        return RootFinding(
            entry.name,
            RootProblem.UNREGISTERED,
            "the folder of a project that the database does not have. To bring it into the database: noslop-backend "
            "reconcile --adopt-projects",
        )
    if project_id:
        return RootFinding(
            entry.name,
            RootProblem.UNREGISTERED,
            f"this is the project {project_id}, renamed, and the database does not have it. Give it its name back: "
            f"{_move(place, share.root / project_id)}, then bring it into the database: noslop-backend reconcile "
            "--adopt-projects",
        )
    why = "its name is that of a project, but it has" if layout.is_project_id(entry.name) else "a folder with"
    return RootFinding(
        entry.name,
        RootProblem.FOREIGN,
        f"{why} no {layout.METADATA} that can be read. Nothing reads it; move it away: "
        f"{_move(place, share.root.parent / entry.name)}",
    )


def _move(source: object, target: object) -> str:
    return f"mv -nT {shlex.quote(str(source))} {shlex.quote(str(target))}"
