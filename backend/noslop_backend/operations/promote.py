# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a final of a media file or an intermediate."""

from __future__ import annotations

import os
from datetime import datetime

from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp
from noslop_backend.core.errors import ContentChangedError, InvalidRequestError, NotFoundError
from noslop_backend.journal import publish
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.intent import IntentHandle, Request, Result
from noslop_backend.journal.journal import Journal, require_unclaimed
from noslop_backend.media.types import MediaType
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import PlannedFile, PromotePlan, copy_row
from noslop_backend.repositories import FileRepository
from noslop_backend.share import CHUNK_BYTES, FileContent, Share, layout
from noslop_backend.share.layout import INTERMEDIATE, MEDIA, FileKind


class Promote(publish.WriteOperation[PromotePlan]):
    """A final: a hard link that costs nothing, or a copy where the file system makes no links."""

    kind = IntentOp.PROMOTE

    def __init__(self, project_id: str, file_id: str, name: str | None, key: str | None) -> None:
        super().__init__(project_id, Request(key, (file_id, name)))
        self.file_id = file_id
        self.name = name

    def prepare(self, session: Session, intent: IntentModel, _now: datetime) -> PromotePlan:
        """Keep the source from removal, and give the final its ids."""
        row = FileRepository(session).get(self.project_id, self.file_id, FileState.PRESENT)
        if FileKind(row.kind) not in MEDIA | INTERMEDIATE:
            raise InvalidRequestError(f"{row.path} is {row.kind}: only media and intermediates become finals.")
        require_unclaimed([row])
        publish.reserve_inputs(session, intent, [row.id])
        file = PlannedFile(
            id=StorageContext.new_id(),
            sidecar_id=StorageContext.new_id(),
            name=self.name or row.name,
            parameters=row.parameters,
            content_id=row.content_id,
            source_id=row.id,
        )
        return PromotePlan(file=file, of=copy_row(row))

    def execute(self, journal: Journal, share: Share, handle: IntentHandle[PromotePlan]) -> Result:
        """Link or copy the source, and publish the final with its sidecar."""
        source = handle.plan.of
        try:
            linked = share.link(handle.project_id, source.path, layout.staging(handle.intent_id, publish.MAIN_PART))
            content = FileContent(source.size_bytes, source.blake3, 0, source.mtime_ns)
            if not linked:
                content = _copy(journal, share, handle, source)
        except FileNotFoundError as error:
            raise NotFoundError(
                f"{handle.project_id}/{source.path} was taken away from the share.", file_id=source.id
            ) from error
        extension = os.path.splitext(source.path)[1].removeprefix(".")
        media_type = MediaType(FileKind.FINAL, source.content_type, extension)
        final = publish.main_row(handle, media_type, content)
        if linked:
            final.charged_bytes = 0
        else:
            final.content_id = final.id
        inspection = publish.inspect(share, handle.project_id, source.path, source.content_type)
        mentioned = publish.record_inspection(handle.plan.file, final, inspection)
        return publish.publish_staged(journal, share, handle, publish.stage_rows(share, handle, final), mentioned)


def _copy(journal: Journal, share: Share, handle: IntentHandle[PromotePlan], source: FileModel) -> FileContent:
    journal.reserve_more(handle, source.size_bytes)
    writer = publish.open_staged(share, handle, publish.MAIN_PART)
    try:
        with share.open(handle.project_id, source.path) as stream:
            while piece := stream.read(CHUNK_BYTES):
                journal.renew(handle)
                writer.write(piece)
        content = writer.finish()
    finally:
        writer.close()
    if content.blake3 != source.blake3:
        raise ContentChangedError(
            f"{handle.project_id}/{source.path} is not what it was when it was saved. Nothing was promoted: look "
            "who changed it."
        )
    return content
