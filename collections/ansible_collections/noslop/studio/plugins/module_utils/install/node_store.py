# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and change the custom nodes on their share: a directory for each revision, and a link by the node's name.

``<share>/.noslop-nodes.disabled/<name>/<revision>/`` has the files, and ``<share>/<name>`` is a relative link to it.
ComfyUI imports every directory of the share except those whose names end in ``.disabled`` (its nodes.py,
init_external_custom_nodes), so that the directory of all revisions is not imported itself. A directory or a link that
is not of this form belongs to others, and is never changed. Every function runs as the account that owns the share.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from typing import Any

STORE = ".noslop-nodes.disabled"
#: Revisions of a node that stay on the share, for going back.
KEPT = 3
#: ComfyUI's own file in custom_nodes, which each version brings.
OWN_FILE = "websocket_image_save.py"
_PART = ".part"
_NEW_LINK = ".new-link"
_SMALL_BYTES = 256 * 1024
_HEX = re.compile(r"[0-9a-f]{40}")
_VERSION = re.compile(r"""(?m)^version\s*=\s*["']([^"'\n]{1,40})["']""")
_REMOTE = re.compile(r"(?m)^\s*url\s*=\s*(https?://[^\s@]+)\s*$")
_DIRECTORY_MODE = 0o2775


def make_revision(commit: str, sha256: str) -> str:
    """Return the name of a revision's directory, 40 hexadecimal digits: its commit, or the start of its SHA-256."""
    return commit or sha256[:40]


def make_target(name: str, revision: str) -> str:
    """Return the path of a revision on the share, which is also the target of the node's link."""
    return f"{STORE}/{name}/{revision}"


def find_linked_revision(share: str, name: str) -> str:
    """Return the revision that the link of a node leads to; empty where the entry is not NoSlop's, or missing."""
    try:
        target = os.readlink(os.path.join(share, name))
    except OSError:
        return ""
    prefix = f"{STORE}/{name}/"
    revision = target[len(prefix) :] if target.startswith(prefix) else ""
    return revision if _HEX.fullmatch(revision) else ""


def has_revision(share: str, name: str, revision: str) -> bool:
    """Return whether the files of a revision are on the share. They get their name when they are complete."""
    return os.path.isdir(os.path.join(share, make_target(name, revision)))


def list_nodes(share: str) -> list[dict[str, Any]]:
    """List what ComfyUI imports from the share, in the order of the names.

    Returns:
        One dictionary for each entry: ``name``; ``revision``, which is empty where the entry is not NoSlop's;
        ``bundled``, which is true for ComfyUI's own file; and for entries of others ``commit`` (of .git/HEAD), ``repo``
        (the https address in .git/config) and ``version`` (of pyproject.toml), each empty where it is not known. Git
        itself is not run: a repository can name programs.
    """
    listed = []
    for name in sorted(os.listdir(share)):
        path = os.path.join(share, name)
        if name == "__pycache__" or name.startswith(".") or name.endswith(".disabled"):
            continue
        if not os.path.isdir(path) and not os.path.islink(path) and not name.endswith(".py"):
            continue
        revision = find_linked_revision(share, name)
        about = {"commit": "", "repo": "", "version": ""} if revision or not os.path.isdir(path) else _describe(path)
        listed.append({"name": name, "revision": revision, "bundled": name == OWN_FILE, **about})
    return listed


def start_revision(share: str, name: str) -> str:
    """Make an empty directory for the files of a revision, and return its path."""
    for directory in (os.path.join(share, STORE), os.path.join(share, STORE, name)):
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory)
            os.chmod(directory, _DIRECTORY_MODE)
    part = os.path.join(share, STORE, name, _PART)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(part)
    os.mkdir(part)
    os.chmod(part, _DIRECTORY_MODE)
    return part


def finish_revision(share: str, name: str, revision: str) -> None:
    """Rename the directory of complete files to its revision."""
    os.rename(os.path.join(share, STORE, name, _PART), os.path.join(share, make_target(name, revision)))


def link_revision(share: str, name: str, revision: str) -> None:
    """Point the link of a node at a revision, in one step.

    Raises:
        FileExistsError: the entry of that name is not NoSlop's.
    """
    path, new = os.path.join(share, name), os.path.join(share, STORE, _NEW_LINK)
    if os.path.lexists(path) and not find_linked_revision(share, name):
        raise FileExistsError(17, "was not made by NoSlop", path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    os.symlink(make_target(name, revision), new)
    os.utime(os.path.join(share, make_target(name, revision)))  # the time of its last use, for remove_old_revisions
    os.rename(new, path)


def remove_link(share: str, name: str) -> None:
    """Remove the link of a node, and keep its revisions. An entry that is not NoSlop's stays."""
    if find_linked_revision(share, name):
        os.unlink(os.path.join(share, name))


def remove_old_revisions(share: str, name: str) -> list[str]:
    """Remove all revisions of a node but the linked one and those that were linked last; return their names."""
    directory = os.path.join(share, STORE, name)
    times = {}
    for revision in os.listdir(directory):
        status = os.lstat(os.path.join(directory, revision))
        if _HEX.fullmatch(revision) and stat.S_ISDIR(status.st_mode):
            times[revision] = status.st_mtime_ns
    linked = find_linked_revision(share, name)
    newest_first = sorted(times, key=lambda revision: (revision == linked, times[revision]), reverse=True)
    for revision in newest_first[KEPT:]:
        shutil.rmtree(os.path.join(directory, revision))
    return newest_first[KEPT:]


def _describe(path: str) -> dict[str, str]:
    git = os.path.join(path, ".git")
    commit = _read(os.path.join(git, "HEAD")).strip()
    if commit.startswith("ref: "):
        reference = commit[len("ref: ") :].strip()
        loose = _read(os.path.join(git, reference)).strip() if ".." not in reference.split("/") else ""
        packed = re.search(rf"(?m)^([0-9a-f]{{40}}) {re.escape(reference)}$", _read(os.path.join(git, "packed-refs")))
        commit = loose or (packed[1] if packed else "")
    remote = _REMOTE.search(_read(os.path.join(git, "config")))
    version = _VERSION.search(_read(os.path.join(path, "pyproject.toml")))
    return {
        "commit": commit if _HEX.fullmatch(commit) else "",
        "repo": remote[1] if remote else "",
        "version": version[1] if version else "",
    }


def _read(path: str) -> str:
    """Return the start of a text file, or an empty string where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return os.read(descriptor, _SMALL_BYTES).decode(errors="replace")
    finally:
        os.close(descriptor)
