# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search's index made anew from rows and from the share: for what a migration could not read, and for damage.

Each file keeps its number, so that cursors which clients have stay good. May be stopped and run again at any time.
"""

from __future__ import annotations

from noslop_backend.core.database import clock
from noslop_backend.journal import audit
from noslop_backend.journal.searchable import texts_of
from noslop_backend.repositories import FileRepository, SearchRepository
from noslop_backend.services import ProjectStorage

_ROWS_AT_ONCE = 500


def rebuild_search(core: ProjectStorage) -> int:
    """Write the entry of every file anew; returns how many files there are.

    Raises:
        ShareUnavailableError: the share does not answer.
    """
    count, last = 0, ""
    with core.database.write() as session:
        SearchRepository(session).repair()
    while True:
        with core.database.read() as session:
            rows = FileRepository(session).described(last, _ROWS_AT_ONCE)
        if not rows:
            break
        with core.share() as share:
            texts = texts_of(share, rows)
        with core.database.write() as session:
            # As they are now: one may have been removed since.
            current = FileRepository(session).described(last, _ROWS_AT_ONCE, [row.id for row in rows])
            SearchRepository(session).replace(current, texts)
        count, last = count + len(rows), rows[-1].id
    with core.database.write() as session:
        audit.record(session, clock(session), "rebuild_search", details={"files_count": count})
    return count
