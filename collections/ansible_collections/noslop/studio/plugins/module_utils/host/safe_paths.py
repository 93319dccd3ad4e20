# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change files and directories as root below directories that belong to an account.

The owner of a directory can replace its entries at any moment: a directory by a link to ``/etc``, a file by a hard link
to ``/etc/shadow``. Everything here therefore works on descriptors, which refer to the same inode for as long as they
are open. Owner and mode of an inode that is open with ``O_PATH`` are changed through ``/proc/self/fd``, since fchown(2)
refuses such descriptors (open(2)).

This is the only code of the collection that changes owners, modes or entries below what an account owns.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager

#: Directories open at one time while a tree is walked, well below the usual limit of 1,024 descriptors.
MAX_DEPTH = 200
#: Links followed on one path, as the kernel does (path_resolution(7)).
MAX_LINKS = 40

_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnsafePath(OSError):  # noqa: N818  # an OSError by kind and by name of its attributes
    """A path that an account other than root can redirect."""


def open_directory(path: str) -> int:
    """Return a descriptor (``O_PATH``) of the directory ``path``.

    Links in directories that only root can write to are followed. From the first directory on that another account can
    write to, links and ``..`` are refused. A directory like ``/tmp`` counts as root's where root owns the entry in it.

    Raises:
        UnsafePath: a link lies below a directory that an account other than root can write to.
        OSError: the directory is missing, or cannot be opened.
    """
    return _walk(os.path.abspath(path), path)


def make_directory(path: str, uid: int, gid: int, mode: int) -> bool:
    """Make the directory ``path``, or correct its owner and mode, and return whether anything changed.

    Parents that are missing are made as root's, mode 0755.

    Raises:
        UnsafePath: a link lies below a directory that an account other than root can write to, or in its place.
        OSError: the name belongs to an entry that is no directory.
    """
    parent_path, name = os.path.split(os.path.abspath(path))
    try:
        parent = open_directory(parent_path)
    except FileNotFoundError:
        make_directory(parent_path, os.geteuid(), os.getegid(), 0o755)
        parent = open_directory(parent_path)
    with _closing(parent):
        made = _mkdir(name, parent)
        try:
            directory = os.open(name, _PATH_ONLY | os.O_DIRECTORY, dir_fd=parent)
        except NotADirectoryError:
            if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                if _is_roots(os.fstat(parent)):
                    directory = open_directory(path)
                else:
                    raise _unsafe(path, name) from None
            else:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        with _closing(directory):
            return _set_owner_and_mode(directory, uid, gid, mode) or made


def change_owner_tree(
    path: str, from_uids: Collection[int], uid: int, gid: int, from_gids: Collection[int] | None = None
) -> int:
    """Change the owner of what ``from_uids`` own in the tree ``path`` to ``uid``; return the number of changed inodes.

    The group becomes ``gid`` where it is one of ``from_gids`` (default: the numbers in ``from_uids``). Inodes of other
    owners stay as they are, and so does a file that has a name outside the tree: by a hard link an account could get
    another program's file. What is mounted below ``path`` is skipped. The top directory is changed last, so that the
    next run continues one that was interrupted.

    Raises:
        UnsafePath: a directory above ``path`` can be replaced, or the tree is deeper than ``MAX_DEPTH``.
    """
    top = open_directory(path)
    with _closing(top):
        names_inside: dict[tuple[int, int], int] = {}
        for inode in _inodes(top, path):
            status = os.fstat(inode)
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                key = (status.st_dev, status.st_ino)
                names_inside[key] = names_inside.get(key, 0) + 1
        change = _Change(frozenset(from_uids), frozenset(from_uids if from_gids is None else from_gids), uid, gid)
        changed = 0
        for inode in _inodes(top, path):
            status = os.fstat(inode)
            shared = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
            if not shared or names_inside.get((status.st_dev, status.st_ino)) == status.st_nlink:
                changed += change.apply(inode, status)
        return changed + change.apply(top, os.fstat(top))


