# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test on one host what a file system can do, in a directory of the probe. Judges nothing: ``probe.rules`` does."""

from __future__ import annotations

import mmap
import os
import stat
import time
from collections.abc import Callable
from typing import TypedDict

from ansible_collections.noslop.studio.plugins.module_utils.probe import directory as files
from ansible_collections.noslop.studio.plugins.module_utils.share import no_replace

#: Four bytes in UTF-8, and one letter in both forms of Unicode (NFC, NFD).
_FOUR_BYTES = "film-\U0001f3ac"
_COMPOSED, _DECOMPOSED = "caf\u00e9", "cafe\u0301"
#: Characters that file systems of Windows refuse.
_CHARACTERS = 'a:b?c*d"e<f>g|h\\i'
LONGEST_NAME_BYTES = 255
#: A time with a part in each of milliseconds, microseconds and nanoseconds.
_TIME_NS = 1_700_000_001_123_456_789
MODE = 0o640


class Features(TypedDict):
    """The features of a file system: each of the texts is empty where one works, else the reason."""

    exclusive: str
    replace: str
    hard_links: str
    link_count: str
    no_replace: str
    symlinks: str
    sync: str
    mapped: str
    case: str
    long_names: str
    unicode_names: str
    normal_forms: str
    characters: str
    modes: str
    times_off_ns: int
    """How far a time is off after it was written and read."""
    clock_s: float
    """This host's time less that of the file server; positive where this host is ahead."""
    owner: list[int]
    """Owner and group of a new file, as this host shows them."""


def test_features(directory: int) -> Features:
    """Test every feature in an open, empty directory, which then has files.

    Raises:
        OSError: not even a file can be written.
    """
    files.create(directory, "plain", b"plain")
    status = os.stat("plain", dir_fd=directory, follow_symlinks=False)
    return Features(
        exclusive=_reason(lambda: _test_exclusive(directory)),
        replace=_reason(lambda: _test_replace(directory)),
        hard_links=_reason(lambda: _test_hard_links(directory)),
        link_count=_reason(lambda: _test_link_count(directory)),
        no_replace=_reason(lambda: _test_no_replace(directory)),
        symlinks=_reason(lambda: _test_symlinks(directory)),
        sync=_reason(lambda: _test_sync(directory)),
        mapped=_reason(lambda: _test_mapped(directory)),
        case=_reason(lambda: _test_case(directory)),
        long_names=_reason(lambda: _test_name(directory, "n" * LONGEST_NAME_BYTES)),
        unicode_names=_reason(lambda: _test_name(directory, _FOUR_BYTES)),
        normal_forms=_reason(lambda: _test_normal_forms(directory)),
        characters=_reason(lambda: _test_name(directory, _CHARACTERS)),
        modes=_reason(lambda: _test_modes(directory)),
        times_off_ns=_measure_times(directory),
        clock_s=_measure_clock(directory),
        owner=[status.st_uid, status.st_gid],
    )


def _reason(test: Callable[[], str]) -> str:
    try:
        return test()
    except OSError as error:
        return error.strerror or type(error).__name__


def _test_exclusive(directory: int) -> str:
    files.create(directory, "exclusive")
    try:
        files.create(directory, "exclusive")
    except FileExistsError:
        return ""
    return "a second file of the same name was made"


def _test_replace(directory: int) -> str:
    files.create(directory, "replaced", b"old")
    files.create(directory, "replacing", b"new")
    os.replace("replacing", "replaced", src_dir_fd=directory, dst_dir_fd=directory)
    if files.read(directory, "replaced", 10) != b"new":
        return "the file has the old content after the rename"
    return "the old name is still there" if _exists(directory, "replacing") else ""


def _test_hard_links(directory: int) -> str:
    files.create(directory, "linked", b"linked")
    os.link("linked", "link", src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    if files.read(directory, "link", 10) != b"linked":
        return "the link has another content"
    try:
        os.link("plain", "link", src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        return ""
    return "a link replaced a file"


def _test_link_count(directory: int) -> str:
    status = os.stat("link", dir_fd=directory, follow_symlinks=False)
    other = os.stat("linked", dir_fd=directory, follow_symlinks=False)
    if status.st_nlink != 2:
        return f"a file with 2 names counts {status.st_nlink}"
    return "" if status.st_ino == other.st_ino else "two names of one file have two inode numbers"


def _test_no_replace(directory: int) -> str:
    files.create(directory, "moved")
    no_replace.rename_new("moved", "moved-to", directory, directory)
    try:
        no_replace.rename_new("moved-to", "plain", directory, directory)
    except FileExistsError:
        return ""
    return "a rename replaced a file although it was not to"


def _test_symlinks(directory: int) -> str:
    os.symlink("plain", "symlink", dir_fd=directory)
    target = os.readlink("symlink", dir_fd=directory)
    return "" if target == "plain" else f"a link to plain leads to {target}"


def _test_sync(directory: int) -> str:
    descriptor = files.open_file(directory, "synced", new=True)
    try:
        files.write_whole(descriptor, b"synced")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.fsync(directory)
    except OSError as error:
        return f"of a directory: {error.strerror}"
    return ""


def _test_mapped(directory: int) -> str:
    descriptor = files.open_file(directory, "plain")
    try:
        with mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ) as mapped:
            return "" if mapped[:] == b"plain" else "the mapped file has another content"
    finally:
        os.close(descriptor)


def _test_case(directory: int) -> str:
    files.create(directory, "Case-A")
    return "Case-A and case-a are one name" if _exists(directory, "case-a") else ""


def _test_name(directory: int, name: str) -> str:
    files.create(directory, name)
    return "" if name in _list(directory) else "the name is changed"


def _test_normal_forms(directory: int) -> str:
    files.create(directory, _COMPOSED)
    try:
        files.create(directory, _DECOMPOSED)
    except FileExistsError:
        return "both forms are one name"
    names = _list(directory)
    return "" if _COMPOSED in names and _DECOMPOSED in names else "one form is changed into the other"


def _test_modes(directory: int) -> str:
    files.create(directory, "mode", mode=0o600)
    descriptor = files.open_file(directory, "mode")
    try:
        os.fchmod(descriptor, MODE)
    finally:
        os.close(descriptor)
    mode = stat.S_IMODE(os.stat("mode", dir_fd=directory, follow_symlinks=False).st_mode)
    return "" if mode == MODE else f"a file that was given {MODE:04o} has {mode:04o}"


def _measure_times(directory: int) -> int:
    descriptor = files.open_file(directory, "plain")
    try:
        os.utime(descriptor, ns=(_TIME_NS, _TIME_NS))
        os.fsync(descriptor)
    except OSError:
        return _TIME_NS
    finally:
        os.close(descriptor)
    return abs(os.stat("plain", dir_fd=directory, follow_symlinks=False).st_mtime_ns - _TIME_NS)


def _measure_clock(directory: int) -> float:
    """Return the difference of the clocks. A utime(2) without a time uses the server's clock (nfs(5))."""
    descriptor = files.open_file(directory, "clock", new=True)
    try:
        before = time.time()
        try:
            os.utime(descriptor)
        except OSError:
            return 0.0
        status = os.fstat(descriptor)
        after = time.time()
    finally:
        os.close(descriptor)
    return (before + after) / 2 - status.st_mtime


def _list(directory: int) -> list[str]:
    """Return the names in a directory. It is opened again: sshfs lists each opened directory once."""
    with files.open_below(directory, ".") as again:
        return os.listdir(again)


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
