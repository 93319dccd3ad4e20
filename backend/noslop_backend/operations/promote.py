# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finals: what a project was made for."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp
from noslop_backend.core.errors import ContentChangedError, InvalidRequestError, NotFoundError
from noslop_backend.journal.intent import IntentHandle, Request
from noslop_backend.journal.publish import MAIN_PART, Writes
from noslop_backend.journal.validation import validate_details
from noslop_backend.media.types import MediaType
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import row_json, row_of
from noslop_backend.repositories import FileRepository
from noslop_backend.schemas import FilePublic
from noslop_backend.share import CHUNK_BYTES, FileContent, Share, layout
from noslop_backend.share.layout import INTERMEDIATE, MEDIA, FileKind


class Finals(Writes):
    """The part of the service about finals."""

    def promote_to_final(
        self, project_id: str, file_id: str, *, name: str | None = None, key: str | None = None
    ) -> FilePublic:
        """Make a final of a media file or an intermediate: a hard link that costs nothing, or a copy where links fail.

        The same file, and the same name, may be promoted again: each time another final comes of it. The final lives
        on when its source is removed, and then costs what that had cost.

        Raises:
            QuotaExceededError: there is no room for the copy or the sidecar.
        """
        said = None if name is None else validate_details(name).name

        def prepare(session: Session, intent: IntentModel, _now: datetime) -> dict[str, Any]:
            row = FileRepository(session).get(project_id, file_id, FileState.PRESENT)
            if FileKind(row.kind) not in MEDIA | INTERMEDIATE:
                raise InvalidRequestError(f"{row.path} is {row.kind}: only media and intermediates become finals.")
            self.free([row])
            self.reserve_inputs(session, intent, [row.id])
            return {
                "file": {
                    "id": self.new_id(),
                    "sidecar_id": self.new_id(),
                    "name": said or row.name,
                    "parameters": row.parameters,
                    "content_id": row.content_id,
                    "source_id": row.id,
                },
                "of": row_json(row),
            }

        with self.share() as share:
            handle = self.begin(project_id, IntentOp.PROMOTE, Request(key, (file_id, said)), prepare)
            result = handle.answer
            if result is None:
                result = self.run_steps(share, handle, lambda: self._promote(share, handle))
        return FilePublic.model_validate(result["file"])

    def _promote(self, share: Share, handle: IntentHandle) -> dict[str, Any]:
        source = row_of(handle.plan["of"])
        try:
            linked = share.link(handle.project_id, source.path, layout.staging(handle.intent_id, MAIN_PART))
            seen = FileContent(source.size_bytes, source.blake3, 0, source.mtime_ns)
            if not linked:
                seen = self._copy(share, handle, source)
        except FileNotFoundError as error:
            raise NotFoundError(
                f"{handle.project_id}/{source.path} was taken away from the share.", file_id=source.id
            ) from error
        extension = os.path.splitext(source.path)[1].removeprefix(".")
        final = self.main_row(handle, MediaType(FileKind.FINAL, source.content_type, extension), seen)
        if linked:
            final.charged_bytes = 0
        else:
            final.content_id = final.id
        texts = self.embedded(share, handle.project_id, source.path, MediaType(FileKind.FINAL, source.content_type, ""))
        return self.publish_staged(share, handle, final, texts, set())

    def _copy(self, share: Share, handle: IntentHandle, source: FileModel) -> FileContent:
        """Copy the content where the file system makes no links."""
        self.reserve_more(handle, source.size_bytes)
        writer = self.begin_staged(share, handle, MAIN_PART)
        try:
            with share.open(handle.project_id, source.path) as stream:
                while piece := stream.read(CHUNK_BYTES):
                    self.renew(handle)
                    writer.write(piece)
            seen = writer.finish()
        finally:
            writer.close()
        if seen.blake3 != source.blake3:
            raise ContentChangedError(
                f"{handle.project_id}/{source.path} is not what it was when it was saved. Nothing was promoted: look "
                "who changed it."
            )
        return seen
