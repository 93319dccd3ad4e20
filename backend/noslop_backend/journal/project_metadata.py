# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""metadata.json: what a project is, for people and for a database that has to be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session

from noslop_backend.journal.intent import IntentHandle
from noslop_backend.journal.publish import MAIN_PART, Writes
from noslop_backend.journal.sidecar import document_json
from noslop_backend.models import DocumentModel, ProjectModel
from noslop_backend.repositories import DocumentRepository, ProjectRepository
from noslop_backend.share import Share, layout

_FORMAT = 1


def compose_metadata(project: ProjectModel, documents: Sequence[DocumentModel]) -> bytes:
    """Text of metadata.json.

    Args:
        project: the project.
        documents: those whose newest version is not on the share any more, so that its number is nowhere else.
    """
    names = ("id", "name", "description", "status", "settings", "quota_bytes", "intermediate_days", "trash_days")
    times = ("created_at", "updated_at", "trashed_at")
    known: dict[str, Any] = {name: getattr(project, name) for name in (*names, "revision")}
    for name in times:
        moment: datetime | None = getattr(project, name)
        known[name] = moment and moment.isoformat()
    numbers = [document_json(each) | {"last_version": each.last_version} for each in documents]
    text = json.dumps({"noslop": _FORMAT, "project": known, "documents": numbers}, indent=1, ensure_ascii=False)
    return text.encode() + b"\n"


def metadata_of(session: Session, project_id: str) -> tuple[int, bytes]:
    """Revision of a project, and the text of its metadata.json at that."""
    project = ProjectRepository(session).get(project_id)
    return project.revision, compose_metadata(project, DocumentRepository(session).outlived(project_id))


class ProjectFile(Writes):
    """Keeps metadata.json as the database says."""

    def write_metadata(self, share: Share, handle: IntentHandle) -> None:
        """Write metadata.json, and again when the project was changed meanwhile.

        The last to write writes the newest: whatever changes its text changes the revision.
        """
        staged = layout.staging(handle.intent_id, MAIN_PART)
        while True:
            self.renew(handle)
            with self.database.read() as session:
                revision, content = metadata_of(session, handle.project_id)
            try:
                share.replace_metadata(handle.project_id, staged, content)
            except FileNotFoundError:
                share.make_project(handle.project_id)
                share.replace_metadata(handle.project_id, staged, content)
            with self.database.read() as session:
                if ProjectRepository(session).get(handle.project_id).revision == revision:
                    return
