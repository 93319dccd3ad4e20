# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the content of a directory to a share without ever replacing anything there.

Two steps that can each be repeated: :func:`compare` sorts the entries of a directory into those that the share has,
lacks, or has differently, and :func:`copy` copies those that it lacks. A file appears on the share under its name only
after its content was read back and is equal.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils.adopt.file_tree import Entry, matches, scan
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo, worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.share import access

BLOCK_BYTES = 4 * 1024 * 1024
PART_PREFIX = ".noslop-part-"
#: What owner and group of a share may always do with a file and with a directory there.
FILE_MODE = 0o660
DIRECTORY_MODE = 0o2770


class CopyError(Exception):
    """The directory cannot be copied. The message is for the user who has to decide."""


class NameConflictError(CopyError):
    """Another process made an entry with the same name on the share meanwhile."""


@dataclass(frozen=True)
class Accounts:
    """The accounts that read the directory and write to the share; ``None`` is the account of this process.

    Root reads as the directory's owner. Otherwise a link in it could publish a file that only root may read.
    """

    reader: worker_processes.Account | None = None
    writer: worker_processes.Account | None = None


@dataclass
class Comparison:
    """The differences between a directory and a share. Every pair is an entry and its path on the share."""

    missing: list[tuple[Entry, str]] = field(default_factory=list)
    same: list[tuple[Entry, str]] = field(default_factory=list)
    #: differ, and the share's version stays by rule
    kept: list[str] = field(default_factory=list)
    #: differ, and get a name of their own on the share: ``old -> new``
    renamed: list[str] = field(default_factory=list)
    #: differ, and the user must decide
    conflicts: list[str] = field(default_factory=list)

    @property
    def missing_bytes(self) -> int:
        """Return the size of what is missing; several names of one file count once."""
        sizes = {entry.identity or entry.path: entry.size_bytes for entry, __ in self.missing}
        return sum(sizes.values())

    def split_lacking(self, rules: Rules) -> tuple[list[str], list[str]]:
        """Return what the share lacks: paths of files that ``prefer_share`` names, and top names of everything else.

        Directories count only where something in them is missing, and files that differ count as missing.
        """
        missing = [path for entry, path in self.missing if entry.kind != "directory"]
        own = [path for path in missing if matches(path, rules.prefer_share)]
        lacking = [path for path in missing if path not in own] + [text.partition(":")[0] for text in self.conflicts]
        return own, sorted({path.partition("/")[0] for path in lacking})


@dataclass(frozen=True)
class Rules:
    """Patterns (fnmatch on the relative path) and the treatment of names that match them."""

    exclude: Sequence[str] = ()
    prefer_share: Sequence[str] = ()
    rename: Sequence[str] = ()
    suffix: str = ""


def compare(entries: Iterable[Entry], share: str, rules: Rules, accounts: Accounts) -> Comparison:
    """Compare each entry with the share; files count as equal when their contents are."""
    result = Comparison()
    blocked: list[str] = []
    for entry in entries:
        if any(mountinfo.is_below(entry.path, path) for path in blocked):
            continue
        difference = _difference(entry, os.path.join(share, entry.path), accounts)
        if difference is None:
            result.missing.append((entry, entry.path))
        elif not difference:
            result.same.append((entry, entry.path))
        elif matches(entry.path, rules.prefer_share):
            result.kept.append(entry.path)
        elif matches(entry.path, rules.rename) and entry.kind == "file":
            _compare_renamed(entry, share, rules, accounts, result)
        else:
            result.conflicts.append(f"{entry.path}: {difference}")
        if difference and entry.kind == "directory":
            blocked.append(entry.path)
    return result


def compare_names(entries: Iterable[Entry], share: str, account: worker_processes.Account | None) -> Comparison:
    """Compare the names of the entries only: an entry of the share with the same name counts as the same, and stays."""
    result = Comparison()
    with access.acting_as(account):
        for entry in entries:
            exists = os.path.lexists(os.path.join(share, entry.path))
            (result.same if exists else result.missing).append((entry, entry.path))
    return result


def copy(comparison: Comparison, share: str, accounts: Accounts, *, may_exist: bool = False) -> None:
    """Copy what is missing.

    Args:
        comparison: what is missing.
        share: directory of the share.
        accounts: the accounts that read the directory and write to the share.
        may_exist: whether an entry of that name may exist by now, and then stays.

    Raises:
        CopyError: a file changed meanwhile, appeared on the share meanwhile, or its copy is different.
        OSError: reading or writing failed.
    """
    first_names = {entry.identity: path for entry, path in comparison.same if entry.identity}
    directories = {share}
    for entry, path in comparison.missing:
        destination = os.path.join(share, path)
        directories.add(os.path.dirname(destination))
        if entry.kind == "directory":
            with access.acting_as(accounts.writer), contextlib.suppress(FileExistsError):
                os.mkdir(destination, 0o700)
                os.chmod(destination, entry.mode | DIRECTORY_MODE)
        elif entry.kind == "link":
            with access.acting_as(accounts.writer), _suppress_if(FileExistsError, may_exist):
                os.symlink(entry.target, destination)
        elif entry.identity in first_names and _link(
            os.path.join(share, first_names[entry.identity]), destination, accounts.writer
        ):
            continue
        else:
            with _suppress_if(NameConflictError, may_exist):
                _copy_file(entry, destination, accounts)
            if entry.identity:
                first_names[entry.identity] = path
    with access.acting_as(accounts.writer):
        for directory in sorted(directories):
            _sync_directory(directory)


def copy_directory(source: str, destination: str, accounts: Accounts) -> None:
    """Copy a whole directory to ``destination``, which the writer makes where it is missing.

    Raises what :func:`copy` raises.
    """
    with access.acting_as(accounts.reader):
        entries = scan(source).entries
    with access.acting_as(accounts.writer), contextlib.suppress(FileExistsError):
        os.mkdir(destination, 0o700)
    copy(compare_names(entries, destination, accounts.writer), destination, accounts)


