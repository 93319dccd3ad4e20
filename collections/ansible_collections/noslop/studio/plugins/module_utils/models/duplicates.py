# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which files of a studio's trees are copies of one another, and what they cost. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.models import extents
from ansible_collections.noslop.studio.plugins.module_utils.models.model_tree import File

#: Smaller files are settings and notes, which people edit, and save nothing.
MIN_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Copy:
    """One file of a tree, under all the names that it has there. ``tree`` is the name of the share."""

    tree: str
    files: tuple[File, ...]

    @property
    def file(self) -> File:
        """Return the file under its first name."""
        return self.files[0]

    @property
    def has_other_names(self) -> bool:
        """Return whether the file has names outside the tree, which keep its bytes on the disk."""
        return self.file.names > len(self.files)


@dataclass(frozen=True)
class Group:
    """Files with the same content. ``source`` is the oldest, which the others are joined to."""

    sha256: str
    source: Copy
    others: tuple[Copy, ...]

    @property
    def copies(self) -> tuple[Copy, ...]:
        """Return all of them."""
        return self.source, *self.others


def find_candidates(trees: Mapping[str, Iterable[File]], min_bytes: int = MIN_BYTES) -> list[Copy]:
    """Return the files that another one of the same size exists for, each with all its names."""
    named: dict[tuple[int, int], tuple[str, list[File]]] = {}
    for tree, files in trees.items():
        for file in files:
            if file.size >= min_bytes:
                first, names = named.setdefault(file.identity, (tree, []))
                if first == tree:
                    names.append(file)
    copies = [Copy(tree, tuple(files)) for tree, files in named.values()]
    sizes: dict[int, int] = {}
    for copy in copies:
        sizes[copy.file.size] = sizes.get(copy.file.size, 0) + 1
    return [copy for copy in copies if sizes[copy.file.size] > 1]


def make_groups(copies: Iterable[Copy], digests: Mapping[tuple[int, int], str]) -> list[Group]:
    """Return the files with the same content.

    Args:
        copies: the files.
        digests: SHA-256 by the identity of a file; those without one are left out.
    """
    by_content: dict[tuple[str, int], list[Copy]] = {}
    for copy in copies:
        if digest := digests.get(copy.file.identity):
            by_content.setdefault((digest, copy.file.size), []).append(copy)
    groups = []
    for (digest, __), equal in by_content.items():
        source, *others = sorted(equal, key=lambda copy: (copy.file.modified_ns, copy.tree, copy.file.path))
        if others:
            groups.append(Group(digest, source, tuple(others)))
    return groups


def find_sources(group: Group, copy: Copy) -> list[Copy]:
    """Return the files of a group that a copy may share its extents with: the oldest, and that of its own device."""
    same = [one for one in group.copies if one.file.device == copy.file.device]
    return [one for one in dict.fromkeys((group.source, same[0])) if one is not copy]


def find_link_source(group: Group, copy: Copy) -> Copy | None:
    """Return the oldest file of a group that a copy can be a hard link to: an inode has one owner, so of one tree."""
    for one in group.copies:
        if (one.tree, one.file.device) == (copy.tree, copy.file.device):
            return None if one is copy else one
    return None


def find_link_problem(source: Copy, copy: Copy) -> str:
    """Return why a copy must not become a hard link to a file of its tree; empty where it may."""
    one, other = source.file, copy.file
    if (one.uid, one.gid, one.mode) != (other.uid, other.gid, other.mode):
        return "the files have different owners or modes, and a link has one"
    if copy.has_other_names:
        return "it has names outside the share, which would keep its bytes"
    return ""


def count_stored(copies: Sequence[Copy], places: Mapping[tuple[int, int], Sequence[extents.Extent]]) -> int:
    """Return the bytes that files have on the disk together; what several share counts once.

    Args:
        copies: the files, each once.
        places: where each lies on the disk, by its identity; empty where the file system does not tell.
    """
    by_device: dict[int, list[Sequence[extents.Extent]]] = {}
    total = 0
    for copy in copies:
        listed = places.get(copy.file.identity) or ()
        if listed:
            by_device.setdefault(copy.file.device, []).append(listed)
        else:
            total += copy.file.stored
    return total + sum(extents.count_bytes(files) for files in by_device.values())
