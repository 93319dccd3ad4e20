# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents of files that the search looks through: those of prompts. Read from the share, never written."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import BackendError
from noslop_backend.models import FileModel
from noslop_backend.repositories.search_words import TEXT_LIMIT
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import FileKind

#: A character has at most four bytes in UTF-8.
_LIMIT_BYTES = 4 * TEXT_LIMIT


def texts_of(share: Share, rows: Iterable[FileModel]) -> dict[str, str]:
    """Return the beginnings of those files that are prompts, by id. A file that cannot be read has no text."""
    texts = {}
    for row in rows:
        if row.kind == FileKind.PROMPT and row.state in {FileState.PRESENT, FileState.TRASHED}:
            lies_at = layout.trash(row.path) if row.state == FileState.TRASHED else row.path
            with suppress(BackendError, OSError), share.open(row.project_id, lies_at) as stream:
                texts[row.id] = stream.read(_LIMIT_BYTES).decode("utf-8", "ignore")
    return texts
