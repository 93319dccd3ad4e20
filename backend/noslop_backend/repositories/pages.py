# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages of a list by creation time and id.

Stable while rows come and go, and as fast at the end as at the beginning.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, tuple_
from sqlmodel import col

from noslop_backend.core.errors import InvalidRequestError

LIMIT = 1000


@dataclass(frozen=True)
class Cursor:
    """The last row of a page."""

    created_at: datetime
    id: str

    def encode(self) -> str:
        """Write it as something that nobody takes for a number to count up."""
        return base64.urlsafe_b64encode(json.dumps([self.created_at.isoformat(), self.id]).encode()).decode()

    @classmethod
    def decode(cls, text: str | None) -> Cursor | None:
        """Read it back.

        Raises:
            InvalidRequestError: it did not come from here.
        """
        if text is None:
            return None
        try:
            moment, row = json.loads(base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True))
            cursor = cls(datetime.fromisoformat(moment), str(row))
            if cursor.created_at.tzinfo is None or "\0" in cursor.id or cursor.id != cursor.id.encode().decode():
                raise ValueError(text)
        except (ValueError, TypeError) as error:
            raise InvalidRequestError("The cursor is none that this service gave. Begin the list anew.") from error
        return cursor


def after(cursor: Cursor, model: Any) -> ColumnElement[bool]:  # noqa: ANN401 - any table with created_at and id
    """The condition for rows after the cursor."""
    return tuple_(col(model.created_at), col(model.id)) > tuple_(cursor.created_at, cursor.id)


def check_limit(limit: int) -> int:
    """Refuse pages of a size that helps nobody.

    Raises:
        InvalidRequestError: not 1 to 1000.
    """
    if not 1 <= limit <= LIMIT:
        raise InvalidRequestError(f"limit is 1 to {LIMIT}, not {limit}.")
    return limit
