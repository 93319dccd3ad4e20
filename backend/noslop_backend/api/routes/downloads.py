# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send content: whole or a range of it, in pieces, and as something that no browser runs."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from noslop_backend.api.deps import State
from noslop_backend.schemas import FilePublic
from noslop_backend.services import OpenFile
from noslop_backend.share.file_names import ascii_name, portable_name

_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)
#: What people and programs put into a project is not ours: a browser shows it, at most, and runs none of it.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Span:
    """Bytes from `start` up to, but not including, `stop`."""

    start: int
    stop: int


def disposition(file: FilePublic) -> str:
    """Return Content-Disposition with the user's name for the file."""
    return attachment(file.name, os.path.splitext(file.path)[1].removeprefix("."))


def attachment(name: str, extension: str) -> str:
    """Return Content-Disposition for a download of this name, which cannot end the header.

    Browsers read `filename*` (RFC 6266, RFC 8187), and `curl -OJ` only `filename`.
    """
    full = quote(portable_name(name, extension), safe="")
    return f"attachment; filename=\"{ascii_name(name, extension)}\"; filename*=UTF-8''{full}"


def content_headers(file: FilePublic) -> dict[str, str]:
    """Return the headers that a GET and a HEAD of a file's content share."""
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": disposition(file),
        "ETag": f'"{file.blake3}"',
        **SAFE_HEADERS,
    }


def head(request: Request, file: FilePublic) -> Response:
    """Answer a HEAD of a file that is there."""
    unchanged = not_modified(request, file)
    if unchanged is not None:
        return unchanged
    headers = {**content_headers(file), "Content-Length": str(file.size_bytes)}
    return Response(headers=headers, media_type=file.content_type)


def not_modified(request: Request, file: FilePublic) -> Response | None:
    """Answer a client that has this content already (304); None for one that has not."""
    tags = request.headers.get("if-none-match", "")
    if any(tag.strip().removeprefix("W/") in {f'"{file.blake3}"', "*"} for tag in tags.split(",")):
        return Response(status_code=304, headers=content_headers(file))
    return None


def stream(request: Request, state: State, opened: OpenFile) -> Response:
    """Answer with an open file's content; close it at the end, whatever the end is."""
    file = opened.file
    headers = content_headers(file)
    try:
        span = requested_span(request.headers, file)
    except HTTPException:
        state.disk.forget(opened.stream.close)
        raise
    whole = span == Span(0, file.size_bytes)
    if not whole:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.size_bytes}"
    headers["Content-Length"] = str(span.stop - span.start)
    return StreamingResponse(
        _pieces(state, opened, span), 200 if whole else 206, headers=headers, media_type=file.content_type
    )


def requested_span(headers: Mapping[str, str], file: FilePublic) -> Span:
    """Return the bytes that a request asks for: all, or one range. Several get all, as RFC 9110, 14.2 allows.

    Raises:
        HTTPException: the range lies outside (416).
    """
    size, asked = file.size_bytes, headers.get("range")
    everything = Span(0, size)
    if asked is None or headers.get("if-range", f'"{file.blake3}"') != f'"{file.blake3}"':
        return everything
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match.groups() == ("", ""):
        return everything
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return everything
    if first:
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    else:
        span = Span(max(0, size - int(last)), size)
    if span.start >= size or span.start >= span.stop:
        raise HTTPException(
            416,
            f"The file has {size} bytes, and none of the range {asked!r}.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return span


async def _pieces(state: State, opened: OpenFile, span: Span) -> AsyncIterator[bytes]:
    descriptor, offset = opened.stream.fileno(), span.start
    try:
        while offset < span.stop:
            size = min(state.limits.piece_bytes, span.stop - offset)
            piece = await state.disk.call(lambda: os.pread(descriptor, size, offset))  # noqa: B023 - awaited within this turn
            if not piece:
                # The length was announced: only an end of the connection tells the client that something is missing.
                raise OSError(
                    f"{opened.file.project_id}/{opened.file.path} is shorter than its {opened.file.size_bytes} bytes"
                )
            offset += len(piece)
            yield piece
    finally:
        state.disk.forget(opened.stream.close)
