# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the database, the share and the settings, which every part of the service is given."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from noslop_backend.core.database import Database
from noslop_backend.core.errors import ShareUnavailableError
from noslop_backend.core.settings import Settings
from noslop_backend.repositories import StoreRepository
from noslop_backend.share import Share, Tree, layout
from noslop_backend.share.litter import LITTER, Litter


class StorageContext:
    """Holds what the service's parts share. `settings` also has the limits and the times of leases."""

    def __init__(self, settings: Settings, database: Database, tree: Tree) -> None:
        self.settings = settings
        self.database = database
        self.tree = tree
        self.litter = Litter(LITTER if settings.litter_names is None else settings.litter_names)
        #: Projects whose share was read before the first write of this process there (`catch_up`).
        self.caught_up: set[str] = set()
        self._share_id: str | None = None

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database (which must be migrated) and the share, without touching either.

        Raises:
            ConfigurationError: the database lies on a network file system, or its address is not understood.
        """
        database = Database(settings.database_url, settings.database_lock_timeout_s)
        return cls(settings, database, Tree(settings.project_storage_dir, settings.studio_id))

    def start(self) -> str:
        """Check the share's marker and record its share_id at the very first start. To be called once per process.

        Returns:
            The share_id.

        Raises:
            ShareUnavailableError: no marker, or that of another studio, share or share_id.
        """
        with self.database.read() as session:
            recorded = StoreRepository(session).share_id()
        with self.tree.open(recorded) as share:
            marker = share.marker
        if recorded is None:
            with self.database.write() as session:
                recorded = StoreRepository(session).record_share(marker.studio_id, marker.share_id)
            if recorded != marker.share_id:
                raise ShareUnavailableError(
                    f"Another process recorded the share {recorded} while this one saw {marker.share_id}. Start again."
                )
        self._share_id = recorded
        return recorded

    def close(self) -> None:
        """Return the database's connections back."""
        self.database.close()

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Open the share and prove that it is the one that the database knows: before every write and every removal.

        Raises:
            ShareUnavailableError: it is not.
        """
        with self.tree.open(self._share_id or self.start()) as share:
            yield share

    @staticmethod
    def new_id() -> str:
        """Make the id of a file or document."""
        return layout.encode_id(secrets.token_bytes(layout.FILE_ID_BYTES))
