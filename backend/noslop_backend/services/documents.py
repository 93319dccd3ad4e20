# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Save workflows and prompts as versions that are never overwritten, and load them as they were saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Unpack

from sqlmodel import Session

from noslop_backend.core import json_depth
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import InvalidRequestError, NotFoundError
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.validation import validate_details
from noslop_backend.media.types import MediaType
from noslop_backend.models import DocumentModel, FileModel
from noslop_backend.operations.rename_document import RenameDocument
from noslop_backend.operations.save_version import UNCHANGED, SaveVersion
from noslop_backend.repositories import Cursor, DocumentRepository, FileRepository, ProjectRepository
from noslop_backend.repositories.pages import check_limit
from noslop_backend.schemas import DocumentPublic, FilePublic, LoadedDocument, Page, SavedVersion, VersionDetails
from noslop_backend.services.pages import make_page
from noslop_backend.share.layout import DOCUMENTS, FileKind

#: Content type and extension.
_JSON = ("application/json", "json")
_TEXT = ("text/plain; charset=utf-8", "txt")


class Documents:
    """The service of workflows and prompts."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.settings = journal.settings
        self.database = journal.database

    def save_version(
        self,
        project_id: str,
        kind: FileKind,
        name: str,
        content: str | bytes | dict[str, Any],
        *,
        inputs: Sequence[str] = (),
        parameters: dict[str, Any] | None = None,
        key: str | None = None,
    ) -> SavedVersion:
        """Save the next version of the workflow or prompt of this name.

        When the latest one has the same content, and these inputs and parameters beside others, that is the answer.

        Args:
            project_id: the project.
            kind: `WORKFLOW` or `PROMPT`.
            name: what the user calls it. Names that differ in case, in spaces or in how letters are composed (NFC or
                NFD) are one.
            content: of a workflow a JSON object, of a prompt that or a text; bytes are kept as they are.
            inputs: ids of files of this project that the document needs. Files of the layout whose names stand
                anywhere in the content are added. What is needed is not cleaned up.
            parameters: what else is to be known of this version.
            key: idempotency key.

        Raises:
            QuotaExceededError: the project or the store has no room.
            InvalidRequestError: it is neither, or larger than `max_document_bytes`.
        """
        details = validate_details(name, parameters=parameters, inputs=inputs)
        body, form = _workflow(content) if kind == FileKind.WORKFLOW else _prompt(content)
        if len(body) > self.settings.max_document_bytes:
            raise InvalidRequestError(
                f"This {kind} has {len(body)} bytes, and at most {self.settings.max_document_bytes} are accepted. "
                "Save large data as media or intermediates and refer to it."
            )
        result = self.journal.run(SaveVersion(project_id, MediaType(kind, *form), name, details, body, key=key))
        return SavedVersion(FilePublic.model_validate(result["file"]), is_new=UNCHANGED not in result)

    def save_workflow(
        self, project_id: str, name: str, content: bytes | dict[str, Any], **details: Unpack[VersionDetails]
    ) -> FilePublic:
        """Save a workflow as `save_version` does, and return the version."""
        return self.save_version(project_id, FileKind.WORKFLOW, name, content, **details).file

    def save_prompt(
        self, project_id: str, name: str, content: str | bytes | dict[str, Any], **details: Unpack[VersionDetails]
    ) -> FilePublic:
        """Save a prompt as `save_version` does, and return the version."""
        return self.save_version(project_id, FileKind.PROMPT, name, content, **details).file

    def load_workflow(
        self, project_id: str, name: str | None = None, *, document_id: str | None = None, version: int | None = None
    ) -> LoadedDocument:
        """Load a version of a workflow, by its name or its document's id; the latest that is present by default."""
        return self._load(project_id, FileKind.WORKFLOW, name, document_id, version)

    def load_prompt(
        self, project_id: str, name: str | None = None, *, document_id: str | None = None, version: int | None = None
    ) -> LoadedDocument:
        """Load a version of a prompt, by its name or its document's id; the latest that is present by default."""
        return self._load(project_id, FileKind.PROMPT, name, document_id, version)

    def list_documents(
        self,
        project_id: str,
        kind: FileKind,
        *,
        newest_first: bool = False,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DocumentPublic]:
        """List the workflows or the prompts of a project that have a version, by when they were made."""
        if kind not in DOCUMENTS:
            raise InvalidRequestError(f"Workflows and prompts have versions, {kind} has none.")
        with self.database.read() as session:
            ProjectRepository(session).get(project_id)
            rows = DocumentRepository(session).page(
                project_id, kind, Cursor.decode(cursor), check_limit(limit) + 1, newest_first=newest_first
            )
        return make_page(DocumentPublic, rows, limit)

    def get_document(self, project_id: str, kind: FileKind, document_id: str) -> DocumentPublic:
        """Return a workflow or prompt, without its content."""
        with self.database.read() as session:
            ProjectRepository(session).get(project_id)
            return DocumentPublic.model_validate(DocumentRepository(session).get(project_id, kind, document_id))

    def rename_document(
        self, project_id: str, kind: FileKind, document_id: str, name: str, *, key: str | None = None
    ) -> DocumentPublic:
        """Rename a workflow or prompt. Its versions keep the names under which they were saved.

        Raises:
            ConflictError: another one of the project has the name, or one that differs in case or spaces only.
            InProgressError: a version is being saved.
        """
        details = validate_details(name)
        result = self.journal.run(RenameDocument(project_id, kind, document_id, details.name, key))
        return DocumentPublic.model_validate(result["document"])

    def list_versions(
        self,
        project_id: str,
        kind: FileKind,
        document_id: str,
        *,
        newest_first: bool = False,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[FilePublic]:
        """List the present versions of a workflow or prompt, by when they were saved."""
        with self.database.read() as session:
            ProjectRepository(session).get(project_id)
            document = DocumentRepository(session).get(project_id, kind, document_id)
            rows = FileRepository(session).page(
                project_id,
                kinds=frozenset({kind}),
                state=FileState.PRESENT,
                document_id=document.id,
                cursor=Cursor.decode(cursor),
                limit=check_limit(limit) + 1,
                newest_first=newest_first,
            )
        return make_page(FilePublic, rows, limit)

    def get_version(self, project_id: str, kind: FileKind, document_id: str, version: int) -> FilePublic:
        """Return a present version of a workflow or prompt, without its content."""
        with self.database.read() as session:
            ProjectRepository(session).get(project_id)
            document = DocumentRepository(session).get(project_id, kind, document_id)
            return FilePublic.model_validate(_version(session, document, version))

    def _load(
        self, project_id: str, kind: FileKind, name: str | None, document_id: str | None, version: int | None
    ) -> LoadedDocument:
        if (name is None) == (document_id is None):
            raise InvalidRequestError(f"Name the {kind} by its name or by its document's id.")
        with self.database.read() as session:
            ProjectRepository(session).get(project_id)
            documents = DocumentRepository(session)
            if document_id is not None:
                document = documents.get(project_id, kind, document_id)
            elif (named := documents.named(project_id, kind, name or "")) is None:
                raise NotFoundError(
                    f"The project {project_id} has no {kind} {name!r}. List them to see which there are."
                )
            else:
                document = named
            row = _version(session, document, version)
            file, public = FilePublic.model_validate(row), DocumentPublic.model_validate(document)
        with self.journal.context.share() as share:
            try:
                content = share.read(project_id, row.path, row.size_bytes)
            except FileNotFoundError as error:
                raise NotFoundError(
                    f"{project_id}/{row.path} was removed from the share. Look for it in its backups.", file_id=row.id
                ) from error
        return LoadedDocument(public, file, content)


def _version(session: Session, document: DocumentModel, version: int | None) -> FileModel:
    """Return a present version of a document; None means the latest.

    Raises:
        NotFoundError: there is none of this number.
    """
    row = None
    # Wider numbers than the column's are no versions, and the database would choke on them.
    if version is None or 0 < version < 2**31:
        row = DocumentRepository(session).version(document.id, version)
    if row is None:
        which = "present version" if version is None else f"version {version}"
        raise NotFoundError(f"The {document.kind} {document.name!r} of {document.project_id} has no {which}.")
    return row


def _workflow(content: str | bytes | dict[str, Any]) -> tuple[bytes, tuple[str, str]]:
    """Return the body of a workflow, and how it is written.

    Raises:
        InvalidRequestError: it is no JSON object.
    """
    body = _dump(content) if isinstance(content, dict) else _encode(content)
    if not isinstance(_parse(body), dict):
        raise InvalidRequestError("A workflow is a JSON object. Save it as ComfyUI exports it.")
    return body, _JSON


def _prompt(content: str | bytes | dict[str, Any]) -> tuple[bytes, tuple[str, str]]:
    """Return the body of a prompt, and how it is written.

    Raises:
        InvalidRequestError: it is empty, or no text in UTF-8.
    """
    if isinstance(content, dict):
        return _dump(content), _JSON
    if not content:
        raise InvalidRequestError("The prompt is empty: send its text as the body of the request.")
    body = _encode(content)
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"A prompt is text in UTF-8, or a JSON object: {json_depth.describe_encoding(body)}."
        ) from error
    return body, _TEXT