def write_file(  # noqa: PLR0917  # owner and mode in the order of chown(1) and install(1)
    directory_fd: int, name: str, data: bytes, uid: int, gid: int, mode: int, *, sync: bool = True
) -> None:
    """Write a whole file into an open directory, and give it ``name`` after it is on the disk.

    An entry of that name is replaced, even a link; a link is never written through. Without ``sync`` the file may be
    empty after a power failure, and the disk is not made to write at once.

    Raises:
        UnsafePath: ``name`` is no plain name.
        OSError: the file cannot be written, or a directory has the name.
    """
    _require_plain(name)
    part = f".{name[:200]}.{secrets.token_hex(8)}"
    file = os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory_fd
    )
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            if os.geteuid() == 0:
                os.fchown(file, uid, gid)
            os.fchmod(file, mode)
            if sync:
                os.fsync(file)
        os.rename(part, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    except BaseException:
        os.unlink(part, dir_fd=directory_fd)
        raise
    if not sync:
        return
    readable = os.open(".", _READ_DIRECTORY, dir_fd=directory_fd)
    with _closing(readable):
        os.fsync(readable)


def read_file(path: str, limit_bytes: int) -> bytes:
    """Return the content of the regular file ``path``, at most ``limit_bytes`` of it, without following links to it.

    Raises:
        UnsafePath: the file, or a directory above it, is a link that an account other than root can change.
        OSError: it is no regular file, larger than ``limit_bytes``, or cannot be read.
    """
    parent_path, name = os.path.split(os.path.abspath(path))
    with _closing(open_directory(parent_path)) as parent:
        try:
            # Non-blocking: opening a named pipe would wait for its writer.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _unsafe(path, name) from None
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
    with os.fdopen(file, "rb") as stream:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", path)
        data: bytes = stream.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return data


def remove_tree(path: str) -> None:
    """Remove ``path`` and everything below it. Links are removed, never followed; a mount point is refused.

    Raises:
        UnsafePath: a directory above ``path`` can be replaced.
        OSError: something cannot be removed, or is a mount point.
    """
    parent_path, name = os.path.split(os.path.abspath(path))
    with _closing(open_directory(parent_path)) as parent:
        _remove_entry(parent, name, path)


def _walk(path: str, requested: str) -> int:
    """Open each directory of an absolute path in turn."""
    todo = [part for part in path.split("/") if part][::-1]
    current = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    trusted, links = True, 0
    try:
        while todo:
            name = todo.pop()
            parent = os.fstat(current)
            follow = trusted and _is_roots(parent)
            if name == ".." and not follow:
                raise _unsafe(requested, name)
            try:
                inner = os.open(name, _PATH_ONLY, dir_fd=current)
            except OSError as error:
                raise OSError(error.errno, os.strerror(error.errno or 0), requested) from None
            status = os.fstat(inner)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink("", dir_fd=inner)
                os.close(inner)
                links += 1
                if not follow or links > MAX_LINKS:
                    raise _unsafe(requested, name)
                todo += [part for part in target.split("/") if part and part != "."][::-1]
                inner = os.open("/" if target.startswith("/") else ".", _PATH_ONLY | os.O_DIRECTORY, dir_fd=current)
            elif stat.S_ISDIR(status.st_mode):
                trusted = follow or (trusted and _is_sticky(parent) and status.st_uid in _trusted_uids())
                # Opened again as a directory: O_PATH alone does not make an automount appear (open(2)).
                os.close(inner)
                inner = os.open(name, _PATH_ONLY | os.O_DIRECTORY, dir_fd=current)
            else:
                os.close(inner)
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), requested)
            os.close(current)
            current = inner
    except BaseException:
        os.close(current)
        raise
    return current


def _is_roots(status: os.stat_result) -> bool:
    """Return whether only root and the account of this process can change the entries of a directory."""
    return status.st_uid in _trusted_uids() and not status.st_mode & 0o022


def _is_sticky(status: os.stat_result) -> bool:
    """Return whether only their owners can change the entries of a directory, as in ``/tmp`` (inode(7))."""
    return status.st_uid in _trusted_uids() and bool(status.st_mode & stat.S_ISVTX)


def _trusted_uids() -> tuple[int, int]:
    return (0, os.geteuid())


def mount_id(descriptor: int) -> str:
    """Return the number of the mount of a descriptor: a bind mount has the device of the original file system."""
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as stream:
        return next((line.split()[1] for line in stream if line.startswith("mnt_id:")), "")


