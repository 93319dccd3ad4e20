# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do the steps of an upload in threads that cannot be called off, as on a share that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.schemas import FilePublic
from noslop_backend.services.upload_session import Upload

T = TypeVar("T")


class Steps:
    """The steps of one upload, of which no two run at once, even when no caller waits for one any more."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self._lock = threading.Lock()
        self._running = False
        self._given_up = False

    def write(self, piece: bytes) -> None:
        """Write a piece; blocks."""
        self.run(lambda: self.upload.write(piece))

    def finish(self, facts: dict[str, Any] | None = None) -> FilePublic:
        """Publish; blocks."""
        return self.run(lambda: self.upload.finish(facts))

    def give_up(self) -> bool:
        """Do no further step. Tells whether to call `upload.abort`; a step that still runs calls it at its end."""
        with self._lock:
            self._given_up = True
            return not self._running

    def run(self, work: Callable[[], T]) -> T:
        """Do a step; blocks."""
        with self._lock:
            if self._given_up:
                raise InvalidRequestError("The upload was given up before this step began.")
            self._running = True
        try:
            return work()
        finally:
            with self._lock:
                self._running = False
                late = self._given_up
            if late:
                self.upload.abort()
