# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove intermediates: all, by age, or down to a size; never what something needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp
from noslop_backend.journal.intent import Request
from noslop_backend.models import FileModel
from noslop_backend.operations.purge import BATCH, RemoveFiles
from noslop_backend.repositories import Cursor, FileRepository, ReferenceRepository
from noslop_backend.schemas import FilePublic
from noslop_backend.share.layout import FileKind

_LISTED = 1000


@dataclass
class Selection:
    """Where a cleanup is, over several transactions: a repetition of one starts at the same place."""

    kinds: frozenset[FileKind]
    before: datetime | None
    #: So many bytes still have to go; None for all of them.
    surplus: int | None
    cursor: Cursor | None = None
    kept: int = 0
    over: bool = False
    files: list[FilePublic] = field(default_factory=list)

    def next_rows(self, session: Session, project_id: str) -> list[FileModel]:
        """Return the next rows to go, oldest first, and move on behind them."""
        rows = FileRepository(session).intermediates(project_id, self.kinds, self.before, self.cursor, BATCH)
        self.over = len(rows) < BATCH
        needed = ReferenceRepository(session).needed([row.id for row in rows])
        chosen: list[FileModel] = []
        for row in rows:
            if self.surplus is not None and self.surplus <= 0:
                self.over = True
                break
            self.cursor = Cursor(row.created_at, row.id)
            if row.id in needed or row.intent_id is not None:
                self.kept += 1
                continue
            if self.surplus is not None:
                self.surplus -= row.size_bytes
            chosen.append(row)
        self.files += [FilePublic.model_validate(row) for row in chosen[: max(0, _LISTED - len(self.files))]]
        return chosen


class Cleanup(RemoveFiles):
    """One batch of intermediates. After it, `after` is where the next batch begins."""

    kind = IntentOp.CLEANUP

    def __init__(self, project_id: str, selection: Selection) -> None:
        super().__init__(project_id, Request())
        self._selection = selection
        self.after = selection

    def choose(self, session: Session) -> list[FileModel]:
        """Return the next rows of the selection."""
        # The transaction may be begun again: the selection continues from where this batch began.
        self.after = replace(self._selection, files=list(self._selection.files))
        return self.after.next_rows(session, self.project_id)
