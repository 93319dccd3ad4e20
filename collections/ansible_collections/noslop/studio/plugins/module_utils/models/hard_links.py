# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace a file by a hard link to another one that has the same bytes. Runs as the account that owns both.

No name is ever without its content, whatever ends this process: the link is made under a hidden name beside the file
and the two names are exchanged in one step, which unlike rename(2) destroys nothing. What the exchange brought out is
compared before it goes, and goes back where it is not the file that was compared, or where a program waits to write.

A read lease (fcntl(2), "Leases") on both files proves that no program has them open for writing: the kernel grants none
otherwise, lets a program that opens one later wait, and reports it. The bytes are compared under the leases. What
remains: a program that has looked up the name before the exchange, and asks for the file only after the last look at
the lease, some microseconds later, writes to a file that has lost its name.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.noslop.studio.plugins.module_utils.host import flagged_rename
from ansible_collections.noslop.studio.plugins.module_utils.models import model_tree

_BUSY = "a program writes to it"
_LEASE_PROBLEMS = {errno.EAGAIN: _BUSY, errno.EACCES: "it belongs to another account than its share"}
_NO_LEASES = "the file system cannot tell whether a program writes to it"


class NotLinked(Exception):  # noqa: N818  # no mistake: the files stay as they are
    """A file was not replaced by a link, and is as it was. The message is the reason."""


def replace_by_link(
    top: int, source: model_tree.File, target: model_tree.File
) -> tuple[os.stat_result, os.stat_result]:
    """Make the name of ``target`` a hard link to ``source``. Return the status of the source and of the file that went.

    Args:
        top: the open directory that both paths are below.
        source: the file that stays, as it was when its content was compared.
        target: the file that goes, likewise.

    Raises:
        NotLinked: they differ, or are in use.
        OSError: the file system refuses.
    """
    name = os.path.basename(target.path)
    with (
        _opened(model_tree.open_file(top, source.path)) as kept,
        _opened(model_tree.open_file(top, target.path)) as replaced,
        _opened(model_tree.open_parent(top, target.path)) as directory,
    ):
        _require_unchanged(kept, source)
        _require_unchanged(replaced, target)
        _acquire_leases(kept, replaced)
        if not _are_equal(kept, replaced):
            raise NotLinked("the bytes differ")
        part = make_part_name(name)
        os.link(f"/proc/self/fd/{kept}", part, dst_dir_fd=directory, follow_symlinks=True)
        try:
            _exchange(directory, part, name, replaced)
        finally:
            _remove_if_safe(directory, part, kept, replaced)
        os.fsync(directory)
        return os.fstat(kept), os.fstat(replaced)


def finish(top: int, path: str) -> bool:
    """Bring to an end what a run left that was ended between two steps. Return whether nothing is left of it.

    Args:
        top: the open directory of the tree.
        path: the path of the hidden name.
    """
    part = os.path.basename(path)
    with _opened(model_tree.open_parent(top, path)) as directory:
        name = next((one for one in os.listdir(directory) if make_part_name(one) == part), "")
        with _opened(model_tree.open_file(directory, part)) as left:
            if not name:
                return False
            with _opened(model_tree.open_file(directory, name)) as named:
                if os.path.sameopenfile(left, named):
                    _remove_if_safe(directory, part, named)
                    return True
                try:
                    _acquire_leases(left, named)
                    equal = os.fstat(left).st_size == os.fstat(named).st_size and _are_equal(left, named)
                except NotLinked:
                    return False
                # Different bytes: one of both is what a person or a program wrote since, and only they know which.
                if equal:
                    _remove_if_safe(directory, part, left)
                return equal


def make_part_name(name: str) -> str:
    """Return the hidden name beside a file."""
    return model_tree.LINK_PREFIX + hashlib.sha256(os.fsencode(name)).hexdigest()[:24]


def _exchange(directory: int, part: str, name: str, replaced: int) -> None:
    """Exchange the two names, and exchange them back where another file was under the name than the compared one."""
    _require_leases(replaced)
    if not _is_under(directory, name, replaced):
        raise NotLinked("another file has its name now")
    flagged_rename.rename_by(part, name, directory, directory, flagged_rename.EXCHANGE)
    problem = "" if _is_under(directory, part, replaced) else "another file got its name meanwhile, and has it"
    if not problem and not _has_leases(replaced):
        problem = _BUSY
    if problem:
        flagged_rename.rename_by(part, name, directory, directory, flagged_rename.EXCHANGE)
        raise NotLinked(problem)


def _remove_if_safe(directory: int, part: str, *files: int) -> None:
    """Remove the hidden name, where it is one of these open files: each has its bytes under another name."""
    if any(_is_under(directory, part, file) for file in files):
        os.unlink(part, dir_fd=directory)


def _is_under(directory: int, name: str, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(file))
    except FileNotFoundError:
        return False


def _require_unchanged(descriptor: int, file: model_tree.File) -> None:
    if not file.is_of(os.fstat(descriptor)):
        raise NotLinked("it changed while this ran")


def _acquire_leases(*descriptors: int) -> None:
    # The kernel reports a program that waits by this signal, which would end the process.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    for descriptor in descriptors:
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            raise NotLinked(_LEASE_PROBLEMS.get(error.errno or 0, _NO_LEASES)) from error


def _require_leases(*descriptors: int) -> None:
    if not _has_leases(*descriptors):
        raise NotLinked(_BUSY)


def _has_leases(*descriptors: int) -> bool:
    """Return whether no program waits to write."""
    return all(fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK for descriptor in descriptors)


def _are_equal(one: int, other: int) -> bool:
    """Compare two files of one size, and end at once where a program waits to write."""
    offset = 0
    while True:
        block = os.pread(one, model_tree.BLOCK_BYTES, offset)
        if block != os.pread(other, model_tree.BLOCK_BYTES, offset):
            return False
        _require_leases(one, other)
        if not block:
            return True
        offset += len(block)


@contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