def remove_parts(share: str, entries: Iterable[Entry], account: worker_processes.Account | None) -> None:
    """Remove unfinished files that an interrupted run on this host left on the share."""
    directories = {os.path.join(share, entry.path) for entry in entries if entry.kind == "directory"} | {share}
    with access.acting_as(account):
        for directory in sorted(directories):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for name in os.listdir(directory):
                    if name.startswith(_part_prefix()):
                        os.unlink(os.path.join(directory, name))


def _difference(entry: Entry, destination: str, accounts: Accounts) -> str | None:
    """Return what is different: ``None`` where the share lacks the entry, an empty string where both are the same."""
    with access.acting_as(accounts.writer):
        try:
            status = os.lstat(destination)
        except FileNotFoundError:
            return None
        target = os.readlink(destination) if stat.S_ISLNK(status.st_mode) else ""
    if _kind_of(status) != f"a {entry.kind}":
        return f"a {entry.kind} here, {_kind_of(status)} on the share"
    if entry.kind == "directory":
        return ""
    if entry.kind == "link":
        return "" if target == entry.target else f"a link to {entry.target} here, to {target} on the share"
    if status.st_size != entry.size_bytes:
        return f"{entry.size_bytes} bytes here, {status.st_size} on the share"
    return "" if _equal(entry.source, destination, accounts) else "the same size, another content"


def _compare_renamed(entry: Entry, share: str, rules: Rules, accounts: Accounts, result: Comparison) -> None:
    path = entry.path + rules.suffix
    difference = _difference(entry, os.path.join(share, path), accounts)
    if difference:
        result.conflicts.append(f"{entry.path}: differs from the share's, and so does {path}: {difference}")
        return
    result.renamed.append(f"{entry.path} -> {path}")
    (result.missing if difference is None else result.same).append((entry, path))


def _equal(source: str, destination: str, accounts: Accounts) -> bool:
    with contextlib.ExitStack() as stack:
        with access.acting_as(accounts.reader):
            ours = stack.enter_context(open(source, "rb", buffering=0))
        with access.acting_as(accounts.writer):
            theirs = stack.enter_context(open(destination, "rb", buffering=0))
            while True:
                block = ours.read(BLOCK_BYTES)
                share_block = _read_exactly(theirs.fileno(), len(block) or 1)
                if block != share_block:
                    return False
                if not block:
                    return True


def _read_exactly(descriptor: int, size_bytes: int) -> bytes:
    parts: list[bytes] = []
    while size_bytes > 0:
        part = os.read(descriptor, size_bytes)
        if not part:
            break
        parts.append(part)
        size_bytes -= len(part)
    return b"".join(parts)


def _copy_file(entry: Entry, destination: str, accounts: Accounts) -> None:
    part = os.path.join(
        os.path.dirname(destination), _part_prefix() + hashlib.sha256(destination.encode()).hexdigest()[:16]
    )
    with contextlib.ExitStack() as stack:
        with access.acting_as(accounts.reader):
            source = stack.enter_context(open(entry.source, "rb", buffering=0))
        stack.enter_context(access.acting_as(accounts.writer))
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            digest = _copy_content(source.fileno(), descriptor)
            os.fchmod(descriptor, entry.mode | FILE_MODE)
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)  # a network file system reports some write errors only at close
        try:
            if _digest(part) != digest:
                raise CopyError(f"{destination}: read back from the share, its content is not what was written.")
            after = os.fstat(source.fileno())
            if (after.st_size, after.st_mtime_ns) != (entry.size_bytes, entry.mtime_ns):
                raise CopyError(f"{entry.source} changed while it was copied. Stop what writes it, then run again.")
            _publish(part, destination)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise


def _copy_content(source: int, destination: int) -> str:
    digest = hashlib.sha256()
    while True:
        block = memoryview(os.read(source, BLOCK_BYTES))
        if not block:
            return digest.hexdigest()
        digest.update(block)
        while block:
            block = block[os.write(destination, block) :]


def _digest(path: str) -> str:
    """Return the SHA-256 of the stored content, past this host's page cache."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for block in iter(lambda: stream.read(BLOCK_BYTES), b""):
            digest.update(block)
    return digest.hexdigest()


def _publish(part: str, destination: str) -> None:
    """Link a finished file to its name, without replacing another entry of that name."""
    try:
        os.link(part, destination)
    except FileExistsError as error:
        # NFS can lose the reply to a link(2) that succeeded: then both names are one file.
        if not os.path.samefile(part, destination):
            raise NameConflictError(
                f"{destination} appeared on the share meanwhile. Run again to compare it."
            ) from error
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK):
            raise
        if os.path.lexists(destination):  # a file system without hard links has no atomic way
            raise NameConflictError(
                f"{destination} appeared on the share meanwhile. Run again to compare it."
            ) from error
        os.rename(part, destination)
        return
    os.unlink(part)


def _link(first: str, destination: str, account: worker_processes.Account | None) -> bool:
    with access.acting_as(account), contextlib.suppress(OSError):
        os.link(first, destination)
        return True
    return False


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse it, and are synchronous anyway
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _suppress_if(error: type[Exception], accepted: bool) -> contextlib.AbstractContextManager[None]:
    return contextlib.suppress(error) if accepted else contextlib.nullcontext()


def _kind_of(status: os.stat_result) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFREG: "a file", stat.S_IFLNK: "a link"}
    return kinds.get(stat.S_IFMT(status.st_mode), "something special")


def _part_prefix() -> str:
    return f"{PART_PREFIX}{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]}-"
