# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the tree of links that programs read in place of a share. Touches no path of the share, which may not answer."""

from __future__ import annotations

import contextlib
import fcntl
import os
import posixpath
from collections.abc import Collection, Iterator, Mapping

from ansible_collections.noslop.studio.plugins.module_utils.model_cache import layout
from ansible_collections.noslop.studio.plugins.module_utils.models import ollama_store

#: Begins the name of an entry that is being made; hidden, so that no program lists it.
NEW = ".noslop-new-"


@contextlib.contextmanager
def locked(share: layout.CachedShare) -> Iterator[None]:
    """Keep every other process from changing the view and the copies of a share."""
    descriptor = os.open(share.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def apply(view: str, directories: Collection[str], links: Mapping[str, str], kept: Collection[str] = ()) -> bool:
    """Change a view into these directories and links. Return whether anything changed.

    A link is replaced in one step, so that a program finds its file at every moment.

    Args:
        view: the tree, which exists.
        directories: paths below it.
        links: paths below it, with the target of each.
        kept: paths of files below it that stay as they are.
    """
    wanted = {*directories, *(parent for path in (*links, *kept) for parent in layout.list_parents(path))}
    directories_there: set[str] = set()
    right: set[str] = set()
    changed = False
    for path, entry in list(_walk(view)):
        if entry.is_dir(follow_symlinks=False):
            directories_there.add(path)
        elif path in kept or (path in links and entry.is_symlink() and os.readlink(entry.path) == links[path]):
            right.add(path)
        elif path not in links:
            os.unlink(entry.path)
            changed = True
    for path in sorted(directories_there - wanted, reverse=True):  # what is inside before its directory
        os.rmdir(os.path.join(view, path))
        changed = True
    for path in sorted(wanted - directories_there):
        os.mkdir(os.path.join(view, path), 0o755)
        changed = True
    for path in sorted(set(links) - right):
        _put(view, path, links[path])
        changed = True
    return changed


def list_links(view: str) -> dict[str, str]:
    """Return the links of a view, each with its target."""
    return {path: os.readlink(entry.path) for path, entry in _walk(view) if entry.is_symlink()}


def hide_share(share: layout.CachedShare) -> bool:
    """Remove from a view what can be read on the share only. Return whether anything changed.

    A program that looks at such a link would wait for the server. Of Ollama's models, those stay that have all of
    their blobs in the cache.
    """
    changed = False
    for path, entry in list(_walk(share.view)):
        if entry.is_symlink():
            hidden = not share.is_copy(os.readlink(entry.path))
        else:
            hidden = entry.is_file() and layout.is_manifest(path) and not _is_complete(share, entry.path)
        if hidden:
            os.unlink(entry.path)
            changed = True
    return changed


def remove_copies(share: layout.CachedShare, digests: Collection[str]) -> None:
    """Let the view lead to the share again, and then remove copies."""
    paths = {share.locate_copy(digest) for digest in digests}
    for path, target in list_links(share.view).items():
        if target in paths:
            _put(share.view, path, os.path.join(share.path, path))
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def write_file(path: str, data: bytes, modified_ns: int) -> None:
    """Write a file of a view in one step, with the time of its original."""
    new = os.path.join(os.path.dirname(path), f"{NEW}{os.getpid()}")
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as stream:
        stream.write(data)
    os.utime(new, ns=(modified_ns, modified_ns))
    os.replace(new, path)


def _walk(top: str, path: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all entries below a directory, each directory before what is in it."""
    with os.scandir(os.path.join(top, path)) as entries:
        listed = list(entries)
    for entry in listed:
        inner = posixpath.join(path, entry.name)
        yield inner, entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(top, inner)


def _put(view: str, path: str, target: str) -> None:
    full = os.path.join(view, path)
    new = os.path.join(os.path.dirname(full), f"{NEW}{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    os.symlink(target, new)
    os.replace(new, full)


def _is_complete(share: layout.CachedShare, manifest: str) -> bool:
    try:
        digests = ollama_store.read_digests(manifest)
    except (OSError, ollama_store.StoreError):
        return False
    return all(os.path.exists(share.locate_copy(digest)) for digest in digests)
