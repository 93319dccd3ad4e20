# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open, seal and publish a file that another program wrote into the share (adoption)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from noslop_backend.core.errors import ConflictError, UnsafePathError
from noslop_backend.share import layout
from noslop_backend.share.directories import is_name_of
from noslop_backend.share.file_io import PUBLISHED_MODE, FileContent, hash_descriptor
from noslop_backend.share.no_links import NO_LINKS
from noslop_backend.share.os_errors import translate_os_errors
from noslop_backend.share.share import READ_FLAGS, Share

#: By the least that the file system keeps: Linux's own nanosecond, Windows' 100 ns (SMB), seconds, FAT's two.
_EARLIER_NS = (1, 100, 1_000_000_000, 2_000_000_000)


class Foreign:
    """A file that a worker wrote, open: what is hashed is what is published, whatever its name leads to by then."""

    def __init__(self, descriptor: int, doing: str) -> None:
        self.descriptor = descriptor
        self._doing = doing

    def seal(self) -> os.stat_result:
        """Take the right to write away and make the content durable; return its state from now on.

        A descriptor that another process has open still writes. Kernels count times in ticks of milliseconds, so that
        such a write may leave the time of the last one: the file gets an older time here, which no write can give it.
        """
        with translate_os_errors(self._doing):
            os.fchmod(self.descriptor, PUBLISHED_MODE)
            before = os.fstat(self.descriptor)
            for earlier_ns in _EARLIER_NS:
                os.utime(self.descriptor, ns=(before.st_atime_ns, before.st_mtime_ns - earlier_ns))
                sealed = os.fstat(self.descriptor)
                if sealed.st_mtime_ns < before.st_mtime_ns:
                    break
            os.fsync(self.descriptor)
            return sealed

    def head(self, size_bytes: int) -> bytes:
        """Return the first bytes."""
        return self.read_at(0, size_bytes)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return so many bytes at an offset, fewer at the end."""
        with translate_os_errors(self._doing):
            return os.pread(self.descriptor, size_bytes, offset)

    def hash(self, alive: Callable[[], None]) -> FileContent:
        """Read the file through; `alive` is called at every step."""
        with translate_os_errors(self._doing):
            return hash_descriptor(self.descriptor, alive)

    def stream(self) -> BinaryIO:
        """Open it for reading from the beginning."""
        with translate_os_errors(self._doing):
            stream = os.fdopen(os.dup(self.descriptor), "rb")
            stream.seek(0)
            return stream

    def publish(self, share: Share, project_id: str, final: str) -> None:
        """Link this very file to its final path, whatever its own name leads to by now; durable after `Share.sync`.

        Raises:
            ConflictError: another file has the path.
        """
        *above, name = layout.split(final)
        with (
            translate_os_errors(f"publishing {project_id}/{final}", 0, share.descriptor),
            share.target_directory(project_id, above) as directory,
        ):
            # linkat(2), AT_SYMLINK_FOLLOW: the way to link a descriptor without CAP_DAC_READ_SEARCH.
            try:
                os.link(f"/proc/self/fd/{self.descriptor}", name, dst_dir_fd=directory, follow_symlinks=True)
            except OSError as error:
                # The answer to a link that worked may have been lost on the way, and the repetition then fails (NFS).
                if not is_name_of(directory, name, os.fstat(self.descriptor)):
                    # By its name, another file could be published: the account that wrote it may exchange it.
                    if error.errno in NO_LINKS:
                        raise ConflictError(
                            f"The share has no hard links, so that {project_id}/{final} cannot be adopted. Upload the "
                            "file instead."
                        ) from error
                    if isinstance(error, FileExistsError):
                        raise ConflictError(f"{project_id}/{final} is there already, and is not from here.") from error
                    raise


@contextmanager
def open_foreign(share: Share, project_id: str, staged: str) -> Iterator[Foreign]:
    """Open a file that a worker wrote, without following links.

    Raises:
        UnsafePathError: it is no ordinary file of this service's account, or has other names too.
        FileNotFoundError: there is none.
    """
    *above, name = layout.split(staged)
    with (
        translate_os_errors(f"opening {project_id}/{staged}", 0, share.descriptor),
        share.directory(project_id, *above) as directory,
    ):
        descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
            raise UnsafePathError(
                f"{project_id}/{staged} is not adopted: it is not an ordinary file of this service's account with one "
                f"name (mode {status.st_mode:o}, uid {status.st_uid}, {status.st_nlink} names). Write it there anew."
            )
        yield Foreign(descriptor, f"adopting {project_id}/{staged}")
    finally:
        os.close(descriptor)
