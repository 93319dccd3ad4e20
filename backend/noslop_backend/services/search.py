# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search over all files: words, filters, newest first, and what came since."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime

from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.journal.context import StorageContext
from noslop_backend.repositories import ProjectRepository, SearchRepository, search, search_words
from noslop_backend.repositories.pages import check_limit
from noslop_backend.schemas import FilePublic, SearchPage
from noslop_backend.schemas.labels import RATING_LIMIT
from noslop_backend.share.layout import FileKind

_CURSOR = re.compile(r"at-([0-9a-f]{1,16})", re.ASCII)


class Search:
    """The service that finds files."""

    def __init__(self, context: StorageContext) -> None:
        self.database = context.database

    def search_files(
        self,
        query: str = "",
        *,
        only: frozenset[str] | None = None,
        project_id: str | None = None,
        kinds: Collection[FileKind] = (),
        model: str | None = None,
        seed: int | None = None,
        width: int | None = None,
        height: int | None = None,
        tags: Sequence[str] = (),
        min_rating: int | None = None,
        since: str | datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = True,
        cursor: str | None = None,
        limit: int = 100,
    ) -> SearchPage:
        """Find present files of present projects. Sidecars are not found; what they say of a file finds the file.

        Args:
            query: words that must all be there, in a name, a prompt, a model or anything else that is known of how a
                file was made: `word*` is the beginning of one, `"two words"` stand side by side.
            only: projects that the caller may see; None for all.
            project_id: only files of this project.
            kinds: only these kinds.
            model: only files made with this model or LoRA: its path, its file's name, or that without its extension.
            seed: only files made with this seed.
            width: only pictures and videos of this width, in pixels.
            height: only those of this height.
            tags: only files with all of these tags.
            min_rating: only files with at least so many stars.
            since: only what came after this moment, or after the `latest_cursor` of an earlier search.
            until: only what came before this moment.
            newest_first: the order, by when files came.
            cursor: `next_cursor` of the page before.
            limit: 1 to 1000 files.

        Raises:
            InvalidRequestError: the query, a cursor or a moment cannot be read.
        """
        groups: list[list[str]] = []
        if only is not None:
            groups.append(_projects(only))
        if project_id is not None:
            groups.append(_projects({project_id}))
        if kinds:
            groups.append(sorted(search_words.kind_mark(kind) for kind in kinds))
        if model is not None:
            groups.append([search_words.model_mark(model)])
        if seed is not None:
            groups.append([search_words.seed_mark(seed)])
        if width is not None:
            groups.append([search_words.width_mark(width)])
        if height is not None:
            groups.append([search_words.height_mark(height)])
        groups += [[search_words.tag_mark(tag)] for tag in tags]
        if min_rating is not None:
            groups.append([search_words.rating_mark(stars) for stars in range(min_rating, RATING_LIMIT + 1)])
        after, page_end = _number(since, "since"), _number(cursor, "cursor")
        below = search.END if until is None else _first_number(until, "until")
        if page_end is not None and newest_first:
            below = min(below, page_end)
        elif page_end is not None:
            after = max(after or 0, page_end)
        wanted = search.Filter(
            search_words.parse(query), groups, -1 if after is None else after, below, newest_first=newest_first
        )
        with self.database.read() as session:
            if project_id is not None:
                ProjectRepository(session).get(project_id)
            index = SearchRepository(session)
            last = _last(index, only)
            # A group without marks is a condition that nothing meets.
            rows = index.page(wanted, check_limit(limit) + 1) if all(groups) else []
        more, rows = len(rows) > limit, rows[:limit]
        return SearchPage(
            items=[FilePublic.model_validate(row) for _, row in rows],
            next_cursor=_cursor(rows[-1][0]) if more else None,
            latest_cursor=_latest(rows, last, newest_first=newest_first, more=more, first=cursor is None),
        )


def _projects(project_ids: Collection[str]) -> list[str]:
    return sorted(search_words.project_mark(each) for each in project_ids)


def _last(index: SearchRepository, only: frozenset[str] | None) -> int:
    """Return the highest number that the caller may know of."""
    if only is None:
        return index.last()
    rows = index.page(search.Filter(marks=[_projects(only)]), 1) if only else []
    return rows[0][0] if rows else 0


def _latest(
    rows: Sequence[tuple[int, object]], last: int, *, newest_first: bool, more: bool, first: bool
) -> str | None:
    """Return the cursor after which only what was not listed comes; None where an earlier page has it."""
    if newest_first:
        return _cursor(last) if first else None
    # The last row may have come since `last` was read.
    return _cursor(rows[-1][0] if more else max([last, *(number for number, _ in rows)]))


def _cursor(number: int) -> str:
    return f"at-{number:x}"


def _number(after: str | datetime | None, name: str) -> int | None:
    """Return the number after which something comes.

    Raises:
        InvalidRequestError: it is neither a cursor nor, for `since`, a moment.
    """
    if after is None:
        return None
    if isinstance(after, str):
        match = _CURSOR.fullmatch(after)
        if match is not None and (number := int(match[1], 16)) <= search.END:
            return number
        if name == "cursor":
            raise InvalidRequestError("The cursor is none that this service gave. Begin the list anew.")
        try:
            after = datetime.fromisoformat(after)
        except ValueError as error:
            raise InvalidRequestError(
                f"{name} is to be a moment as in 2026-05-01T12:00:00Z, or the latest_cursor of an earlier search."
            ) from error
    return _first_number(after, name) - 1


def _first_number(moment: datetime, name: str) -> int:
    if moment.tzinfo is None:
        raise InvalidRequestError(f"{name} has no time zone. Write it as in 2026-05-01T12:00:00Z.")
    return search.number_of(moment)
