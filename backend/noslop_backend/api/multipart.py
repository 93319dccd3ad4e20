# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the one file of a form (multipart/form-data, RFC 7578) while it comes in: nothing of it is kept on the way.

FastAPI's own `UploadFile` writes a form into temporary files first, so that each byte is written twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from noslop_backend.core.errors import InvalidRequestError

MEDIA_TYPE = "multipart/form-data"


class FormFile:
    """The file of a form: exactly one part that has a file name, and no other part."""

    def __init__(self, content_type: str) -> None:
        """Start at the beginning of a body.

        Args:
            content_type: the Content-Type of the request, with its boundary.

        Raises:
            InvalidRequestError: it has no boundary.
        """
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise InvalidRequestError("Content-Type multipart/form-data has no boundary. Let the client set it.")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_to_field,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._check_part,
                "on_part_data": self._add_data,
                "on_end": self._end,
            },
        )
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._files_count = 0
        self._is_complete = False

    async def read(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the content of the file, in pieces as they come.

        Raises:
            InvalidRequestError: the form is broken off or malformed, has no file, several, or another field.
        """
        async for chunk in body:
            if chunk:
                for piece in self._feed(chunk):
                    yield piece
        if not self._is_complete:
            raise InvalidRequestError("The form ends in the middle: its last boundary is missing. Send it again.")
        if not self._files_count:
            raise InvalidRequestError(
                "The form has no file. Send a part with a file name, as curl -F file=@x.png does."
            )

    def _feed(self, chunk: bytes) -> list[bytes]:
        self._pieces = []
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequestError(
                f"The form is malformed ({error}). Send it as multipart/form-data, or the content itself as the body."
            ) from error
        return self._pieces

    def _begin_part(self) -> None:
        self._headers = {}

    def _add_to_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _check_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" not in options:
            name = options.get(b"name", b"").decode("utf-8", "replace")
            raise InvalidRequestError(
                f"The form has the field {name!r}, which is no file. Send parameters in the query, as in ?name=a.png, "
                "and the file as the only part."
            )
        if self._headers.get(b"content-transfer-encoding", b"binary").lower() not in {b"binary", b"8bit", b"7bit"}:
            raise InvalidRequestError("The part has a Content-Transfer-Encoding. Send its content as it is.")
        self._files_count += 1
        if self._files_count > 1:
            raise InvalidRequestError("The form has several files. Send each in a request of its own.")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        self._is_complete = True
