# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the view of a share like the share, in a process of the account that owns both.

Everything here that touches the share may wait for its server for ever. The view is changed between two such steps, so
that the process that started this one can change it when this one is silent (:mod:`service`).
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import (
    copies,
    layout,
    listing,
    open_events,
    view,
)
from ansible_collections.noslop.studio.plugins.module_utils.models import ollama_store
from ansible_collections.noslop.studio.plugins.module_utils.share import access, markers

#: Seconds between two looks at a share. Its directories' times are cached for up to 3 s (acdirmax, nfs(5)).
INTERVAL_S = 5.0
_FILES = "files"
_SHARE = "share:"


class Follower:
    """The view of one share."""

    def __init__(self, share: layout.CachedShare, report: Callable[[], None] = lambda: None) -> None:
        """Start without having read the share. Needs its part of the cache, and not the share.

        Args:
            share: the share, and its part of the cache.
            report: called now and then while the share is read.
        """
        self.share = share
        self._reader = listing.ListingReader(share.path, report)
        self._events = open_events.OpenEvents()
        self._listing = listing.Listing()
        #: What programs see a copy of. Ollama writes into the manifest that is there.
        self._copied: set[str] = set()
        for directory in (share.view, share.files, share.parts):
            os.makedirs(directory, 0o755, exist_ok=True)
        with os.scandir(share.parts) as entries:
            for entry in entries:
                os.unlink(entry.path)

    def update(self) -> bool:
        """Read the share and make the view like it. Return whether the view changed.

        Raises:
            ShareError: it is missing, or another share.
            OSError: it cannot be read.
        """
        self._require_marker()
        self._listing = self._reader.read(self._copied)
        manifests = [path for path in self._listing.files if layout.is_manifest(path)]
        written = [path for path in manifests if self._write_manifest(path)]
        with view.locked(self.share):
            stored = {copy.digest: (copy.size, copy.modified_ns) for copy in copies.read(self.share)}
            links = {
                path: self._choose_target(file, stored)
                for path, file in self._listing.files.items()
                if not layout.is_manifest(path)
            }
            changed = view.apply(self.share.view, self._listing.directories, links, manifests)
            linked = {os.path.basename(target) for target in links.values() if self.share.is_copy(target)}
            # Their content is not on the share any more, under no name.
            view.remove_copies(self.share, set(stored) - linked)
        self._copied = {path for path, target in links.items() if self.share.is_copy(target)} | set(manifests)
        watched = {_FILES: self.share.files}
        for path in {os.path.dirname(path) for path in links}:
            watched[_SHARE + path] = os.path.join(self.share.path, path)
        self._events.watch(watched)
        return changed or bool(written)

    def wait(self, seconds: float) -> list[listing.File]:
        """Wait for some time. Return the files that programs opened on the share and that could be copied.

        A copy that was opened has that time from then on.
        """
        end = time.monotonic() + seconds
        opened: dict[str, listing.File] = {}
        while (left := end - time.monotonic()) > 0 and not opened:
            select.select([self._events.descriptor], [], [], left)
            for directory, name in self._events.read():
                if directory == _FILES:
                    self._mark_used(name)
                    continue
                path = os.path.join(directory[len(_SHARE) :], name)
                file = self._listing.files.get(path)
                if file and file.is_regular and path not in self._copied and self.share.find_digest(path):
                    opened[path] = file
        return list(opened.values())

    def _require_marker(self) -> None:
        """Compare the marker in this process: in another one it would take a process for each look."""
        problem = markers.find_problem(
            markers.read(os.path.join(self.share.path, studio.MARKER)), self.share.studio_id, self.share.name
        )
        if problem:
            raise access.ShareError(f"{self.share.path} is not the share that belongs there: {problem}")

    def _choose_target(self, file: listing.File, stored: Mapping[str, tuple[int, int]]) -> str:
        """Return where the name of a file leads: to its copy, where that is of the file as it is now."""
        digest = self.share.find_digest(file.path)
        if digest and stored.get(digest) == (file.size, file.modified_ns):
            return self.share.locate_copy(digest)
        return os.path.join(self.share.path, file.path)

    def _write_manifest(self, path: str) -> bool:
        """Copy a manifest of Ollama's into the view, where it differs. Return whether it did."""
        file, target = self._listing.files[path], os.path.join(self.share.view, path)
        with contextlib.suppress(OSError):
            status = os.lstat(target)
            if (status.st_size, status.st_mtime_ns) == (file.size, file.modified_ns):
                return False
        with open(os.path.join(self.share.path, path), "rb") as stream:
            data = stream.read(ollama_store.MANIFEST_MAX_BYTES)
        with view.locked(self.share):
            view.write_file(target, data, file.modified_ns)
        return True

    def _mark_used(self, digest: str) -> None:
        path = self.share.locate_copy(digest)
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, ns=(time.time_ns(), os.stat(path).st_mtime_ns))


def build(share: layout.CachedShare) -> None:
    """Make the view of a share that has none. It is there under its name when it is whole.

    Raises:
        ShareError: the share is missing, or another one.
        OSError: it cannot be read.
    """
    first = replace(share, view_name=f"{layout.VIEW}.new")
    Follower(first).update()
    os.rename(first.view, share.view)


def follow(share: layout.CachedShare, interval_s: float, send: Callable[[Mapping[str, Any]], None]) -> None:
    """Keep a view like its share until the process that started this one has ended.

    Args:
        share: the share, and its part of the cache.
        interval_s: seconds between two looks.
        send: gets what happened: ``reading`` while a look takes long, ``present`` after it, ``opened`` with the files
            that could be copied, or ``away`` with the reason.
    """
    parent = os.getppid()
    follower = Follower(share, lambda: send({"reading": True}))
    while os.getppid() == parent:
        try:
            follower.update()
        except (access.ShareError, OSError) as error:
            with view.locked(share):
                view.hide_share(share)
            send({"away": str(error)})
            time.sleep(interval_s)
            continue
        send({"present": True})
        if opened := follower.wait(interval_s):
            send({"opened": [[file.path, file.size, file.modified_ns] for file in opened]})
