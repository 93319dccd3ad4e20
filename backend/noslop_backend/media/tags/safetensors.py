# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read safetensors, which ComfyUI's latents are: texts in `__metadata__` of the header.

The header is its length in eight bytes, then JSON (https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

from typing import BinaryIO

from noslop_backend.core import json_depth
from noslop_backend.media.tags.limits import LIMIT_BYTES, BudgetExceededError, Texts

#: A header describes each tensor in some hundred bytes, and holds the texts with escapes.
_HEADER_LIMIT_BYTES = 4 * LIMIT_BYTES


def is_safetensors(head: bytes) -> bool:
    """Return whether the first nine bytes may begin a safetensors file."""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") >= 2


def read(stream: BinaryIO, texts: Texts) -> None:
    """Collect the texts of a header.

    Raises:
        BudgetExceededError: the header is too long.
        ValueError: the header is no JSON, or too complex.
    """
    stream.seek(0)
    size = int.from_bytes(stream.read(8), "little")
    if size > _HEADER_LIMIT_BYTES:
        raise BudgetExceededError(f"its header has {size} bytes, of which at most {_HEADER_LIMIT_BYTES} are read")
    header = json_depth.loads(stream.read(size))
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    for key, text in (metadata if isinstance(metadata, dict) else {}).items():
        if isinstance(text, str):
            texts.add(key, text)
