# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Media and intermediates come in from bytes or from a stream. Files that are on the share already: `adoption`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime
from typing import Any, BinaryIO, Unpack

from sqlmodel import Session

from noslop_backend.core.enums import IntentOp
from noslop_backend.core.errors import InvalidRequestError
from noslop_backend.journal.intent import Request
from noslop_backend.journal.publish import Writes
from noslop_backend.journal.validation import generated_type, validate_details
from noslop_backend.media.types import MediaType, intermediate
from noslop_backend.models import IntentModel
from noslop_backend.schemas import FileCreate, FileDetails, FilePublic
from noslop_backend.services.upload_session import Upload
from noslop_backend.share import CHUNK_BYTES
from noslop_backend.share.layout import GENERATED, INTERMEDIATE, FileKind

#: Bytes, something with `read(size)`, or pieces as they come.
Content = bytes | BinaryIO | Iterable[bytes]


class Media(Writes):
    """The part of the service about files that come in."""

    def save_generated_media(
        self,
        project_id: str,
        name: str,
        content: Content,
        *,
        kind: FileKind | None = None,
        key: str | None = None,
        **said: Unpack[FileDetails],
    ) -> FilePublic:
        """Save an image, a video or audio, with a sidecar beside it.

        Args:
            project_id: the project.
            name: what the user calls it; two files may have the same.
            content: bytes or a stream; never held in memory as a whole.
            kind: image, video or audio; by default what the content says. Another kind than the content's is refused.
            key: idempotency key.
            said: see `FileDetails`.

        Raises:
            QuotaExceededError, UnsupportedMediaError, ContentMismatchError: nothing was kept.
        """
        return _pour(
            content, self.begin_generated_media(project_id, name, kind=kind, key=key, **_measured(content, said))
        )

    def begin_generated_media(
        self,
        project_id: str,
        name: str,
        *,
        kind: FileKind | None = None,
        key: str | None = None,
        **said: Unpack[FileDetails],
    ) -> Upload:
        """Do the same as `save_generated_media` for who gets the content piece by piece."""
        if kind is not None and kind not in GENERATED:
            raise InvalidRequestError(f"Generated media are images, videos and audio; {kind} is saved another way.")
        return self._begin(
            project_id, kind, validate_details(name, **said), key, lambda head: generated_type(kind, head)
        )

    def save_intermediate(
        self,
        project_id: str,
        kind: FileKind,
        name: str,
        content: Content,
        *,
        key: str | None = None,
        **said: Unpack[FileDetails],
    ) -> FilePublic:
        """Save a latent, mask or frame: something that can be made again. It has no sidecar.

        `name` may end in an extension (`x.safetensors`), which is kept when the content says nothing better. `inputs`
        and `parameters` are as of generated media, but only the database has them.
        """
        return _pour(content, self.begin_intermediate(project_id, kind, name, key=key, **_measured(content, said)))

    def begin_intermediate(
        self,
        project_id: str,
        kind: FileKind,
        name: str,
        *,
        key: str | None = None,
        **said: Unpack[FileDetails],
    ) -> Upload:
        """Do the same as `save_intermediate` for who gets the content piece by piece."""
        if kind not in INTERMEDIATE:
            raise InvalidRequestError(f"Intermediates are latents, masks and frames; {kind} is saved another way.")
        return self._begin(
            project_id, kind, validate_details(name, **said), key, lambda head: intermediate(name, kind, head)
        )

    def _begin(
        self,
        project_id: str,
        kind: FileKind | None,
        said: FileCreate,
        key: str | None,
        typed: Callable[[bytes], MediaType],
    ) -> Upload:
        def prepare(session: Session, intent: IntentModel, _now: datetime) -> dict[str, Any]:
            self.reserve_inputs(session, intent, said.inputs)
            return {"file": self.new_file(kind, said)}

        request = Request(key, (kind, said.model_dump(mode="json")))
        stack = ExitStack()
        try:
            share = stack.enter_context(self.share())
            handle = self.begin(project_id, IntentOp.WRITE, request, prepare, reserve_bytes=said.length or 0)
            return Upload(self, handle, stack, share, said, typed=typed)
        except BaseException:
            stack.close()
            raise


def _measured(content: Content, said: FileDetails) -> FileDetails:
    return {**said, "length": len(content)} if isinstance(content, bytes) else said


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
