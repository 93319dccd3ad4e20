# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ProjectStorage`: the one service. Everything that changes a project's files goes through it.

Methods are synchronous, take ids and plain values, and give the models of `noslop_backend.models`. Each may raise,
beside what it names:

- `NotFoundError`: there is no such project, file or document (or it is not in a state in which this is possible);
- `InvalidRequestError`: an argument has no meaning;
- `ShareUnavailableError`, `StorageFullError`, `DatabaseUnavailableError`: try again later.

Those that take a `key` (idempotency) give the same answer when they are called again with the same key and arguments,
however the first call ended; they raise `KeyReusedError` when the arguments differ, `InProgressError` while the first
is at work, and `LeaseLostError` when it took so long that somebody else undid it (then nothing was published: send it
again).
"""

from __future__ import annotations

from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.recovery import Recovery
from noslop_backend.operations.cleanup import Cleanup
from noslop_backend.operations.promote import Finals
from noslop_backend.operations.save_metadata import Metadata
from noslop_backend.services.documents import Documents
from noslop_backend.services.media import Media
from noslop_backend.services.queries import OpenFile, Queries
from noslop_backend.services.search import Search
from noslop_backend.services.upload_session import Staged, Upload
from noslop_backend.services.upload_steps import Steps

__all__ = ["OpenFile", "ProjectStorage", "Staged", "Steps", "StorageContext", "Upload"]


class ProjectStorage(Documents, Media, Metadata, Finals, Cleanup, Queries, Search, Recovery):
    """Every project's files. Made with `ProjectStorage.open(settings)`; safe to use from several threads."""
