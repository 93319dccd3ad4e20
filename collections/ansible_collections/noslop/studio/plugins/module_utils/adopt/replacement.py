# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace a directory by a link to a share, in steps that can each be undone or repeated.

The original directory stays beside the link as ``<path>.pre-noslop-<timestamp>``; nothing is ever removed.
"""

from __future__ import annotations

import contextlib
import datetime
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.adopt import file_copy
from ansible_collections.noslop.studio.plugins.module_utils.adopt.file_tree import Listing, scan
from ansible_collections.noslop.studio.plugins.module_utils.checks import check
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo, worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.share import access

SUFFIX = ".pre-noslop-"
#: Times that the directory is scanned again for files that were added while it was copied.
MAX_ROUNDS = 3
#: Names that an error lists; further ones are counted.
MAX_NAMES = 20


@dataclass
class Pair:
    """A directory, the share that replaces it, and the state of the replacement."""

    src: str
    dest: str
    rules: file_copy.Rules
    accounts: file_copy.Accounts = field(default_factory=file_copy.Accounts)
    #: the account that renames the directory and makes the link; ``None`` is the account of this process
    rename_account: worker_processes.Account | None = None
    listing: Listing = field(default_factory=Listing)
    comparison: file_copy.Comparison = field(default_factory=file_copy.Comparison)
    renamed_to: str = ""
    linked: bool = False
    copied_files: int = 0
    copied_bytes: int = 0
    #: names in the directory that a read-only share lacks, or has with another content
    lacking: list[str] = field(default_factory=list)

    @property
    def is_read_only(self) -> bool:
        """Return whether the share is mounted read-only on this host. Raises OSError where the share does not exist."""
        return bool(os.statvfs(self.dest).f_flag & os.ST_RDONLY)

    @property
    def is_done(self) -> bool:
        """Return whether the directory is the right link already."""
        if not os.path.islink(self.src):
            return False
        # The text of the link first: a share whose server is down would block realpath.
        target = os.path.normpath(os.path.join(os.path.dirname(self.src), os.readlink(self.src)))
        return target == self.dest or os.path.realpath(self.src) == os.path.realpath(self.dest)

    @property
    def has_content(self) -> bool:
        """Return whether there is a directory, or a link to one elsewhere, to copy."""
        return os.path.lexists(self.src) and not self.is_done

    def as_result(self) -> dict[str, Any]:
        """Return the part of the module's result that describes this pair."""
        return {
            "src": self.src,
            "dest": self.dest,
            "renamed_to": self.renamed_to,
            "copied_files": self.copied_files,
            "copied_bytes": self.copied_bytes,
            "followed": self.listing.followed,
            "dangling": self.listing.dangling,
            "left": self.listing.left,
            "kept_on_share": self.comparison.kept,
            "renamed_on_share": self.comparison.renamed,
        }


def refuse_mounts(pair: Pair, mounted: list[mountinfo.Mount]) -> None:
    """Refuse a directory that is a mount point, contains one, or overlaps the share. Raises CopyError."""
    real, share = os.path.realpath(pair.src), os.path.normpath(pair.dest)
    if os.path.exists(real) and not os.path.isdir(real):
        raise file_copy.CopyError(f"{pair.src} is not a directory. Move it away, then run again.")
    if mountinfo.is_below(real, share) or mountinfo.is_below(share, real):
        raise file_copy.CopyError(f"{pair.src} leads to {real}, which overlaps the share {share}. Move one away.")
    points = sorted({mount.point for mount in mounted if mountinfo.is_below(mount.point, real)})
    if points:
        raise file_copy.CopyError(
            f"{pair.src} cannot be replaced by a link: something is mounted at {', '.join(points)}. Unmount it and "
            "take it out of /etc/fstab (or give the share another place), then run again."
        )


def scan_and_compare(pair: Pair) -> None:
    """List the directory and compare it with the share. Raises OSError."""
    pair.listing = _scan(pair)
    pair.comparison = file_copy.compare(pair.listing.entries, pair.dest, pair.rules, pair.accounts)


