# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a file that is being fetched, so that any cut, kill or power failure costs little of it.

It lies below the share, in ``.noslop-fetch``, where no program lists it, and gets its own name when it is whole. Beside
it lies its state: the answer that its bytes came from, and how many of them are on the disk for certain.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace

from ansible_collections.noslop.studio.plugins.module_utils.models import whole_file
from ansible_collections.noslop.studio.plugins.module_utils.share import no_replace

DIRECTORY = ".noslop-fetch"
#: Bytes between two synchronizations: what a power failure costs.
SYNC_BYTES = 64 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
#: fallocate(2): reserve the blocks and leave the length as it is.
_KEEP_SIZE = 1


@dataclass(frozen=True)
class State:
    """The answer that a partial file comes from. Sizes are in bytes; 0 and an empty text stand for unknown.

    ``validator`` is a strong ETag, or the date of the last change, as the server sent it.
    """

    url: str
    validator: str = ""
    size: int = 0
    synced: int = 0
    boot: str = ""


class PartFile:
    """A partial file, open for appending. ``state`` is that of the bytes it has; ``received`` is their number."""

    def __init__(self, share: str, key: str) -> None:
        """Open the partial file ``key``, and drop what a power failure may have damaged."""
        directory = os.path.join(share, DIRECTORY)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._base = os.path.join(directory, key)
        self.path, self._state_path = f"{self._base}.part", f"{self._base}.json"
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o664)
        self.state = self._read_state()
        self.received = os.fstat(self._descriptor).st_size
        if self.state.boot != read_boot_id():
            self._truncate(min(self.received, self.state.synced))
        self._digest = self._read_digest()

    def close(self) -> None:
        """Close the file; what it has is kept."""
        os.close(self._descriptor)

    def start(self, state: State) -> None:
        """Drop all bytes, and begin with the answer that ``state`` describes."""
        self._truncate(0)
        self._digest = hashlib.sha256()
        self._write_state(replace(state, synced=0, boot=read_boot_id()))

    def record_size(self, size: int) -> None:
        """Record the length of the whole file, where the first answer did not have it."""
        if self.state.size != size:
            self._write_state(replace(self.state, size=size))

    def reserve(self) -> None:
        """Reserve the room for the whole file. Raises OSError, ENOSPC or EDQUOT, where there is too little.

        File systems without fallocate(2) reserve nothing.
        """
        left = self.state.size - self.received
        if left <= 0:
            return
        library = ctypes.CDLL(None, use_errno=True)
        arguments = (ctypes.c_int(self._descriptor), ctypes.c_int(_KEEP_SIZE))
        if library.fallocate64(*arguments, ctypes.c_int64(self.received), ctypes.c_int64(left)) == 0:
            return
        code = ctypes.get_errno()
        if code in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(code, os.strerror(code), self.path)

    def append(self, block: bytes) -> None:
        """Append bytes, and synchronize the file every :data:`SYNC_BYTES`."""
        view = memoryview(block)
        while view:
            count = os.pwrite(self._descriptor, view, self.received)
            self._digest.update(view[:count])
            self.received += count
            view = view[count:]
        if self.received - self.state.synced >= SYNC_BYTES:
            self.synchronize()

    def synchronize(self) -> None:
        """Bring all bytes to the disk, and record their number."""
        os.fdatasync(self._descriptor)
        self._write_state(replace(self.state, synced=self.received))

    def read_head(self, count: int) -> bytes:
        """Return the first bytes."""
        return os.pread(self._descriptor, count, 0)

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the bytes so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def publish(self, target: str) -> None:
        """Publish the whole file under its own name, which no file may have yet.

        Raises:
            FileExistsError: a file has this name. The partial file stays.
        """
        os.makedirs(os.path.dirname(target), mode=0o2775, exist_ok=True)
        os.fchmod(self._descriptor, 0o664)
        os.fsync(self._descriptor)
        descriptor = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The path of the partial file is absolute: its directory does not count.
            no_replace.link_or_rename(self.path, os.path.basename(target), descriptor, descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.remove()

    def remove(self) -> None:
        """Remove the partial file and its state."""
        _remove(self._base)

    def _truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self.received = size

    def _read_digest(self) -> hashlib._Hash:
        digest = hashlib.sha256()
        offset = 0
        while offset < self.received:
            block = os.pread(self._descriptor, _BLOCK_BYTES, offset)
            digest.update(block)
            offset += len(block)
        return digest

    def _read_state(self) -> State:
        try:
            with open(self._state_path, encoding="utf-8") as stream:
                return State(**json.load(stream))
        except (FileNotFoundError, ValueError, TypeError):
            return State("")

    def _write_state(self, state: State) -> None:
        whole_file.write_json(self._state_path, asdict(state))
        self.state = state


def remove_published(share: str, key: str) -> None:
    """Remove what a run left that was ended just after it had published the file."""
    _remove(os.path.join(share, DIRECTORY, key))


def _remove(base: str) -> None:
    for ending in ("json.new", "json", "part"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{base}.{ending}")


def make_key(target: str) -> str:
    """Return the name of the partial file for a path below the share."""
    return hashlib.sha256(target.encode()).hexdigest()[:32]


def read_boot_id() -> str:
    """Return what names this start of the kernel: what was written before it may have been lost."""
    with open(_BOOT_ID, encoding="ascii") as stream:
        return stream.read().strip()
