# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep metadata.json as the database says. What is in it: `project_format`."""

from __future__ import annotations

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp
from noslop_backend.journal.catch_up import catch_up
from noslop_backend.journal.intent import IntentHandle, P
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.project_format import Metadata
from noslop_backend.repositories import DocumentRepository, ProjectRepository
from noslop_backend.share import Share, layout


def read_metadata(session: Session, project_id: str) -> tuple[int, bytes]:
    """Return the revision of a project in the database, and the text of its metadata.json at that."""
    project = ProjectRepository(session).get(project_id)
    return project.revision, Metadata.of(
        project, DocumentRepository(session).apart_from_versions(project_id)
    ).to_bytes()


def write_metadata(journal: Journal, share: Share, handle: IntentHandle[P]) -> None:
    """Write metadata.json as the database has it, and again when the project was changed meanwhile.

    The last to write writes the newest: whatever changes its text changes the revision.
    """
    staged = layout.staging(handle.intent_id)
    if handle.op != IntentOp.CREATE_PROJECT:
        # Recovery comes here without `begin`.
        catch_up(journal.context, handle.project_id)
    while True:
        journal.renew(handle)
        with journal.database.read() as session:
            revision, content = read_metadata(session, handle.project_id)
        try:
            share.replace_metadata(handle.project_id, staged, content)
        except FileNotFoundError:
            share.make_project(handle.project_id)
            share.replace_metadata(handle.project_id, staged, content)
        with journal.database.read() as session:
            if ProjectRepository(session).get(handle.project_id).revision == revision:
                return
