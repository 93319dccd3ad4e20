# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an intent that writes a file does between its first transaction and its last; shared by all that write."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from blake3 import blake3
from sqlmodel import Session

from noslop_backend.core.enums import FileState, IntentOp
from noslop_backend.core.errors import BackendError, ConflictError, DatabaseUnavailableError, NotFoundError
from noslop_backend.journal import audit
from noslop_backend.journal.file_row import SIDECAR_TYPE, file_row
from noslop_backend.journal.intent import IntentHandle, IntentLostError
from noslop_backend.journal.journal import Intents
from noslop_backend.journal.searchable import texts_of
from noslop_backend.journal.sidecar import Sidecar, SidecarDocument
from noslop_backend.media import tags
from noslop_backend.media.types import MediaType
from noslop_backend.models import FileModel, IntentModel
from noslop_backend.models.plans import row_json, row_of
from noslop_backend.repositories import (
    Change,
    DocumentRepository,
    FileRepository,
    IntentRepository,
    ProjectRepository,
    ReferenceRepository,
)
from noslop_backend.schemas import FileCreate, FilePublic
from noslop_backend.share import FileContent, Share, Writer, layout
from noslop_backend.share.layout import WITH_SIDECAR, FileKind

MAIN_PART, SIDECAR_PART, RECOVERED_PART = 0, 1, 2


