# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read pages of a list by creation time and id, in either order.

Stable while rows come and go, and as fast at the end as at the beginning.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import tuple_
from sqlmodel.sql.expression import SelectOfScalar

from noslop_backend.core.errors import InvalidRequestError

LIMIT = 1000
T = TypeVar("T")


@dataclass(frozen=True)
class Cursor:
    """The last row of a page."""

    created_at: datetime
    id: str

    def encode(self) -> str:
        """Return it as a text that does not look like a number to count up."""
        return base64.urlsafe_b64encode(json.dumps([self.created_at.isoformat(), self.id]).encode()).decode()

    @classmethod
    def decode(cls, text: str | None) -> Cursor | None:
        """Read a cursor that a client sent back.

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


def paged(
    statement: SelectOfScalar[T], model: type[T], cursor: Cursor | None, limit: int, *, newest_first: bool = False
) -> SelectOfScalar[T]:
    """Return a statement for some of its rows, in the order in which they came.

    Args:
        statement: of a table with `created_at` and `id`.
        model: that table.
        cursor: the last row of the page before, in the same order.
        limit: how many rows.
        newest_first: the order.
    """
    moment, row = model.created_at, model.id  # type: ignore[attr-defined]  # every table that has pages has both
    if cursor is not None:
        place, last = tuple_(moment, row), tuple_(cursor.created_at, cursor.id)
        statement = statement.where(place < last if newest_first else place > last)
    order = (moment.desc(), row.desc()) if newest_first else (moment, row)
    return statement.order_by(*order).limit(limit)


def check_limit(limit: int) -> int:
    """Return the size of a page, if it is one that can be asked for.

    Raises:
        InvalidRequestError: not 1 to 1000.
    """
    if not 1 <= limit <= LIMIT:
        raise InvalidRequestError(f"limit is 1 to {LIMIT}, not {limit}.")
    return limit
