# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Save media and intermediates from bytes or a stream, finals, and further sidecars.

Files that are on the share already: `adoptions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO, Unpack

from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.journal.catch_up import catch_up_sidecars
from noslop_backend.journal.intent import Operation, P
from noslop_backend.journal.journal import Journal
from noslop_backend.journal.validation import validate_details
from noslop_backend.media.probe import Inspection
from noslop_backend.media.types import TypeOf, generated, intermediate
from noslop_backend.operations.claim_key import ClaimKey
from noslop_backend.operations.label_file import LabelFile
from noslop_backend.operations.promote import Promote
from noslop_backend.operations.record_inspection import RecordInspection
from noslop_backend.operations.save_metadata import SaveMetadata
from noslop_backend.operations.write_file import WriteFile
from noslop_backend.schemas import FileCreate, FileDetails, FilePublic, FileUpdate
from noslop_backend.services.upload_session import Upload
from noslop_backend.share import CHUNK_BYTES
from noslop_backend.share.layout import GENERATED, INTERMEDIATE, FileKind

#: Bytes, something with `read(size)`, or pieces as they come.
Content = bytes | BinaryIO | Iterable[bytes]


class Media:
    """The service of files that come in."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def save_generated_media(
        self,
        project_id: str,
        name: str,
        content: Content,
        *,
        kind: FileKind | None = None,
        key: str | None = None,
        **details: Unpack[FileDetails],
    ) -> FilePublic:
        """Save an image, a video, audio or another file, with a sidecar beside it.

        Args:
            project_id: the project.
            name: what the user calls it; two files may have the same.
            content: bytes or a stream; never held in memory as a whole.
            kind: image, video, audio or other; by default what the content says. Another kind than the content's is
                refused, but `other` takes any content. Without a kind, content of an unknown type is kept as `other`
                when its name has an extension.
            key: idempotency key.
            details: see `FileDetails`.

        Raises:
            QuotaExceededError, UnsupportedMediaError, ContentMismatchError: nothing was kept.
        """
        return _pour(
            content, self.begin_generated_media(project_id, name, kind=kind, key=key, **_measured(content, details))
        )

    def begin_generated_media(
        self,
        project_id: str,
        name: str,
        *,
        kind: FileKind | None = None,
        key: str | None = None,
        **details: Unpack[FileDetails],
    ) -> Upload:
        """Do the same as `save_generated_media` for who gets the content piece by piece."""
        if kind is not None and kind not in GENERATED:
            raise InvalidRequestError(
                f"Generated media are images, videos, audio and others; {kind} is saved another way."
            )
        return self._begin(
            project_id,
            kind,
            validate_details(name, **details),
            key,
            lambda head, read_at: generated(kind, name, head, read_at),
        )

    def save_intermediate(
        self,
        project_id: str,
        kind: FileKind,
        name: str,
        content: Content,
        *,
        key: str | None = None,
        **details: Unpack[FileDetails],
    ) -> FilePublic:
        """Save a latent, mask or frame: something that can be made again. It has no sidecar.

        `name` may end in an extension (`x.safetensors`), which is kept when the content says nothing better. `inputs`
        and `parameters` are as of generated media, but only the database has them.
        """
        return _pour(content, self.begin_intermediate(project_id, kind, name, key=key, **_measured(content, details)))

    def begin_intermediate(
        self,
        project_id: str,
        kind: FileKind,
        name: str,
        *,
        key: str | None = None,
        **details: Unpack[FileDetails],
    ) -> Upload:
        """Do the same as `save_intermediate` for who gets the content piece by piece."""
        if kind not in INTERMEDIATE:
            raise InvalidRequestError(f"Intermediates are latents, masks and frames; {kind} is saved another way.")
        return self._begin(
            project_id, kind, validate_details(name, **details), key, lambda head, _: intermediate(name, kind, head)
        )

    def promote_to_final(
        self, project_id: str, file_id: str, *, name: str | None = None, key: str | None = None
    ) -> FilePublic:
        """Make a final of a media file or an intermediate: a hard link that costs nothing, or a copy where links fail.

        The same file, and the same name, may be promoted again: each time another final comes of it. The final lives
        on when its source is removed, and then costs what that had cost.

        Raises:
            QuotaExceededError: there is no room for the copy or the sidecar.
        """
        title = None if name is None else validate_details(name).name
        return FilePublic.model_validate(self.journal.run(Promote(project_id, file_id, title, key))["file"])

    def save_metadata(
        self,
        project_id: str,
        file_id: str,
        parameters: dict[str, Any],
        *,
        inputs: Sequence[str] = (),
        key: str | None = None,
    ) -> FilePublic:
        """Save other parameters of a file, in its row and in a further sidecar. Older sidecars stay.

        Args:
            project_id: the project.
            file_id: a file that has sidecars.
            parameters: replace those that were given before. `comfyui` and `media`, which an ingest wrote, stay unless
                they are given.
            inputs: ids of further files that it was made from; those that were named before stay.
            key: idempotency key.

        Returns:
            The sidecar.

        Raises:
            InvalidRequestError: it has no sidecars, or with what stays the parameters are too large.
            InProgressError: another change of the file is being worked on.
            QuotaExceededError: there is no room for the sidecar.
        """
        details = validate_details("-", parameters=parameters, inputs=inputs)
        return self._add_sidecar(file_id, SaveMetadata(project_id, file_id, details, key))

    def update_file(self, project_id: str, file_id: str, change: FileUpdate, *, key: str | None = None) -> FilePublic:
        """Change the name, the tags or the stars of a present file. What is not set stays.

        Raises:
            InvalidRequestError: the file would have too many tags, or it is a version of a workflow or prompt, which
                all have the name of that.
            InProgressError: another change of the file is being worked on.
            QuotaExceededError: there is no room for the sidecar.
        """
        return self._add_sidecar(file_id, LabelFile(project_id, file_id, change, key))

    def record_inspection(self, project_id: str, file_id: str, inspection: Inspection) -> FilePublic:
        """Record what a present file says of itself, as `media.probe.inspect` returns it.

        Returns:
            The sidecar that holds it, or the file if it has none.

        Raises:
            InProgressError: another change of the file is being worked on.
            QuotaExceededError: there is no room for the sidecar.
        """
        return self._add_sidecar(file_id, RecordInspection(project_id, file_id, inspection))

    def claim_key(self, project_id: str, key: str | None, *arguments: str) -> None:
        """Keep a key for a request that is carried out as several writes, each with a key of its own.

        Raises:
            NotFoundError, ConflictError: there is no such project that takes writes.
            KeyReusedError: the key was used for another request.
        """
        self.journal.begin(ClaimKey(project_id, key, *arguments))

    def _add_sidecar(self, file_id: str, operation: Operation[P]) -> FilePublic:
        """Do what adds a further sidecar to a file, with a number that the share does not have yet."""
        with self.journal.context.share() as share:
            catch_up_sidecars(self.journal.context, share, operation.project_id, file_id)
        return FilePublic.model_validate(self.journal.run(operation)["file"])

    def _begin(
        self,
        project_id: str,
        kind: FileKind | None,
        details: FileCreate,
        key: str | None,
        typed: TypeOf,
    ) -> Upload:
        stack = ExitStack()
        try:
            share = stack.enter_context(self.journal.context.share())
            operation = WriteFile(project_id, kind, details, key)
            return Upload(self.journal, operation, self.journal.begin(operation), stack, share, typed=typed)
        except BaseException:
            stack.close()
            raise


def _measured(content: Content, details: FileDetails) -> FileDetails:
    return {**details, "length": len(content)} if isinstance(content, bytes) else details


def _pour(content: Content, upload: Upload) -> FilePublic:
    with upload:
        if upload.answer is None:
            for piece in _pieces(content):
                upload.write(piece)
        return upload.finish()


def _pieces(content: Content) -> Iterable[bytes]:
    if isinstance(content, bytes):
        return (content[at : at + CHUNK_BYTES] for at in range(0, len(content), CHUNK_BYTES))
    if isinstance(content, Iterable) and not hasattr(content, "read"):
        return content
    return iter(lambda: content.read(CHUNK_BYTES), b"")