def _dump(content: dict[str, Any]) -> bytes:
    try:
        try:
            return json.dumps(content, ensure_ascii=False, indent=1).encode()
        except UnicodeEncodeError:
            # Half of a surrogate pair, which JSON can hold as an escape and UTF-8 cannot.
            return json.dumps(content, indent=1).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRequestError(f"This cannot be written as JSON: {error}.") from error


def _encode(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError("The text holds half of a surrogate pair, which UTF-8 cannot hold.") from error


def _parse(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json_depth.loads(body, depth=json_depth.PARSED_DEPTH_LIMIT)
    except json_depth.TooLargeError as error:
        raise InvalidRequestError(
            f"This is too large to be read as JSON: {error}. Save large data as media or intermediates and refer to it."
        ) from error
    except json.JSONDecodeError as error:
        if b"\0" in body[:4]:
            raise InvalidRequestError(f"A workflow is JSON in UTF-8: {json_depth.describe_encoding(body)}.") from error
        raise InvalidRequestError(
            f"This is no JSON (line {error.lineno}, column {error.colno}: {error.msg}). Save a workflow as ComfyUI "
            "exports it."
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"A workflow is JSON in UTF-8: {json_depth.describe_encoding(body)}.") from error
    except ValueError as error:
        raise InvalidRequestError(f"This is no JSON: {error}. Save a workflow as ComfyUI exports it.") from error
