# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write one file piece by piece, and publish it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self

from noslop_backend.core.errors import ConflictError, ContentMismatchError, LeaseLostError, QuotaExceededError
from noslop_backend.journal import publish
from noslop_backend.journal.intent import Answer, IntentHandle, IntentLostError
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.validation import check_hash
from noslop_backend.media.types import HEAD_BYTES, MediaType, TypeOf
from noslop_backend.models.plans import WritePlan
from noslop_backend.operations.write_file import StagedContent, WriteFile
from noslop_backend.schemas import FilePublic
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
        journal: Journal,
        operation: WriteFile,
        started: IntentHandle[WritePlan] | Answer,
        stack: ExitStack,
        share: Share,
        *,
        typed: TypeOf,
    ) -> None:
        """Open the file in `.staging`.

        Args:
            journal: the journal.
            operation: what publishes the file.
            started: its intent, or what its key led to before.
            stack: what keeps the share open; closed at the end.
            share: the share.
            typed: returns the type of the content by its first bytes, or raises `UnsupportedMediaError`.
        """
        self.answer = FilePublic.model_validate(started.result["file"]) if isinstance(started, Answer) else None
        self._journal = journal
        self._operation = operation
        self._share = share
        self._stack = stack
        self._typed = typed
        self._head = b""
        self._over = self.answer is not None
        self._writer: Writer | None = None
        self._sealed: tuple[MediaType, FileContent] | None = None
        if isinstance(started, IntentHandle):
            self._handle = started
            self._guarded(self._create)

    def _create(self) -> None:
        self._writer = publish.open_staged(self._share, self._handle, publish.MAIN_PART)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Undo everything when something fails, and say what became of a lease that was lost."""
        try:
            work()
        except IntentLostError:
            self._end()
            self._journal.outcome(self._handle)
            raise LeaseLostError("Another process finished this write. Send it again with the same key.") from None
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
        size, announced = writer.size_bytes + len(piece), self._operation.details.length
        if announced is not None and size > announced:
            raise ContentMismatchError(f"{announced} bytes were announced and more came. Nothing was kept.")
        self._journal.renew(self._handle)
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
        step = self._journal.settings.reserve_step_bytes
        try:
            self._journal.reserve_more(self._handle, max(step, missing))
        except QuotaExceededError:
            if missing >= step:
                raise
            # The step is our convenience, not the caller's request.
            self._journal.reserve_more(self._handle, missing)

    def seal(self) -> Staged:
        """Take no more, and open what came, for who wants to look into it before it is published; blocks.

        Raises:
            UnsupportedMediaError, ContentMismatchError: as `finish`. Everything is undone by then.
        """
        opened: list[Staged] = []

        def look() -> None:
            self._seal()
            assert self._sealed is not None
            staged = layout.staging(self._handle.intent_id, publish.MAIN_PART)
            opened.append(Staged(self._sealed[0], self._share.open(self._handle.project_id, staged)))

        self._guarded(look)
        return opened[0]

    def renew(self) -> None:
        """Renew the lease. Asks the database only."""
        self._guarded(lambda: self._journal.renew(self._handle))

    def finish(self, facts: dict[str, Any] | None = None) -> FilePublic:
        """Publish the file and its sidecar, and answer only when they are on the disk and in the database.

        Args:
            facts: what was observed of the content, to be kept as the parameter `media`.

        Raises:
            UnsupportedMediaError: the content is of no known type, or not of the kind that was named.
            ContentMismatchError: not the length or hash that was announced.
        """
        if self.answer is not None:
            self._end()
            return self.answer
        self._open_writer()
        self._guarded(self._seal)
        try:
            assert self._sealed is not None
            self._operation.staged = StagedContent(*self._sealed, facts)
            result = self._journal.execute(self._share, self._operation, self._handle)
        finally:
            self._end()
        return FilePublic.model_validate(result["file"])

    def _seal(self) -> None:
        if self._sealed is not None:
            return
        writer, announced = self._open_writer(), self._operation.details
        if announced.length not in {None, writer.size_bytes}:
            raise ContentMismatchError(
                f"{announced.length} bytes were announced and {writer.size_bytes} came. Nothing was kept: "
                "send it again."
            )
        media_type = self._find_type()
        content = writer.finish()
        check_hash(announced.expected_blake3, content.blake3)
        self._sealed = media_type, content

    def _find_type(self) -> MediaType:
        """Return what came in, by its head and, where its tracks decide, by more of it."""
        head = self._head
        with ExitStack() as opened:
            stream: BinaryIO | None = None

            def read_at(offset: int, size: int) -> bytes:
                nonlocal stream
                if offset + size <= len(head) or len(head) < HEAD_BYTES:
                    return head[offset : offset + size]
                if stream is None:
                    staged = layout.staging(self._handle.intent_id, publish.MAIN_PART)
                    stream = opened.enter_context(self._share.open(self._handle.project_id, staged))
                stream.seek(offset)
                return stream.read(size)

            return self._typed(head, read_at)

    def abort(self) -> None:
        """Undo everything. Does nothing after `finish`."""
        if not self._over:
            publish.undo(self._journal, self._share, self._handle)
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