def _mkdir(name: str, parent: int) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _set_owner_and_mode(inode: int, uid: int, gid: int, mode: int) -> bool:
    status = os.fstat(inode)
    changed = False
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(f"/proc/self/fd/{inode}", uid, gid)
        changed = True
    if stat.S_IMODE(os.fstat(inode).st_mode) != mode:
        os.chmod(f"/proc/self/fd/{inode}", mode)
        changed = True
    return changed


class _Change:
    """One change of owner: from which numbers to which."""

    def __init__(self, from_uids: frozenset[int], from_gids: frozenset[int], uid: int, gid: int) -> None:
        self.from_uids, self.from_gids, self.uid, self.gid = from_uids, from_gids, uid, gid

    def apply(self, inode: int, status: os.stat_result) -> int:
        """Change one inode, and return the number of changes, 0 or 1."""
        if status.st_uid not in (*self.from_uids, self.uid):
            return 0
        uid = self.uid if status.st_uid in self.from_uids else status.st_uid
        gid = self.gid if status.st_gid in self.from_gids else status.st_gid
        if (uid, gid) == (status.st_uid, status.st_gid):
            return 0
        os.chown(f"/proc/self/fd/{inode}", uid, gid)
        if stat.S_ISDIR(status.st_mode):  # chown(2) may clear the set-group-ID bit, which is right for files only
            os.chmod(f"/proc/self/fd/{inode}", stat.S_IMODE(status.st_mode))
        return 1


def _inodes(directory: int, path: str, depth: int = 0) -> Iterator[int]:
    """Open every inode below a directory in turn, each directory after its content, and skip mount points."""
    if depth >= MAX_DEPTH:
        raise UnsafePath(errno.ELOOP, f"holds directories deeper than {MAX_DEPTH}", path)
    mount = mount_id(directory)
    for name in _names(directory):
        try:
            inode = os.open(name, _PATH_ONLY, dir_fd=directory)
        except FileNotFoundError:
            continue
        with _closing(inode):
            if mount_id(inode) != mount:
                continue
            if stat.S_ISDIR(os.fstat(inode).st_mode):
                yield from _inodes(inode, path, depth + 1)
            yield inode


def _names(directory: int) -> list[str]:
    readable = os.open(".", _READ_DIRECTORY, dir_fd=directory)
    with _closing(readable):
        return sorted(os.listdir(readable))


def _remove_entry(parent: int, name: str, path: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):  # unlink(2) answers EISDIR on Linux, EPERM elsewhere
        try:
            top = os.open(name, _PATH_ONLY | os.O_DIRECTORY, dir_fd=parent)
        except NotADirectoryError:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path) from None
        with _closing(top):
            if mount_id(top) != mount_id(parent):
                raise OSError(errno.EBUSY, "is a mount point", path) from None
            while _names(top):
                _empty(top, top, 0, path)
        os.rmdir(name, dir_fd=parent)


def _empty(directory: int, top: int, depth: int, path: str) -> None:
    """Remove the content of a directory. What lies too deep is moved up to ``top`` for the next round."""
    for name in _names(directory):
        inode = os.open(name, _PATH_ONLY, dir_fd=directory)
        with _closing(inode):
            if not stat.S_ISDIR(os.fstat(inode).st_mode):
                os.unlink(name, dir_fd=directory)
                continue
            if mount_id(inode) != mount_id(directory):
                raise OSError(errno.EBUSY, f"holds the mount point {name}", path)
            if depth >= MAX_DEPTH:
                os.rename(name, f".deep-{secrets.token_hex(8)}", src_dir_fd=directory, dst_dir_fd=top)
                continue
            _empty(inode, top, depth + 1, path)
        os.rmdir(name, dir_fd=directory)


def _require_plain(name: str) -> None:
    if not name or "/" in name or name in (".", ".."):
        raise UnsafePath(errno.EINVAL, "is no plain name", name)


def _unsafe(path: str, name: str) -> UnsafePath:
    return UnsafePath(
        errno.ELOOP,
        f"{name} on this way is a link, below a directory that others than root can write to. "
        "Remove it, or put what it leads to in its place",
        path,
    )


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
