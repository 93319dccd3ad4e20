# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the state of a cache for those who ask: the playbook `models`, and with it `models list` and `status`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.model_cache import copies, layout, view
from ansible_collections.noslop.studio.plugins.module_utils.models import whole_file

#: Seconds after which it is written again without a change: its age tells whether the program runs.
INTERVAL_S = 60.0


@dataclass(frozen=True)
class ShareState:
    """A share, whether it is away, and why."""

    share: layout.CachedShare
    is_away: bool
    message: str


class Writer:
    """The state of a cache. Counts are since the start of the program."""

    def __init__(self, path: str, limit_bytes: int) -> None:
        """Start with nothing copied.

        Args:
            path: the file.
            limit_bytes: for all copies together.
        """
        self.removed = 0
        self._path, self._limit_bytes = path, limit_bytes
        self._copied = 0
        self._failed: dict[str, str] = {}
        self._written: tuple[Any, ...] = ()
        self._written_s = 0.0

    def succeed(self, path: str) -> None:
        """Count a file that was copied."""
        self._copied += 1
        self._failed.pop(path, None)

    def fail(self, path: str, message: str) -> None:
        """Remember why a file was not copied, and write a new reason to the journal."""
        if self._failed.get(path) != message:
            sys.stdout.write(f"not copied: {path}: {message}\n")
            sys.stdout.flush()
        self._failed[path] = message

    def is_due(self, shares: Sequence[ShareState], copying: str) -> bool:
        """Return whether something changed since the file was written, or it is old.

        Args:
            shares: the state of each share.
            copying: path of the file that is being copied, or empty.
        """
        return self._describe(shares, copying) != self._written or time.monotonic() - self._written_s >= INTERVAL_S

    def write(self, shares: Sequence[ShareState], copying: str, measures: Sequence[Mapping[str, Any]]) -> None:
        """Write the file.

        Args:
            shares: the state of each share.
            copying: path of the file that is being copied, or empty.
            measures: from :func:`measure` for each share.
        """
        self._written, self._written_s = self._describe(shares, copying), time.monotonic()
        data = {
            "time": time.time(),
            "limit_bytes": self._limit_bytes,
            "copying": copying,
            "copied": self._copied,
            "removed": self.removed,
            "failed": [{"path": path, "message": message} for path, message in self._failed.items()],
            "shares": [
                {
                    "name": one.share.name,
                    "path": one.share.path,
                    "is_away": one.is_away,
                    "message": one.message,
                    **measured,
                }
                for one, measured in zip(shares, measures)
            ],
        }
        whole_file.write_json(self._path, data)

    def _describe(self, shares: Sequence[ShareState], copying: str) -> tuple[Any, ...]:
        return tuple(shares), copying, self._copied, self.removed, tuple(self._failed.items())


def measure(share: layout.CachedShare) -> dict[str, Any]:
    """Return the copies of a share, and the paths that lead to them. Runs as the account that owns them."""
    stored = copies.read(share)
    links = view.list_links(share.view) if os.path.isdir(share.view) else {}
    paths = sorted(path for path, target in links.items() if share.is_copy(target))
    return {"bytes": sum(copy.size for copy in stored), "copies": len(stored), "paths": paths}
