# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters that programs wrote into media files, read out without decoding anything.

ComfyUI writes `prompt` and `workflow` (JSON) into PNG text chunks and into the tags of video and audio, others
`parameters`. Only containers are walked, with limits on everything that a file claims about itself; what cannot be
read is left out, since the file is somebody else's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, BinaryIO

from noslop_backend.core import json_depth
from noslop_backend.media.tags import flac, id3, iso, matroska, ogg, png
from noslop_backend.media.tags.limits import LIMIT_BYTES

__all__ = ["LIMIT_BYTES", "read"]

_READERS: dict[str, Callable[[BinaryIO], dict[str, str]]] = {
    "image/png": png.read,
    "video/mp4": iso.read,
    "video/quicktime": iso.read,
    "audio/mp4": iso.read,
    "video/webm": matroska.read,
    "video/x-matroska": matroska.read,
    "audio/flac": flac.read,
    "audio/mpeg": id3.read,
    "audio/ogg": ogg.read,
}


def read(stream: BinaryIO, content_type: str) -> dict[str, Any]:
    """Give the texts that are embedded in a file, by their names; JSON among them is parsed."""
    reader = _READERS.get(content_type)
    found: dict[str, Any] = {}
    for name, text in (reader(stream) if reader else {}).items():
        clean = text.replace("\0", "")
        found[name] = _parsed(clean) if clean[:1] in {"{", "["} else clean
    return found


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON
    """JSON as what it says, unless it could not be written again as what it was: then it stays a text."""
    try:
        value = json_depth.loads(text)
        if json_depth.is_too_deep(value):
            return text
        json.dumps(value, allow_nan=False)
    except ValueError:
        return text
    return value
