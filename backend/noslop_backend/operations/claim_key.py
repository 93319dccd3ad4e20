# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a key for a request that is carried out as several writes, each with a key of its own."""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp
from noslop_backend.journal.intent import AlreadyAnsweredError, IntentHandle, Operation, Request, Result
from noslop_backend.journal.journal import Journal
from noslop_backend.models import IntentModel
from noslop_backend.models.plans import WritePlan
from noslop_backend.share import Share


class ClaimKey(Operation[WritePlan]):
    """Nothing but its key: there is nothing to do, and that is the answer."""

    kind = IntentOp.WRITE

    def __init__(self, project_id: str, key: str | None, *arguments: str) -> None:
        super().__init__(project_id, Request(key, arguments))

    def prepare(self, _session: Session, _intent: IntentModel, _now: datetime) -> NoReturn:
        """Answer at once."""
        raise AlreadyAnsweredError({})

    def execute(self, _journal: Journal, _share: Share, _handle: IntentHandle[WritePlan]) -> Result:
        """Return the empty answer; `prepare` has given it already."""
        return {}
