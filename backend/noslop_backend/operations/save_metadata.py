# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sidecars: what is known about a file, beside it on the share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp
from noslop_backend.core.errors import InvalidRequestError, NotFoundError
from noslop_backend.journal.catch_up import catch_up_sidecars
from noslop_backend.journal.file_row import location
from noslop_backend.journal.intent import IntentHandle, Request
from noslop_backend.journal.publish import MAIN_PART, Writes
from noslop_backend.journal.sidecar import LIMIT_BYTES, Sidecar, SidecarDocument
from noslop_backend.journal.validation import validate_details
from noslop_backend.media.types import MediaType
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import row_json, row_of
from noslop_backend.repositories import DocumentRepository, FileRepository
from noslop_backend.schemas import FilePublic
from noslop_backend.share import Share, layout
from noslop_backend.share.layout import WITH_SIDECAR, FileKind


class Metadata(Writes):
    """The part of the service about what is known of a file."""

    def save_metadata(
        self,
        project_id: str,
        file_id: str,
        parameters: dict[str, Any],
        *,
        inputs: Sequence[str] = (),
        key: str | None = None,
    ) -> FilePublic:
        """Write a further sidecar beside a media file; the newest counts. Older ones stay.

        What is embedded in the file (PNG, video, audio) is read out into it again.

        Returns:
            The sidecar.
        """
        said = validate_details("-", parameters=parameters, inputs=inputs)

        def prepare(session: Session, intent: IntentModel, _now: datetime) -> dict[str, Any]:
            files = FileRepository(session)
            row = files.get(project_id, file_id, FileState.PRESENT)
            if FileKind(row.kind) not in WITH_SIDECAR:
                raise InvalidRequestError(f"{row.path} is {row.kind}: it has no sidecar. Promote it first.")
            self.free([row])
            self.reserve_inputs(session, intent, [*said.inputs, row.id])
            document = DocumentRepository(session).of_id(row.document_id) if row.document_id else None
            return {
                "file": {
                    "sidecar_id": self.new_id(),
                    "document": document and SidecarDocument.of(document).model_dump(mode="json"),
                },
                "of": row_json(row),
                "revision": files.next_sidecar(row.id),
            }

        with self.share() as share:
            catch_up_sidecars(self, share, project_id, file_id)
            handle = self.begin(
                project_id, IntentOp.WRITE, Request(key, ("sidecar", file_id, said.model_dump(mode="json"))), prepare
            )
            result = handle.answer
            if result is None:
                result = self.run_steps(
                    share, handle, lambda: self._write_sidecar(share, handle, said.parameters, said.inputs)
                )
        return FilePublic.model_validate(result["file"])

    def _write_sidecar(
        self, share: Share, handle: IntentHandle, parameters: dict[str, Any], inputs: Sequence[str]
    ) -> dict[str, Any]:
        of, spec = row_of(handle.plan["of"]), handle.plan["file"]
        found = MediaType(FileKind(of.kind), of.content_type, "")
        texts = self.embedded(share, handle.project_id, of.path, found)
        document = SidecarDocument.model_validate(spec["document"]) if spec["document"] else None
        content = Sidecar.of(
            of, spec["sidecar_id"], document=document, embedded=texts, inputs=inputs, parameters=parameters
        ).to_bytes()
        row = self.sidecar_row(of, spec["sidecar_id"], content, handle.moment, handle.plan["revision"])
        self.stage(share, handle, MAIN_PART, content)
        mentioned = layout.ids_in_text(json.dumps([parameters, texts])) | set(inputs)
        plan = handle.plan | {"rows": [row_json(row)], "references": sorted(mentioned - {of.id})}
        self.record_plan(handle, plan, row.charged_bytes)
        staged = layout.staging(handle.intent_id, MAIN_PART)
        share.publish(handle.project_id, [(staged, row.path)])
        return self.finish_rows(share, handle, [row])

    def load_metadata(self, project_id: str, file_id: str) -> dict[str, Any]:
        """Give the newest sidecar of a file as it is on the share.

        Keys `file`, `parameters`, `embedded`, `inputs` and others.
        """
        with self.database.read() as session:
            files = FileRepository(session)
            row = files.get(project_id, file_id, FileState.PRESENT, FileState.TRASHED)
            sidecars = [one for one in files.sidecars(file_id) if one.state == row.state]
        if not sidecars:
            raise NotFoundError(f"{row.path} has no sidecar.", file_id=file_id)
        newest = max(sidecars, key=_revision)
        with self.share() as share:
            try:
                content = share.read(project_id, location(newest), LIMIT_BYTES)
            except FileNotFoundError as error:
                raise NotFoundError(f"{project_id}/{newest.path} was taken away from the share.") from error
        known: dict[str, Any] = json.loads(content)
        return known


def _revision(row: FileModel) -> int:
    parsed = layout.parse(row.path)
    return parsed.revision if parsed else 0
