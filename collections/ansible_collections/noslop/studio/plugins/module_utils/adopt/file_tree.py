# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the entries of a directory in a form in which they can be copied to a file system that other hosts mount."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo


@dataclass(frozen=True)
class Entry:
    """One entry of a scanned directory; ``path`` is relative to it.

    ``source`` is the absolute path of the content, outside the directory where a link leads there.
    """

    path: str
    kind: str  # directory, file or link
    source: str
    target: str = ""
    size_bytes: int = 0
    mtime_ns: int = 0
    mode: int = 0
    #: device and inode, where the file has several names
    identity: tuple[int, int] | None = None


@dataclass
class Listing:
    """The result of :func:`scan`: the entries, and those that it left out or treated specially."""

    entries: list[Entry] = field(default_factory=list)
    #: links that lead out of the directory: their targets are copied in their place
    followed: list[str] = field(default_factory=list)
    #: links without a target or in a loop, copied as they are
    dangling: list[str] = field(default_factory=list)
    #: excluded by a pattern, or neither file, directory nor link: not copied
    left: list[str] = field(default_factory=list)


def scan(directory: str, exclude: Sequence[str] = ()) -> Listing:
    """List a directory. Links that lead out of it are followed: on another host their targets would be missing."""
    listing = Listing()
    root = os.path.realpath(directory)
    _Scanner(root, exclude, listing).scan(root, "", (root,))
    return listing


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Return whether a relative path, or its last component, matches one of the patterns."""
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True)
class _Scanner:
    root: str
    exclude: Sequence[str]
    listing: Listing

    def scan(self, directory: str, relative: str, ancestors: tuple[str, ...]) -> None:
        """List ``directory`` as ``relative``; ``ancestors`` are the directories above it."""
        for name in sorted(os.listdir(directory)):
            source, path = os.path.join(directory, name), os.path.join(relative, name)
            if matches(path, self.exclude):
                self.listing.left.append(path)
                continue
            if os.path.islink(source):
                followed = self._resolve(source, path, ancestors)
                if not followed:
                    continue
                source = followed
            status = os.stat(source)
            if stat.S_ISDIR(status.st_mode):
                self.listing.entries.append(Entry(path, "directory", source, mode=stat.S_IMODE(status.st_mode)))
                self.scan(source, path, (*ancestors, os.path.realpath(source)))
            elif stat.S_ISREG(status.st_mode):
                self.listing.entries.append(_file_entry(path, source, status))
            else:
                self.listing.left.append(path)

    def _resolve(self, source: str, path: str, ancestors: tuple[str, ...]) -> str:
        """Add a link as an entry, or return the path outside that is copied in its place."""
        real, target = os.path.realpath(source), os.readlink(source)
        if mountinfo.is_below(real, self.root) and os.path.lexists(real):
            self.listing.entries.append(
                Entry(path, "link", source, target=_inner_target(self.root, path, source, real))
            )
            return ""
        if not os.path.exists(real) or real in ancestors or mountinfo.is_below(self.root, real):
            self.listing.dangling.append(path)
            self.listing.entries.append(Entry(path, "link", source, target=target))
            return ""
        self.listing.followed.append(path)
        return real


def _file_entry(path: str, source: str, status: os.stat_result) -> Entry:
    return Entry(
        path,
        "file",
        source,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        mode=stat.S_IMODE(status.st_mode) & 0o777,
        identity=(status.st_dev, status.st_ino) if status.st_nlink > 1 else None,
    )


def _inner_target(root: str, path: str, source: str, real: str) -> str:
    """Return the target of a link that stays inside: unchanged where that works on the share, else made relative."""
    target = os.readlink(source)
    within = os.path.normpath(os.path.join(os.path.dirname(path), target))
    if not os.path.isabs(target) and not within.startswith("..") and os.path.realpath(f"{root}/{within}") == real:
        return target
    return os.path.relpath(os.path.relpath(real, root), os.path.dirname(path) or ".")
