# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit what a file may embed and cost. Standard library only."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import dataclass
from typing import BinaryIO, cast

#: No single text, and not all of a file's together, is kept above this, in UTF-8.
LIMIT_BYTES = 8 * 1024 * 1024
#: So long may all of a file's texts be as JSON, whose escapes are up to six times as long.
JSON_LIMIT_BYTES = 4 * LIMIT_BYTES
#: So many texts of one file are kept.
TEXTS_LIMIT = 1000
#: So many chunks, blocks and comments of one file are looked at, on all levels together.
ITEMS_LIMIT = 50_000
#: So much of a file is read for its texts, size and duration; decoding reads all of it.
READ_LIMIT_BYTES = 256 * 1024 * 1024
#: So many dropped texts are named one by one.
_LEFT_OUT_LIMIT = 100
_KEY_LIMIT = 200


class BudgetExceededError(Exception):
    """The file takes more bytes, items or time than one file gets."""


@dataclass(frozen=True)
class LeftOutText:
    """A text that is not kept. `key` is empty where it concerns the whole file; `bytes` is 0 where no size is given."""

    key: str
    bytes: int
    why: str


class Budget:
    """Bytes, items and processor time that reading one file may take. Processor time is this process's own."""

    def __init__(self, cpu_s: float, read_bytes: int | None = None) -> None:
        self._until = time.process_time() + cpu_s
        self._cpu_s = cpu_s
        self._read_bytes = read_bytes
        self._bytes_left = read_bytes
        self._items_left = ITEMS_LIMIT

    @property
    def is_over(self) -> bool:
        """Return whether the processor time is used up."""
        return time.process_time() >= self._until

    def count_item(self) -> None:
        """Count one more chunk, block or comment.

        Raises:
            BudgetExceededError: there were enough, or the time is used up.
        """
        self._items_left -= 1
        if self._items_left < 0:
            raise BudgetExceededError(f"it has more than {ITEMS_LIMIT} parts")
        self._check_time()

    def count_bytes(self, count: int) -> None:
        """Count bytes that were read.

        Raises:
            BudgetExceededError: there were enough, or the time is used up.
        """
        if self._bytes_left is not None:
            self._bytes_left -= count
            if self._bytes_left < 0:
                raise BudgetExceededError(f"it takes more than {self._read_bytes} bytes of reading")
            self._check_time()

    def _check_time(self) -> None:
        if self.is_over:
            raise BudgetExceededError(f"it takes more than {self._cpu_s:g} s of processor time")

    def lift_read_limit(self) -> None:
        """Count no bytes from now on, and leave it to the caller to ask `is_over`: for decoding a whole file."""
        self._bytes_left = None


class _MeteredStream(io.RawIOBase):
    """A file whose reads count against a budget. Writing and descriptors are not offered."""

    def __init__(self, stream: BinaryIO, budget: Budget) -> None:
        super().__init__()
        self._stream = stream
        self._budget = budget
        self._end = stream.seek(0, os.SEEK_END)
        stream.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes, or the rest of the file."""
        left = max(0, self._end - self._stream.tell())
        self._budget.count_bytes(left if size is None or size < 0 else min(size, left))
        return self._stream.read(left if size is None or size < 0 else min(size, left))

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the offset."""
        return self._stream.tell()

    def seekable(self) -> bool:
        """Return True: only ordinary files are read."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True


def metered(stream: BinaryIO, budget: Budget) -> BinaryIO:
    """Return the file as one whose reads count against a budget."""
    return cast(BinaryIO, _MeteredStream(stream, budget))


class Texts:
    """Collects the texts of one file within the limits, and what is left out of them."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.left_out: list[LeftOutText] = []
        self._bytes_left = LIMIT_BYTES
        self._json_left = JSON_LIMIT_BYTES
        self._dropped = 0

    @property
    def bytes_left(self) -> int:
        """Return how long a further text may be, in UTF-8."""
        return self._bytes_left

    def add(self, key: str, text: str) -> None:
        """Keep a text, or name it as left out. A key that has another text already is numbered: `prompt#2`."""
        clean = text.replace("\0", "").encode("utf-8", "replace").decode()
        key = _name(key)
        if not clean or self.kept.get(key) == clean:
            return
        size = len(clean.encode())
        json_size = len(json.dumps(clean))
        if size > self._bytes_left or json_size > self._json_left:
            self.drop(key, size, f"at most {LIMIT_BYTES // 1024**2} MiB of text are kept of one file")
        elif len(self.kept) >= TEXTS_LIMIT:
            self.drop(key, size, f"at most {TEXTS_LIMIT} texts are kept of one file")
        else:
            self._bytes_left -= size
            self._json_left -= json_size
            self.kept[self._free(key)] = clean

    def _free(self, key: str) -> str:
        number = 2
        numbered = key
        while numbered in self.kept:
            numbered = f"{key}#{number}"
            number += 1
        return numbered

    def drop(self, key: str, size_bytes: int, why: str) -> None:
        """Name a text that is not kept."""
        self._dropped += 1
        if self._dropped <= _LEFT_OUT_LIMIT:
            self.left_out.append(LeftOutText(_name(key), size_bytes, why))
        else:
            more = self._dropped - _LEFT_OUT_LIMIT
            self.left_out[_LEFT_OUT_LIMIT:] = [LeftOutText("", 0, f"{more} more texts are left out and not named")]


def _name(key: str) -> str:
    return key[:_KEY_LIMIT].replace("\0", "").encode("utf-8", "replace").decode()