class Writes(Intents):
    """Publishes one file with its sidecar, and finishes the rows of both."""

    def reserve_inputs(self, session: Session, intent: IntentModel, inputs: Sequence[str]) -> None:
        """Keep the inputs of a write from removal until it is done.

        Raises:
            NotFoundError: one of them is not present.
        """
        wanted = set(inputs)
        if not wanted:
            return
        there = {
            row.id
            for row in FileRepository(session).some(intent.project_id, sorted(wanted))
            if row.state == FileState.PRESENT
        }
        if missing := sorted(wanted - there):
            raise NotFoundError(
                f"The project {intent.project_id} has no such file {missing[0]!r}, which was named as an input.",
                file_id=missing[0],
            )
        ReferenceRepository(session).hold(intent.id, wanted)

    def new_file(self, kind: FileKind | None, said: FileCreate) -> dict[str, Any]:
        """What the plan of a new file says from the beginning."""
        return {
            "id": self.new_id(),
            "sidecar_id": self.new_id(),
            "kind": kind,
            "name": said.name,
            "parameters": said.parameters,
            "inputs": said.inputs,
        }

    @staticmethod
    def embedded(share: Share, project_id: str, relative: str, found: MediaType) -> dict[str, Any]:
        """Read the texts that are embedded in a file; of a document, none are."""
        with share.open(project_id, relative) as stream:
            return tags.read(stream, found.content_type)

    @staticmethod
    def begin_staged(share: Share, handle: IntentHandle, part: int) -> Writer:
        """Open a new file in `.staging`, making the project's directories again if somebody took them away."""
        staged = layout.staging(handle.intent_id, part)
        try:
            return share.create(handle.project_id, staged)
        except FileNotFoundError:
            share.make_project(handle.project_id)
            return share.create(handle.project_id, staged)

    def stage(self, share: Share, handle: IntentHandle, part: int, content: bytes) -> FileContent:
        """Write a small file whole into `.staging`."""
        writer = self.begin_staged(share, handle, part)
        try:
            writer.write(content)
            return writer.finish()
        finally:
            writer.close()

    def main_row(self, handle: IntentHandle, media_type: MediaType, content: FileContent) -> FileModel:
        """Make the row of the file that an intent has staged."""
        spec = handle.plan["file"]
        path = layout.path(media_type.kind, spec["name"], spec["id"], media_type.extension, spec.get("version"))
        return file_row(
            handle.project_id,
            path,
            name=spec["name"],
            content=content,
            content_type=media_type.content_type,
            created_at=handle.moment,
            parameters=spec.get("parameters"),
            document_id=(spec.get("document") or {}).get("id"),
            content_id=spec.get("content_id"),
            source_id=spec.get("source_id"),
        )

    def sidecar_row(
        self, of: FileModel, sidecar_id: str, content: bytes, created_at: datetime, revision: int = 1
    ) -> FileModel:
        """Make the row of a sidecar that is about to be written."""
        return file_row(
            of.project_id,
            layout.sidecar(of.path, revision),
            row_id=sidecar_id,
            name=of.name,
            content=FileContent(len(content), blake3(content).hexdigest(), 0, 0),
            content_type=SIDECAR_TYPE,
            created_at=created_at,
        )

    def stage_sidecar(
        self, share: Share, handle: IntentHandle, main: FileModel, texts: dict[str, Any]
    ) -> FileModel | None:
        """Write the sidecar of a new file into `.staging`; None for kinds that have none."""
        if FileKind(main.kind) not in WITH_SIDECAR:
            return None
        content = self.sidecar_of(handle, main, texts)
        row = self.sidecar_row(main, handle.plan["file"]["sidecar_id"], content, handle.moment)
        self.stage(share, handle, SIDECAR_PART, content)
        return row

    def sidecar_of(self, handle: IntentHandle, main: FileModel, texts: dict[str, Any]) -> bytes:
        """Text of the sidecar that a new file gets: the same each time, so that recovery can write it again."""
        spec = handle.plan["file"]
        document = SidecarDocument.model_validate(spec["document"]) if spec.get("document") else None
        return Sidecar.of(
            main, spec["sidecar_id"], document=document, embedded=texts, inputs=spec.get("inputs") or ()
        ).to_bytes()

    @staticmethod
    def plan_rows(handle: IntentHandle, rows: list[FileModel], mentioned: set[str]) -> dict[str, Any]:
        """The plan with the rows that are about to be published, and what they refer to."""
        inputs = sorted(set(handle.plan["file"].get("inputs") or ()) | mentioned)
        return handle.plan | {"rows": [row_json(row) for row in rows], "references": inputs}

    def publish_staged(
        self, share: Share, handle: IntentHandle, main: FileModel, texts: dict[str, Any], mentioned: set[str]
    ) -> dict[str, Any]:
        """Take a file that lies whole in `.staging` to its end: sidecar, lease, links, rows."""
        sidecar = self.stage_sidecar(share, handle, main, texts)
        rows = [main] if sidecar is None else [main, sidecar]
        self.record_plan(handle, self.plan_rows(handle, rows, mentioned), sum(row.charged_bytes for row in rows))
        moves = [(layout.staging(handle.intent_id, MAIN_PART), main.path)]
        if sidecar is not None:
            moves.insert(0, (layout.staging(handle.intent_id, SIDECAR_PART), sidecar.path))
        try:
            share.publish(handle.project_id, moves)
        except FileNotFoundError:
            if share.look(handle.project_id, moves[-1][0]) is None:
                raise
            share.make_project(handle.project_id)
            share.publish(handle.project_id, moves)
        return self.finish_rows(share, handle, rows)

    def finish_rows(self, share: Share, handle: IntentHandle, rows: list[FileModel]) -> dict[str, Any]:
        """Do the last transaction of a write whose files have their final names."""
        handle.published = True
        for row in rows:
            found = share.look(handle.project_id, row.path)
            if found is None:
                raise ConflictError(f"{handle.project_id}/{row.path} vanished while it was being saved. Send it again.")
            row.mtime_ns = found.st_mtime_ns
        references, texts = handle.plan["references"], texts_of(share, rows)

        def apply(session: Session, _now: datetime) -> dict[str, Any]:
            FileRepository(session).add(rows, texts)
            main = rows[0]
            if handle.op == IntentOp.WRITE:
                handle.operation = f"save_{main.kind}"
            handle.details = audit.objects([main.path])
            ReferenceRepository(session).add(handle.project_id, main.id, references)
            workflows = DocumentRepository(session).count_versions(main.document_id, 1) if main.document_id else 0
            ProjectRepository(session).apply_delta(
                handle.project_id, Change().add(rows), reserved_bytes=handle.reserved_bytes, workflows=workflows
            )
            return {"file": FilePublic.model_validate(main).model_dump(mode="json")}

        return self.finish(handle, apply)

    @staticmethod
    def published(share: Share, handle: IntentHandle) -> bool:
        """Tell whether the file of an intent has its final name, whole. Then every byte of it was synced before."""
        if handle.plan.get("undo") or not handle.plan.get("rows"):
            return False
        main = row_of(handle.plan["rows"][0])
        found = share.look(handle.project_id, main.path)
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != main.size_bytes:
            return False
        return share.hash(handle.project_id, main.path).blake3 == main.blake3

    def finish_published(self, share: Share, handle: IntentHandle) -> dict[str, Any]:
        """Finish an intent whose file has its final name: write its sidecar if that is missing, then the rows."""
        main, *sidecars = rows = [row_of(row) for row in handle.plan["rows"]]
        for sidecar in sidecars:
            if share.look(handle.project_id, sidecar.path) is None:
                found = MediaType(FileKind(main.kind), main.content_type, "")
                texts = self.embedded(share, handle.project_id, main.path, found)
                staged = layout.staging(handle.intent_id, RECOVERED_PART)
                share.remove(handle.project_id, [staged])
                self.stage(share, handle, RECOVERED_PART, self.sidecar_of(handle, main, texts))
                share.publish(handle.project_id, [(staged, sidecar.path)])
        share.sync(handle.project_id, os.path.dirname(main.path))
        parts = (MAIN_PART, SIDECAR_PART)
        share.remove(handle.project_id, [layout.staging(handle.intent_id, part) for part in parts])
        return self.finish_rows(share, handle, rows)

    def run_steps(self, share: Share, handle: IntentHandle, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do the work of an intent: undo it when it fails before it is published, and answer for it when it was lost.

        After the links nothing is undone any more: when the last transaction fails nobody knows whether it did, and
        who comes next finishes it.
        """
        try:
            return work()
        except IntentLostError:
            return self.outcome(handle)
        except FileNotFoundError as error:
            # Nobody takes a staged file away but who took the intent over.
            if not self.owns(handle):
                return self.outcome(handle)
            if not handle.published:
                self.undo(share, handle)
            raise ConflictError(
                f"Something vanished from {handle.project_id} while it was being written to ({error.filename}). "
                "Look who removes files there, and send it again."
            ) from error
        except BaseException:
            if not handle.published:
                self.undo(share, handle)
            raise

    def undo(self, share: Share, handle: IntentHandle) -> None:
        """Take back whatever a write that failed has staged or half published, and release it.

        That it is being undone is written down first: from then on nobody finishes it, and nobody misses what is
        removed. When this fails too recovery does it: the first error is what counts.
        """
        try:
            with self.database.write() as session:
                if not IntentRepository(session).update(
                    handle.intent_id, handle.owner, plan=handle.plan | {"undo": True}
                ):
                    return
            self.remove_traces(share, handle)
            self.release(handle)
        except DatabaseUnavailableError:
            # The lease runs out by itself: waiting for the database once more would keep the client waiting.
            return
        except (BackendError, OSError):
            self.abandon(handle)

    def remove_traces(self, share: Share, handle: IntentHandle) -> None:
        """Remove what a write has left. Staged names go first: from then on nobody can publish."""
        parts = (MAIN_PART, SIDECAR_PART, RECOVERED_PART)
        share.remove(handle.project_id, [layout.staging(handle.intent_id, part) for part in parts])
        share.remove(handle.project_id, [row["path"] for row in handle.plan.get("rows", ())])
