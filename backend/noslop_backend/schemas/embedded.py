# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe texts that a file embeds: plans and sidecars hold where they are, and no second copy of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from blake3 import blake3
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from noslop_backend.media.tags import LEFT_OUT
from noslop_backend.media.tags.limits import LeftOutText
from noslop_backend.schemas.api_models import ByteCount

_LEFT_OUT = TypeAdapter(list[LeftOutText])


class EmbeddedTexts(BaseModel):
    """Texts that are in the file itself, from which they can be read again."""

    source: Literal["file"] = "file"
    #: As they are in the file, or numbered where it has several of one key.
    keys: list[str]
    #: Of all of them as JSON, without spaces and with sorted keys, and the BLAKE3 of that.
    size_bytes: ByteCount
    blake3: str = Field(pattern=r"^[0-9a-f]{64}$")
    #: What is in the file and is not read.
    left_out: list[LeftOutText] = Field(default_factory=list)

    @classmethod
    def of(cls, embedded: Mapping[str, Any]) -> EmbeddedTexts | None:
        """Return what is said of texts, given as an inspection or an old sidecar has them; None for none."""
        texts = {key: text for key, text in embedded.items() if key != LEFT_OUT}
        content = json.dumps(texts, sort_keys=True, separators=(",", ":")).encode()
        try:
            left_out = _LEFT_OUT.validate_python(embedded.get(LEFT_OUT, []))
        except ValidationError:
            # A file may have a text of that key.
            left_out = []
        if not embedded:
            return None
        return cls(keys=list(texts), size_bytes=len(content), blake3=blake3(content).hexdigest(), left_out=left_out)
