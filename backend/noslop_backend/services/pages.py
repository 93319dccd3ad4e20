# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make pages of answers of the rows that were read for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from noslop_backend.repositories import Cursor
from noslop_backend.schemas import DocumentPublic, FilePublic, Page, ProjectPublic

Item = TypeVar("Item", ProjectPublic, DocumentPublic, FilePublic)


def make_page(model: type[Item], rows: Sequence[object], limit: int) -> Page[Item]:
    """Return the first `limit` rows as a page, with a cursor if there are more."""
    items = [model.model_validate(row) for row in rows[:limit]]
    more = Cursor(items[-1].created_at, items[-1].id).encode() if len(rows) > limit else None
    return Page(items=items, next_cursor=more)
