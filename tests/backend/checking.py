# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be true when writers have been killed, or their share was, and all of them have their answers."""

from __future__ import annotations

import json
from collections import defaultdict

from noslop_backend.core.enums import IntentState
from noslop_backend.models import DocumentModel, IntentModel
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from sqlalchemy import update
from sqlmodel import col, select

from tests.backend.studio import Studio
from tests.backend.writers import Acknowledged, Work


def check_writes(studio: Studio, work: Work, answers: dict[int, Acknowledged]) -> int:
    """Assert one result a key, no number twice, gaps only for failures, nothing torn or left over, counters right.

    Returns:
        How many version numbers are gaps.
    """
    storage = studio.another()
    with storage.database.write() as session:
        session.exec(update(IntentModel).values(lease_expires_at=IntentModel.created_at))
    report = storage.recover()
    assert report.failed == {}
    assert set(answers) == set(range(work.operations))
    ids = {answer.id for answer in answers.values()}
    assert len(ids) == work.operations
    found = set()
    for project in work.projects:
        studio.check(project)
        assert list((studio.root / project / layout.STAGING).iterdir()) == []
        rows = {row.id: row for row in studio.rows(project) if row.kind != FileKind.SIDECAR}
        found |= set(rows)
        numbers = [(row.document_id, row.version) for row in rows.values() if row.version is not None]
        assert len(numbers) == len(set(numbers))
        for row in rows.values():
            if row.kind == FileKind.WORKFLOW:
                json.loads((studio.root / project / row.path).read_bytes())
        for answer in answers.values():
            if answer.project == project:
                row = rows[answer.id]
                assert (row.path, row.version, row.blake3, row.size_bytes) == (
                    *(answer.path, answer.version),
                    *(answer.blake3, answer.size_bytes),
                )
    assert found == ids
    return sum(_gaps(studio, project) for project in work.projects)


def _gaps(studio: Studio, project: str) -> int:
    """Count the version numbers that no file has; asserts that each was taken by a write that was released."""
    with studio.storage.database.read() as session:
        documents = list(session.exec(select(DocumentModel).where(DocumentModel.project_id == project)))
        released = session.exec(
            select(IntentModel).where(
                col(IntentModel.project_id) == project, col(IntentModel.state) == IntentState.RELEASED
            )
        )
        failed: defaultdict[str, set[int]] = defaultdict(set)
        for intent in released:
            spec = intent.plan.get("file") or {}
            if spec.get("document"):
                failed[spec["document"]["id"]].add(spec["version"])
    used: defaultdict[str, set[int]] = defaultdict(set)
    for row in studio.rows(project):
        if row.document_id is not None and row.version is not None:
            used[row.document_id].add(row.version)
    missing = {document.id: set(range(1, document.last_version + 1)) - used[document.id] for document in documents}
    for document_id, numbers in missing.items():
        assert numbers <= failed[document_id], (document_id, numbers, failed[document_id])
    return sum(map(len, missing.values()))
