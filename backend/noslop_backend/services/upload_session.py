# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file on its way in, piece by piece."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self

from noslop_backend.core.errors import ConflictError, ContentMismatchError, LeaseLostError, QuotaExceededError
from noslop_backend.journal.intent import IntentHandle, IntentLostError
from noslop_backend.journal.publish import MAIN_PART, Writes
from noslop_backend.journal.validation import check_hash
from noslop_backend.media.types import HEAD_BYTES, MediaType
from noslop_backend.schemas import FileCreate, FilePublic
from noslop_backend.share import FileContent, Share, Writer, layout


@dataclass(frozen=True)
class Staged:
    """A file that has come in as a whole, and is not published yet. `stream` is open for reading; close it."""

    type: MediaType
    stream: BinaryIO


class Upload:
    """One file on its way in. `write` pieces, then `finish`; leaving the `with` block without that undoes everything.

    When `answer` is set from the beginning, the key was used before and this is what it led to: write nothing.
    """

    def __init__(
        self,
        writes: Writes,
        handle: IntentHandle,
        share: ExitStack,
        opened: Share,
        said: FileCreate,
        *,
        typed: Callable[[bytes], MediaType],
    ) -> None:
        self.answer = FilePublic.model_validate(handle.answer["file"]) if handle.answer is not None else None
        self._writes = writes
        self._handle = handle
        self._share = opened
        self._stack = share
        self._said = said
        self._typed = typed
        self._head = b""
        self._over = self.answer is not None
        self._writer: Writer | None = None
        self._sealed: tuple[MediaType, FileContent] | None = None
        if not self._over:
            self._guarded(self._create)

    def _create(self) -> None:
        self._writer = self._writes.begin_staged(self._share, self._handle, MAIN_PART)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Undo everything when something fails, and say what became of a lease that was lost."""
        try:
            work()
        except IntentLostError:
            self._end()
            self._writes.outcome(self._handle)
            raise LeaseLostError("Somebody else finished this write. Send it again with the same key.") from None
        except BaseException:
            self.abort()
            raise

    def write(self, piece: bytes) -> None:
        """Write the next piece; blocks. Renews the lease and reserves more bytes as needed.

        Raises:
            QuotaExceededError: no room for it. Everything is undone by then.
            ContentMismatchError: more came than was announced.
        """
        if self.answer is None:
            self._guarded(lambda: self._write(piece))

    def _write(self, piece: bytes) -> None:
        writer = self._open_writer()
        size, said = writer.size_bytes + len(piece), self._said.length
        if said is not None and size > said:
            raise ContentMismatchError(f"{said} bytes were announced and more came. Nothing was kept.")
        self._writes.renew(self._handle)
        if size > self._handle.reserved_bytes:
            self._reserve(size - self._handle.reserved_bytes)
        writer.write(piece)
        if len(self._head) < HEAD_BYTES:
            self._head += bytes(piece[: HEAD_BYTES - len(self._head)])

    def _open_writer(self) -> Writer:
        if self._writer is None or self._over:
            raise ConflictError("This upload is over. Begin another.")
        return self._writer

    def _reserve(self, missing: int) -> None:
        step = self._writes.settings.reserve_step_bytes
        try:
            self._writes.reserve_more(self._handle, max(step, missing))
        except QuotaExceededError:
            if missing >= step:
                raise
            # The step is our convenience, not the caller's request.
            self._writes.reserve_more(self._handle, missing)

    def seal(self) -> Staged:
        """Take no more, and open what came, for who wants to look into it before it is published; blocks.

        Raises:
            UnsupportedMediaError, ContentMismatchError: as `finish`. Everything is undone by then.
        """
        opened: list[Staged] = []

        def look() -> None:
            found, _ = self._seal()
            staged = layout.staging(self._handle.intent_id, MAIN_PART)
            opened.append(Staged(found, self._share.open(self._handle.project_id, staged)))

        self._guarded(look)
        return opened[0]

    def renew(self) -> None:
        """Say that somebody still works on it. Asks the database only."""
        self._guarded(lambda: self._writes.renew(self._handle))

    def finish(self, facts: dict[str, Any] | None = None) -> FilePublic:
        """Publish the file and its sidecar, and answer only when they are on the disk and in the database.

        Args:
            facts: what was seen of the content, to be kept as the parameter `media`.

        Raises:
            UnsupportedMediaError: the content is of no known type, or not of the kind that was named.
            ContentMismatchError: not the length or hash that was announced.
        """
        if self.answer is not None:
            self._end()
            return self.answer
        self._open_writer()
        try:
            result = self._writes.run_steps(self._share, self._handle, lambda: self._publish(facts))
        finally:
            self._end()
        return FilePublic.model_validate(result["file"])

    def _seal(self) -> tuple[MediaType, FileContent]:
        if self._sealed is None:
            writer = self._open_writer()
            if self._said.length not in {None, writer.size_bytes}:
                raise ContentMismatchError(
                    f"{self._said.length} bytes were announced and {writer.size_bytes} came. Nothing was kept: send it "
                    "again."
                )
            found = self._typed(self._head)
            seen = writer.finish()
            check_hash(self._said.expected_blake3, seen.blake3)
            self._sealed = found, seen
        return self._sealed

    def _publish(self, facts: dict[str, Any] | None) -> dict[str, Any]:
        found, seen = self._seal()
        main = self._writes.main_row(self._handle, found, seen)
        if facts is not None:
            main.parameters = main.parameters | {"media": facts}
        embedded = self._writes.embedded(
            self._share, self._handle.project_id, layout.staging(self._handle.intent_id, MAIN_PART), found
        )
        mentioned = layout.ids_in_text(json.dumps([main.parameters, embedded]))
        return self._writes.publish_staged(self._share, self._handle, main, embedded, mentioned)

    def abort(self) -> None:
        """Undo everything. Does nothing after `finish`."""
        if not self._over:
            self._writes.undo(self._share, self._handle)
        self._end()

    def _end(self) -> None:
        self._over = True
        if self._writer is not None:
            self._writer.close()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.abort()