def find_unadoptable(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the compared pairs that need a copy to a share that is read-only here, and set their ``lacking``.

    The pairs that stay out of the result need no copy any more: what the share lacks is of the program's own.
    """
    unadoptable = []
    for pair in pairs:
        if not pair.is_read_only:
            continue
        own, pair.lacking = pair.comparison.split_lacking(pair.rules)
        if pair.lacking:
            unadoptable.append(pair)
        else:
            pair.comparison.missing.clear()
            pair.comparison.kept += own
    return unadoptable


def refuse_conflicts(pairs: Iterable[Pair]) -> None:
    """Refuse files that differ on both sides: the user must decide which one is right. Raises CopyError."""
    conflicts = [
        f"{os.path.join(pair.src, conflict)} (share: {pair.dest})"
        for pair in pairs
        for conflict in pair.comparison.conflicts
    ]
    if conflicts:
        more = f"\n  and {len(conflicts) - MAX_NAMES} more" if len(conflicts) > MAX_NAMES else ""
        raise file_copy.CopyError(
            "These differ from what the share has under the same name. Nothing was changed. Rename or remove one "
            "of the two, then run again:\n  " + "\n  ".join(conflicts[:MAX_NAMES]) + more
        )


def require_free_space(pairs: Iterable[Pair]) -> None:
    """Refuse a copy for which the share has too little free space. Raises CopyError."""
    needed: dict[tuple[int, int, int], int] = {}
    paths: dict[tuple[int, int, int], str] = {}
    free: dict[tuple[int, int, int], int] = {}
    for pair in pairs:
        with access.acting_as(pair.accounts.writer):
            status = os.statvfs(pair.dest)
        # Two exports of one file system have different device numbers and the same figures.
        disk = (status.f_blocks, status.f_bavail, status.f_frsize)
        needed[disk] = needed.get(disk, 0) + pair.comparison.missing_bytes
        paths[disk] = pair.dest
        free[disk] = status.f_bavail * status.f_frsize
    for disk, needed_bytes in needed.items():
        if needed_bytes > free[disk] * 0.99:
            raise file_copy.CopyError(
                f"{paths[disk]} has {check.format_gigabytes(free[disk])} free, and "
                f"{check.format_gigabytes(needed_bytes)} are to be copied. Nothing was changed. Make room on the "
                "share, then run again."
            )


def copy_until_equal(pair: Pair) -> None:
    """Copy until the share has everything. Raises CopyError when the directory keeps changing, and OSError."""
    file_copy.remove_parts(pair.dest, pair.listing.entries, pair.accounts.writer)
    for __ in range(MAX_ROUNDS):
        pair.copied_files += sum(entry.kind == "file" for entry, __ in pair.comparison.missing)
        pair.copied_bytes += pair.comparison.missing_bytes
        file_copy.copy(pair.comparison, pair.dest, pair.accounts)
        before = pair.listing
        # Every file is equal now: it was compared, or read back after it was copied. Files added since are not.
        pair.listing = _scan(pair)
        new = sorted(set(pair.listing.entries) - set(before.entries), key=lambda entry: entry.path)
        if not new:
            return
        previous = pair.comparison
        pair.comparison = file_copy.compare(new, pair.dest, pair.rules, pair.accounts)
        if pair.comparison.conflicts:
            raise file_copy.CopyError(
                f"{pair.src} changed while it was copied: {pair.comparison.conflicts[0]}. Stop what writes it, remove "
                "the share's copy of that file, then run again."
            )
        pair.comparison.kept = previous.kept + pair.comparison.kept
        pair.comparison.renamed = previous.renamed + pair.comparison.renamed
    raise file_copy.CopyError(
        f"{pair.src} keeps changing: {new[0].path} is new again. Stop what writes it, then run again."
    )


def swap(pair: Pair) -> None:
    """Rename the directory and make the link, as ``rename_account``. Raises OSError, and then nothing has changed."""
    with access.acting_as(pair.rename_account):
        if os.path.lexists(pair.src):
            pair.renamed_to = _free_name(pair.src)
            os.rename(pair.src, pair.renamed_to)
        try:
            os.symlink(pair.dest, pair.src)
            pair.linked = True
        except OSError:
            swap_back(pair)
            raise


def swap_back(pair: Pair) -> None:
    """Undo :func:`swap`."""
    with access.acting_as(pair.rename_account):
        if pair.linked:
            os.unlink(pair.src)
            pair.linked = False
        if pair.renamed_to and not os.path.lexists(pair.src):
            os.rename(pair.renamed_to, pair.src)
            pair.renamed_to = ""


def plan_restore(pair: Pair) -> tuple[bool, list[str]]:
    """Choose the renamed directory that gets its name back when the link is removed: the newest, if there is one.

    Returns:
        Whether there is a link of ours to remove, and the renamed directories that stay.
    """
    renamed = sorted(glob.glob(glob.escape(pair.src) + SUFFIX + "*"))
    if not os.path.islink(pair.src) or os.path.normpath(os.readlink(pair.src)) != os.path.normpath(pair.dest):
        return False, renamed
    pair.renamed_to = renamed[-1] if renamed else ""
    return True, renamed[:-1]


def restore(pair: Pair) -> None:
    """Remove the link, and rename the directory back where :func:`plan_restore` chose one."""
    with access.acting_as(pair.rename_account):
        os.unlink(pair.src)
        if pair.renamed_to:
            os.rename(pair.renamed_to, pair.src)


def first_owner(path: str) -> worker_processes.Account | None:
    """Return the account that owns the first directory above ``path`` that root does not own, ``None`` for root.

    That account can replace every directory below by a link, so the work at ``path`` is done as that account.
    """
    directories = [path]
    while os.path.dirname(directories[0]) != directories[0]:
        directories.insert(0, os.path.dirname(directories[0]))
    for directory in directories:
        try:
            status = os.lstat(directory)
        except OSError:
            return None
        if status.st_uid != 0:
            return worker_processes.account_for(status.st_uid, status.st_gid)
    return None


def _scan(pair: Pair) -> Listing:
    with access.acting_as(pair.accounts.reader):
        return scan(pair.src, pair.rules.exclude)


def _free_name(path: str) -> str:
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    name = f"{path}{SUFFIX}{stamp}"
    number = 2
    while os.path.lexists(name):
        name = f"{path}{SUFFIX}{stamp}-{number}"
        number += 1
    return name


@contextlib.contextmanager
def swap_back_on_failure(pairs: list[Pair]) -> Iterator[None]:
    """Undo every swap made in the context when one of them fails."""
    try:
        yield
    except BaseException:
        for pair in reversed(pairs):
            with contextlib.suppress(OSError):
                swap_back(pair)
        raise
